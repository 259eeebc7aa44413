"""Debian's docker-registry, on the loopback of an instance's own network."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenserver
from certificates import self_signed
from live import ROOT, Live

USER, PASSWORD = "wirt", "s3cret-word"
HTPASSWD = f"{USER}:$2b$04$KZbXnVTV/BIVyH7Zjy9OC.qoaJiN9cLeeJnFwKcYLGCoLo/wu6Z/i\n"
"""Bcrypt of the password, the only form that the registry takes."""
PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A running registry. ``host``: as references name it."""

    live: Live
    host: str

    def skopeo(self, *words: str) -> str:
        """Have the judge do something."""
        done = self.live.inside("skopeo", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inspect(self, name: str, *more: str) -> Any:
        """What the judge sees under a name."""
        target = f"docker://{self.host}/{name}"
        return json.loads(self.skopeo("inspect", "--tls-verify=false", *more, target))

    def push(self, source: str, name: str, *more: str) -> None:
        """Have the judge push something."""
        words = ("copy", "-q", "--dest-tls-verify=false", *more)
        self.skopeo(*words, source, f"docker://{self.host}/{name}")


@contextlib.contextmanager
def registry(
    live: Live, folder: Path, *, port: int = 5000, http: Mapping[str, Any] | None = None,
    auth: Mapping[str, Any] | None = None,
) -> Iterator[Registry]:  # fmt: skip
    """Serve until the block ends. ``http``, ``auth``: further settings of these names."""
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", **(http or {})},
        **({"auth": dict(auth)} if auth else {}),
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(json.dumps(settings))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*live.instance.enter, "docker-registry", "serve", str(folder / "config.yml")],
            stdout=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        try:
            listens(live, port, folder / "log")
            yield Registry(live=live, host=f"127.0.0.1:{port}")
        finally:
            process.kill()


def listens(live: Live, port: int, log: Path) -> None:
    """Wait until something listens on a port of an instance's loopback; ``log``: what it said."""
    deadline = time.monotonic() + PATIENCE
    probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
    while live.inside("python3", "-c", probe).returncode:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)  # nothing tells when it listens


@contextlib.contextmanager
def token_server(live: Live, folder: Path, *, port: int = 5009) -> Iterator[dict[str, Any]]:
    """Serve tokens until the block ends; settings for a registry that wants them."""
    folder.mkdir(exist_ok=True)
    pair = self_signed(folder, "tokens")
    pair.key.rename(folder / "key.pem")
    words = ("openssl", "x509", "-in", str(pair.cert), "-outform", "DER", "-out")
    subprocess.run([*words, str(folder / "cert.der")], check=True)
    program = str(ROOT / "tests/tokenserver.py")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*live.instance.enter, "python3", program, str(port), str(folder)],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            listens(live, port, folder / "log")
            yield {
                "token": {
                    "realm": f"http://127.0.0.1:{port}/token",
                    "service": tokenserver.SERVICE,
                    "issuer": tokenserver.ISSUER,
                    "rootcertbundle": str(pair.cert),
                }
            }
        finally:
            process.kill()


def htpasswd(folder: Path) -> dict[str, Any]:
    """Settings for basic authentication."""
    folder.mkdir(exist_ok=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
