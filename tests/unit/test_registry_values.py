"""Registries without a network: settings, endpoints, challenges, addresses, pauses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from wirt.daemon.config import parse as parse_config
from wirt.errors import Invalid, NotFound, Upstream
from wirt.image.remote import address, challenge
from wirt.image.remote.endpoint import certificates, endpoints, is_loopback
from wirt.image.remote.pace import Patience, retry_after
from wirt.image.remote.repository import fallback_tag, next_page
from wirt.image.remote.settings import Settings, Trust, read
from wirt.model.image import Digest


def test_the_hub_answers_elsewhere_than_it_is_called() -> None:
    (hub,) = endpoints("docker.io", Settings())
    assert (hub.host, hub.schemes) == ("registry-1.docker.io", ("https",))
    assert hub.realms == ("auth.docker.io",)


def test_mirrors_come_first_with_their_own_trust() -> None:
    settings = read(
        {
            "docker.io": {"mirrors": ["cache.example:5000/hub", "10.0.0.5:5000"]},
            "10.0.0.5:5000": {"insecure": True},
        }
    )
    cache, plain, hub = endpoints("docker.io", settings)
    assert cache.repository("library/busybox") == "hub/library/busybox"
    assert (cache.schemes, cache.mirror) == (("https",), True)
    assert (plain.schemes, plain.trust.insecure) == (("https", "http"), True)
    assert (hub.mirror, hub.host) == (False, "registry-1.docker.io")


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.3.2.1:80", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("10.0.0.1:5000", False),
        ("127.0.0.1.example", False),
    ],
)
def test_only_loopback_is_plain_without_being_told(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"x.example": []},
        {"x.example": {"insecure": "yes"}},
        {"x.example": {"mirrors": "a"}},
        {"x.example": {"mirrors": ["UPPER CASE"]}},
        {"x.example": {"mirrors": ["https://a.example"]}},
        {"x.example": {"cert": "/c"}},
        {"x.example": {"colour": 1}},
        {"": {}},
    ],
)
def test_wrong_settings_are_named(table: Any) -> None:
    with pytest.raises(Invalid):
        read(table)


def test_the_daemons_file(tmp_path: Path) -> None:
    path = tmp_path / "wirtd.toml"
    path.write_text('[registries."r.example"]\ninsecure = true\n')
    assert parse_config(["--config", str(path)]).registries.of("r.example").trust.insecure
    path.write_text('[store]\nmax-disk = "20g"\nmax-cache = 5000000\n')
    limits = parse_config(["--config", str(path)])
    assert (limits.max_disk, limits.max_cache) == (20 * 1024**3, 5_000_000)
    limits = parse_config(["--config", str(path), "--max-cache", "2g"])
    assert (limits.max_disk, limits.max_cache) == (20 * 1024**3, 2 * 1024**3)
    with pytest.raises(NotFound):
        parse_config(["--config", str(tmp_path / "absent")])
    for wrong in (
        "[colours]\n",
        "= nonsense",
        "[store]\nmax-age = 3\n",
        '[registries."r.example"]\nca = 7\n',
    ):
        path.write_text(wrong)
        with pytest.raises(Invalid):
            parse_config(["--config", str(path)])


def test_dockers_folder_of_certificates(tmp_path: Path) -> None:
    assert certificates(tmp_path / "absent", Trust()) == Trust()
    for name in ("ca.crt", "client.cert", "client.key", "notes.txt"):
        (tmp_path / name).touch()
    found = certificates(tmp_path, Trust(ca=(Path("/own"),)))
    assert found.ca == (Path("/own"), tmp_path / "ca.crt")
    assert (found.cert, found.key) == (tmp_path / "client.cert", tmp_path / "client.key")
    (tmp_path / "client.key").unlink()
    with pytest.raises(Invalid, match="has no key"):
        certificates(tmp_path, Trust())


def test_challenges_as_servers_write_them() -> None:
    (bearer, basic) = challenge.parse(
        [
            'Bearer realm="https://a.example/token",service="x, y",scope="repository:a:pull,push '
            'repository:b:pull"',
            "basic realm=plain",
        ]
    )
    assert bearer.parameters["service"] == "x, y"
    assert bearer.scopes == {"repository:a:pull,push", "repository:b:pull"}
    assert basic.scheme == "basic"
    assert challenge.choose((basic, bearer)) is bearer
    assert challenge.choose(challenge.parse(["Digest x=y", '"', ""])) is None
    both = challenge.parse(['Basic realm="a", Bearer realm="b\\"c"'])
    assert [one.scheme for one in both] == ["basic", "bearer"]
    assert both[1].parameters["realm"] == 'b"c'


def test_scopes_of_one_thing_are_asked_for_together() -> None:
    wanted = frozenset({"repository:a:pull", "repository:a:push,pull", "repository:b:pull"})
    assert challenge.merge(wanted) == ("repository:a:pull,push", "repository:b:pull")


@pytest.mark.parametrize(
    "answer",
    [b"{}", b'{"token": ""}', b'{"token": "a b\\n"}', b"[]", b'{"token": 7}', b"no json"],
)
def test_no_token_is_an_error(answer: bytes) -> None:
    with pytest.raises((Upstream, Invalid)):
        challenge.read_token(answer, host="a.example")


def test_tokens() -> None:
    found = challenge.read_token(
        b'{"access_token": "t", "expires_in": 9e9, "refresh_token": "r"}', host="a.example"
    )
    assert (found.value, found.life, found.refresh) == ("t", 24 * 3600.0, "r")
    assert challenge.read_token(b'{"token": "t"}', host="a.example").life == 60.0
    assert "'t'" not in repr(found)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("https://r.example/v2/", "http://r.example/x"),
        ("https://r.example/v2/", "https://127.0.0.1/x"),
        ("https://r.example/v2/", "https://localhost/x"),
        ("https://r.example/v2/", "https://169.254.169.254/x"),
        ("https://r.example/v2/", "https://224.0.0.1/x"),
        ("https://r.example/v2/", "gopher://r.example/x"),
        ("https://r.example/v2/", "https://u@r.example/x"),
    ],
)
def test_where_a_registry_may_not_send_us(source: str, target: str) -> None:
    with pytest.raises(Upstream):
        address.follow(URL(source), target)


def test_where_it_may() -> None:
    here = URL("https://r.example/v2/a/blobs/uploads/")
    assert address.follow(here, "/x?y=%2F") == URL("https://r.example/x?y=%2F", encoded=True)
    assert address.follow(here, "https://cdn.example/x").host == "cdn.example"
    assert next_page(here, '</v2/_catalog?n=2&last=b>; rel="next"') == URL(
        "https://r.example/v2/_catalog?n=2&last=b"
    )
    assert next_page(here, "</x>; rel=prev") is None


@pytest.mark.parametrize(
    ("realm", "registry", "may"),
    [
        ("https://r.example/token", "https://r.example/v2/", True),
        ("https://r.example:99/token", "https://r.example/v2/", True),
        ("https://gitlab.example/jwt", "https://registry.gitlab.example/v2/", True),
        ("https://auth.example/token", "https://registry.example/v2/", False),
        ("https://example/token", "https://registry.example/v2/", False),
        ("https://evil-r.example/token", "https://r.example/v2/", False),
        ("https://allowed.example/token", "https://r.example/v2/", True),
        ("http://r.example/token", "https://r.example/v2/", False),
    ],
)
def test_who_may_see_credentials(realm: str, registry: str, may: bool) -> None:
    allowed = ("allowed.example",)
    assert address.may_see_credentials(URL(realm), URL(registry), allowed) is may


def test_pauses() -> None:
    patience = Patience(pause=1.0, longest=5.0)
    assert 0.5 <= patience.wait(1, None) <= 1.0
    assert 2.5 <= patience.wait(30, None) <= 5.0
    assert patience.wait(1, 7.0) == 7.0
    assert retry_after("120") == 120.0
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=10.0) == 50.0
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=100.0) == 0.0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_the_tag_that_stands_in_for_referrers() -> None:
    assert fallback_tag(Digest("sha512", "a" * 128)) == "sha512-" + "a" * 64
