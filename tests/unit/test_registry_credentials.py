"""Credentials go to their registry and nowhere else: images.md cases 32, 35, 36."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from liar import (
    DATA,
    MANIFEST,
    USER,
    Answer,
    Liar,
    Request,
    descriptor,
    got,
    refused,
    source_of,
    tell_story,
)
from wirt.errors import Forbidden, NotFound, Upstream
from wirt.image import manifest
from wirt.image.remote.settings import read

# --- redirects --------------------------------------------------------------------------------


def _basic(request: Request) -> Answer | None:
    if "authorization" in request.headers:
        return None
    return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})


def test_a_redirect_elsewhere_gets_no_credentials() -> None:
    async def story(liar: Liar) -> None:
        async with Liar().serve() as other:
            wanted = liar.add_blob(DATA)
            other.blobs = liar.blobs
            liar.lie(_basic)
            where = f"http://{other.host}/v2/x/blobs/{wanted.digest}"
            liar.lie_at("/blobs/", Answer(status=307, headers={"Location": where}))
            async with source_of(liar, credentials=USER) as source:
                assert await got(source, wanted) == DATA
            assert "authorization" in liar.asked("/blobs/")[-1].headers
            (request,) = other.seen
            assert "authorization" not in request.headers

    tell_story(story)


@pytest.mark.parametrize(
    "where",
    [
        "file:///etc/passwd",
        "ftp://x.example/y",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://0.0.0.0/x",
        "http://user:pass@x.example/y",
    ],
)
def test_redirects_to_where_no_registry_is_are_refused(where: str) -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie_at("/blobs/", Answer(status=302, headers={"Location": where}))
        async with source_of(liar) as source:
            assert await refused(source, wanted) == "registry.redirect"

    tell_story(story)


def test_redirects_in_a_circle_end() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie(
            lambda r: (
                Answer(status=302, headers={"Location": r.path}) if "/blobs/" in r.path else None
            )
        )
        async with source_of(liar) as source:
            assert await refused(source, wanted) == "registry.redirect"
        assert len(liar.asked("/blobs/")) == 6

    tell_story(story)


# --- credentials ------------------------------------------------------------------------------


def _bearer(realm: str, **more: str) -> Answer:
    pairs = {"realm": realm, "service": "reg", **more}
    text = ",".join(f'{k}="{v}"' for k, v in pairs.items())
    return Answer(status=401, headers={"WWW-Authenticate": f"Bearer {text}"})


@pytest.mark.parametrize("realm", ["http://localhost:1/token", "http://token.example/token"])
def test_credentials_do_not_go_to_a_token_server_elsewhere(realm: str) -> None:
    async def story(liar: Liar) -> None:
        liar.lie(lambda r: _bearer(realm))
        async with source_of(liar, credentials=USER) as source:
            with pytest.raises(Upstream) as failure:
                await source.manifest("1")
        assert failure.value.code == "registry.realm"
        assert "s3cret" not in str(failure.value) + str(failure.value.notes)

    tell_story(story)


def test_a_named_token_server_gets_them() -> None:
    async def story(liar: Liar) -> None:
        async with Liar().serve() as tokens:
            made = liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
            port = tokens.host.rpartition(":")[2]
            realm = f"http://localhost:{port}/token"

            def guard(request: Request) -> Answer | None:
                good = request.headers.get("authorization") == "Bearer abc"
                return None if good else _bearer(realm, scope="repository:team/app:pull")

            liar.lie(guard)
            tokens.lie_at("/token", Answer(body=b'{"token":"abc","expires_in":300}'))
            settings = read({liar.host: {"realms": ["localhost"]}})
            async with source_of(liar, credentials=USER, settings=settings) as source:
                assert (await source.manifest("1")).digest == made.digest
            (request,) = tokens.seen
            told = base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
            assert told == b"me:s3cret"
            assert request.query["scope"] == "repository:team/app:pull"
            assert request.query["service"] == "reg"

    tell_story(story)


def test_wrong_credentials_are_told_without_repeating_them() -> None:
    async def story(liar: Liar) -> None:
        liar.lie(lambda r: Answer(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
        async with source_of(liar, credentials=USER) as source:
            with pytest.raises(Forbidden) as failure:
                await source.manifest("1")
        told = repr(failure.value) + str(failure.value.hint) + str(failure.value.notes)
        assert "s3cret" not in told
        assert "s3cret" not in repr(USER)
        assert base64.b64encode(b"me:s3cret").decode() not in told

    tell_story(story)


def test_a_mirror_gets_no_credentials_and_its_failure_is_no_end() -> None:
    async def story(liar: Liar) -> None:
        async with Liar().serve() as mirror, Liar().serve() as ill:
            made = liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
            wanted = mirror.add_blob(DATA)
            mirror.manifests = liar.manifests
            ill.lie(lambda r: Answer(status=500))
            settings = read({liar.host: {"mirrors": [ill.host, f"{mirror.host}/hub"]}})
            async with source_of(liar, credentials=USER, settings=settings) as source:
                assert (await source.manifest("1")).digest == made.digest
                assert await got(source, wanted) == DATA
            assert mirror.asked("/v2/hub/team/app/manifests/1")
            assert all("authorization" not in r.headers for r in (*mirror.seen, *ill.seen))
            assert liar.seen == []

    tell_story(story)


# --- foreign layers ---------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [False, True])
def test_foreign_layers_come_without_credentials_and_only_if_allowed(allowed: bool) -> None:
    """CVE-2020-15157: the address in a descriptor was given the registry's credentials."""

    async def story(liar: Liar) -> None:
        async with Liar().serve() as other:
            other.lie(lambda r: Answer(body=DATA) if r.path == "/layer" else None)
            liar.lie(_basic)
            wanted = replace(descriptor(DATA), urls=(f"http://{other.host}/layer",))
            settings = read({liar.host: {"foreign": allowed}})
            async with source_of(liar, credentials=USER, settings=settings) as source:
                if not allowed:
                    await refused(source, wanted, NotFound)
                    assert other.seen == []
                    return
                assert await got(source, wanted) == DATA
            assert all("authorization" not in request.headers for request in other.seen)

    tell_story(story)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://169.254.169.254/x"])
def test_foreign_layers_lead_nowhere_special(url: str) -> None:
    async def story(liar: Liar) -> None:
        settings = read({liar.host: {"foreign": True}})
        async with source_of(liar, settings=settings) as source:
            code = await refused(source, replace(descriptor(DATA), urls=(url,)))
        assert code == "registry.redirect"

    tell_story(story)
