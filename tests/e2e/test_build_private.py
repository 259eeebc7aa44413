"""Builds on images of registries that want to know who asks, with what docker's file has."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from certificates import self_signed, signed
from live import Live
from needs import needs
from registrybox import PASSWORD, USER, Registry, htpasswd, registry, token_server
from wirt.client.aio import Client
from wirt.errors import Forbidden

pytestmark = needs("root", "crun", "skopeo", "docker-registry", "openssl")

FIRST = "FROM {host}/private/box:1"
EVERYWHERE = """\
FROM {host}/private/box:1 AS one
RUN --mount=type=bind,from={host}/private/more:1,target=/more cat /more/etc/told > /one
FROM busybox
COPY --from=one /one /one
COPY --from={host}/private/more:1 /etc/told /two
"""


class Helper:
    """A credential helper of docker that notes for which registries it is asked."""

    def __init__(self, folder: Path) -> None:
        self._asked = folder / "asked"
        self._known = folder / "known"
        self._known.mkdir(parents=True)
        program = folder / "docker-credential-noting"
        program.write_text(
            "#!/bin/sh\nread -r server\n"
            f'echo "$1 $server" >> {self._asked}\n'
            f'cat "{self._known}/$server" 2>/dev/null ||'
            " { echo credentials not found; exit 1; }\n"
        )
        program.chmod(0o755)

    def knows(self, registry: str, user: str = USER, password: str = PASSWORD) -> None:
        (self._known / registry).write_text(json.dumps({"Username": user, "Secret": password}))

    def asked(self) -> list[str]:
        """What it was asked since the last time."""
        found = self._asked.read_text().splitlines() if self._asked.exists() else []
        self._asked.unlink(missing_ok=True)
        return found


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    made = Helper(tmp_path / "helper")
    monkeypatch.setenv("PATH", f"{tmp_path}/helper:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text('{"credsStore": "noting"}')
    return made


@pytest.fixture
def live(shared_instance: Live) -> Live:
    return shared_instance


@contextmanager
def private(live: Live, served: Registry, helper: Helper) -> Iterator[Registry]:
    """``private/box:1`` and ``private/more:1`` at a registry, and not here."""
    box, more = f"{served.host}/private/box:1", f"{served.host}/private/more:1"
    helper.knows(served.host)
    live.wirt("tag", "busybox", box)
    try:
        live.wirt("build", "-q", "-t", more, "-", feed="FROM busybox\nRUN echo told > /etc/told\n")
        live.wirt("push", "-q", box)
        live.wirt("push", "-q", more)
        live.wirt("rmi", box, more)
        helper.asked()
        yield served
    finally:
        live.wirt("rmi", "-f", box, more, "built:1", code=None)


@pytest.fixture
def served(live: Live, tmp_path: Path, helper: Helper) -> Iterator[Registry]:
    with (
        registry(live, tmp_path / "registry", port=5011, auth=htpasswd(tmp_path / "auth")) as made,
        private(live, made, helper) as found,
    ):
        yield found


def check_everywhere(live: Live, host: str, helper: Helper, context: Path) -> None:
    """FROM, COPY --from and RUN --mount; the client is asked for this registry, and once."""
    context.mkdir()
    (context / "Dockerfile").write_text(EVERYWHERE.format(host=host))
    live.wirt("build", "-t", "built:1", str(context))
    assert helper.asked() == [f"get {host}"]
    assert live.wirt("run", "--rm", "built:1", "cat", "/one", "/two").stdout == "told\ntold\n"
    live.wirt("build", "-t", "built:1", str(context))
    assert helper.asked() == []  # nothing was pulled
    (context / "Dockerfile").write_text(EVERYWHERE.replace("FROM busybox", FIRST).format(host=host))
    done = live.wirt("build", "--pull", "-t", "built:1", str(context))
    assert f"pull {host}/private/box:1" in done.stderr
    assert helper.asked() == [f"get {host}"]
    told = live.log() + live.wirt("events", "--since", "10m", "--until", "0s").stdout
    assert PASSWORD not in told


def test_private_images_everywhere(
    live: Live, served: Registry, helper: Helper, tmp_path: Path
) -> None:
    check_everywhere(live, served.host, helper, tmp_path / "context")


def test_a_dockerfile_from_standard_input(live: Live, served: Registry, helper: Helper) -> None:
    text = f"FROM {served.host}/private/box:1\nRUN echo a > /a\n"
    live.wirt("build", "-t", "built:1", "-", feed=text)
    assert helper.asked() == [f"get {served.host}"]
    assert live.wirt("run", "--rm", "built:1", "cat", "/a").stdout == "a\n"


def test_a_registry_with_tokens(live: Live, helper: Helper, tmp_path: Path) -> None:
    with (
        token_server(live, tmp_path / "tokens") as auth,
        registry(live, tmp_path / "registry", port=5012, auth=auth) as made,
        private(live, made, helper) as served,
    ):
        check_everywhere(live, served.host, helper, tmp_path / "context")


def test_wirts_own_registry(live: Live, helper: Helper, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    live.wirt("registry", "serve", "--listen", "127.0.0.1:5013", "--htpasswd", str(users))
    try:
        with private(live, Registry(live=live, host="127.0.0.1:5013"), helper) as served:
            check_everywhere(live, served.host, helper, tmp_path / "context")
    finally:
        for name in ("private/box", "private/more"):
            live.wirt("registry", "rm", name, code=None)
        live.wirt("registry", "stop", code=None)


def test_what_is_refused(live: Live, served: Registry, helper: Helper, tmp_path: Path) -> None:
    """A wrong password is not covered up; credentials of one registry are not tried at another;
    an address that ADD fetches from gets none at all."""
    host, name = served.host, f"{served.host}/private/box:1"
    helper.knows(host, password="0ther-word")
    done = live.wirt("build", "-", feed=f"FROM {name}\n", code=None)
    assert f"{host} does not accept the user name and password" in done.stderr
    assert f"wirt login {host}" in done.stderr
    assert "0ther-word" not in done.stderr + live.log()
    helper.knows(host)
    helper.asked()
    with registry(live, tmp_path / "other", port=5014, auth=htpasswd(tmp_path / "auth")) as other:
        text = f"FROM {name}\nFROM {other.host}/private/box:1\nCOPY --from=0 /etc /e\n"
        done = live.wirt("build", "-", feed=text, code=None)
        assert f"denied by {other.host}" in done.stderr
        assert f"wirt login {other.host}" in done.stderr
        assert sorted(helper.asked()) == sorted([f"get {host}", f"get {other.host}"])
    text = f"FROM busybox\nADD http://{host}/v2/private/box/tags/list /list\n"
    done = live.wirt("build", "-", feed=text, code=None)
    assert "answers with status 401" in done.stderr
    assert helper.asked() == []


def test_an_expired_certificate_is_named(live: Live, helper: Helper, tmp_path: Path) -> None:
    ca = self_signed(tmp_path, "ca")
    old = signed(tmp_path, "old", ca, days=0)
    known = "/etc/ssl/certs/ca-certificates.crt"
    tls = {"tls": {"certificate": str(old.cert), "key": str(old.key)}}
    assert live.inside("mount", "--bind", str(ca.cert), known).returncode == 0
    try:
        with registry(live, tmp_path / "registry", port=5015, http=tls) as served:
            time.sleep(1.1)  # until its last second is over
            name = f"{served.host}/private/box:1"
            for words in (("build", "-"), ("pull", name)):
                done = live.wirt(*words, feed=f"FROM {name}\n", code=None)
                assert f"the certificate of {served.host} has expired on 20" in done.stderr
            assert helper.asked().count(f"get {served.host}") <= 1  # by the pull, which sends along
    finally:
        live.inside("umount", known)


def test_a_broken_file_of_credentials_ends_the_build(
    live: Live, served: Registry, tmp_path: Path
) -> None:
    (tmp_path / "docker/config.json").write_text("{ broken")
    done = live.wirt("build", "-", feed=f"FROM {served.host}/private/box:1\n", code=None)
    assert done.returncode != 0
    assert "cannot understand" in done.stderr


class Unix(http.client.HTTPConnection):
    """HTTP over the daemon's socket. A context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__("wirt", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)

    def __enter__(self) -> Unix:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def build(self, **wish: object) -> http.client.HTTPResponse:
        """Ask for a build without a context."""
        head = json.dumps(wish).encode()
        self.request("POST", "/v1/build", len(head).to_bytes(4, "big") + head + bytes(1024))
        return self.getresponse()


def test_other_clients(live: Live, served: Registry, helper: Helper) -> None:
    """One that answers no questions is asked none and told which registry it was; one may give
    credentials along; one answers only what it was asked."""
    wish: dict[str, object] = {"dockerfile": f"FROM {served.host}/private/box:1\n"}
    user = {"username": USER, "password": PASSWORD}
    with Unix(live.socket) as client:
        lines = [json.loads(line) for line in client.build(**wish)]
    assert lines[-1]["problem"]["facts"]["registry"] == served.host
    assert not any("credentials" in line for line in lines)
    with Unix(live.socket) as client:
        asking = client.build(**wish, credentials_token="1" * 32)
        question = next(line for line in asking if b'"credentials"' in line)
        assert json.loads(question) == {"credentials": served.host}
        statuses = [
            _answer(live, token, name, user)
            for token, name in (("2" * 32, served.host), ("1" * 32, "a.example"),
                                ("1" * 32, served.host), ("1" * 32, served.host))
        ]  # fmt: skip
        assert statuses == [404, 404, 204, 404]
        assert "image" in json.loads(asking.read().splitlines()[-1])
    live.wirt("rmi", "-f", f"{served.host}/private/box:1")
    with Unix(live.socket) as client:
        lines = [json.loads(line) for line in client.build(**wish, credentials={served.host: user})]
    assert "image" in lines[-1]
    assert helper.asked() == []


def test_the_library_asks_its_caller(live: Live, served: Registry, helper: Helper) -> None:
    asked: list[str] = []
    heard: list[Mapping[str, object]] = []

    async def have(registry: str) -> dict[str, str] | None:
        asked.append(registry)
        return {"username": USER, "password": PASSWORD}

    async def have_not(registry: str) -> None:
        asked.append(registry)

    async def story() -> None:
        text = f"FROM {served.host}/private/box:1\nRUN echo a > /a\n"
        async with asyncio.timeout(60), Client(str(live.socket)) as client:
            with pytest.raises(Forbidden, match="denied"):
                await client.builds.run(text, credentials=have_not)
            made = await client.builds.run(
                text, credentials=have, hear=heard.append, tags=("built:1",)
            )
            assert made.names == ("built:1",)
            assert (await client.images.inspect("built:1")).id == made.image

    asyncio.run(story())
    assert asked == [served.host] * 2
    assert any(line.get("status") == "done" for line in heard)
    assert helper.asked() == []


def _answer(live: Live, token: str, registry_name: str, credentials: dict[str, str]) -> int:
    body = json.dumps({"registry": registry_name, "credentials": credentials})
    with Unix(live.socket) as client:
        client.request("POST", f"/v1/build/credentials/{token}", body)
        return client.getresponse().status
