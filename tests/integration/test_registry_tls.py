"""TLS of registries: trusted as configured or not at all, and never traded for plain http."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certificates import Pair, self_signed, signed
from liar import DATA, Liar, got, refused, source_of, tell_story
from needs import needs
from wirt.errors import Invalid, Upstream, WirtError
from wirt.image.remote.certificate import read_validity
from wirt.image.remote.settings import Settings, read

pytestmark = needs("openssl")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("pki")
    ca = self_signed(folder, "ca")
    return {
        "ca": ca,
        "good": signed(folder, "good", ca),
        "other": signed(folder, "other", ca, names="DNS:other.example"),
        "client": signed(folder, "client", ca),
        "alone": self_signed(folder, "alone"),
    }


def serve(pair: Pair, *, clients: Pair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.cert)
    return context


def fetch(context: ssl.SSLContext, said: dict[str, Any], *, folder: Path | None = None) -> None:
    """Get a blob from a liar that speaks TLS. Raises what that raises."""

    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        if folder is not None:
            os.rename(folder, folder.with_name(liar.host))  # noqa: PTH104
        settings = Settings(
            registries=read({liar.host: said}).registries,
            certificates=folder.parent if folder is not None else Path("/nonexistent"),
        )
        async with source_of(liar, settings=settings) as source:
            assert await got(source, wanted) == DATA

    tell_story(story, ssl=context)


def test_an_expired_certificate_names_its_date(pki: dict[str, Pair], tmp_path: Path) -> None:
    old = signed(tmp_path, "old", pki["ca"], days=0)
    words = ("openssl", "x509", "-in", str(old.cert), "-noout", "-enddate")
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    end = datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    time.sleep(max(0, end.timestamp() + 1.1 - time.time()))
    with pytest.raises(Upstream) as failure:
        fetch(serve(old), {"ca": str(pki["ca"].cert)})
    assert failure.value.code == "registry.certificate"
    assert f"has expired on {end:%Y-%m-%d %H:%M:%S} UTC" in failure.value.message
    assert "renew" in (failure.value.hint or "")


@pytest.mark.parametrize("cut", [0, 1, 5, 30])
def test_what_is_no_certificate_has_no_date(cut: int, pki: dict[str, Pair]) -> None:
    der = ssl.PEM_cert_to_DER_cert(pki["good"].cert.read_text())
    assert read_validity(der).end > datetime.now(UTC)
    with pytest.raises(ValueError, match="certificate"):
        read_validity(der[:cut])


def test_a_known_ca_is_believed(pki: dict[str, Pair]) -> None:
    fetch(serve(pki["good"]), {"ca": str(pki["ca"].cert)})


@pytest.mark.parametrize("server", ["good", "other", "alone"])
def test_nobody_else_is_and_there_is_no_way_around(pki: dict[str, Pair], server: str) -> None:
    """Unknown CA, wrong name, self-signed: case 38. Even on loopback http is not tried then."""

    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        said = {"ca": str(pki["ca"].cert)} if server == "other" else {}
        async with source_of(liar, settings=read({liar.host: said})) as source:
            assert await refused(source, wanted) == "registry.certificate"
        assert liar.seen == []

    tell_story(story, ssl=serve(pki[server]))


@pytest.mark.parametrize("server", ["other", "alone"])
def test_insecure_is_believed_when_it_was_said(pki: dict[str, Pair], server: str) -> None:
    fetch(serve(pki[server]), {"insecure": True})


def test_a_registry_may_want_to_know_us_too(pki: dict[str, Pair]) -> None:
    context = serve(pki["good"], clients=pki["ca"])
    known = {
        "ca": str(pki["ca"].cert),
        "cert": str(pki["client"].cert),
        "key": str(pki["client"].key),
    }
    fetch(context, known)
    with pytest.raises(WirtError):
        fetch(context, {"ca": str(pki["ca"].cert)})


def test_dockers_folder_of_certificates_is_read(pki: dict[str, Pair], tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / "host"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(pki["ca"].cert.read_bytes())
    (folder / "me.cert").write_bytes(pki["client"].cert.read_bytes())
    (folder / "me.key").write_bytes(pki["client"].key.read_bytes())
    fetch(serve(pki["good"], clients=pki["ca"]), {}, folder=folder)


def test_a_certificate_that_cannot_be_read_is_named(pki: dict[str, Pair], tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path / "broken"):
        (tmp_path / "broken").write_text("no certificate")
        with pytest.raises(Invalid, match=path.name):
            fetch(serve(pki["good"]), {"ca": str(path)})


def test_a_server_that_speaks_no_tls_is_not_asked_in_clear(pki: dict[str, Pair]) -> None:
    """Only loopback and what is configured as insecure may be."""

    async def story(liar: Liar) -> None:
        from wirt.image.remote.auth import ANONYMOUS
        from wirt.image.remote.door import Ask, Door
        from wirt.image.remote.endpoint import Endpoint
        from wirt.image.remote.transport import transport

        pool = transport(Settings())
        try:
            door = Door(Endpoint(domain=liar.host, host=liar.host), pool, ANONYMOUS)
            with pytest.raises((Upstream, WirtError)):
                async with door.ask(Ask(method="GET", where="", what="x")):
                    pass
        finally:
            await pool.close()
        assert liar.seen == []

    tell_story(story)
    assert pki
