"""Registries as a user meets them: Debian's docker-registry, with skopeo as the judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live import Live
from needs import needs
from registrybox import Registry, registry

pytestmark = needs("root", "crun", "skopeo", "docker-registry")


@pytest.fixture
def served(shared_instance: Live, tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks nobody who he is, with busybox as ``team/busybox:1``."""
    archive = tmp_path / "busybox.tar"
    shared_instance.wirt("save", "-o", str(archive), "busybox:latest")
    with registry(shared_instance, tmp_path / "registry") as found:
        found.push(f"docker-archive:{archive}", "team/busybox:1")
        yield found


def test_pull_and_run(shared_instance: Live, served: Registry) -> None:
    live, name = shared_instance, f"{served.host}/team/busybox:1"
    try:
        first = live.wirt("pull", name)
        digest = served.inspect("team/busybox:1")["Digest"]
        assert first.stdout == (
            f"Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n"
        ) or first.stdout.endswith(f"Image is up to date for {name}\n{name}\n")
        assert "1: Pulling from" in first.stderr
        again = live.wirt("pull", name)
        assert f"Status: Image is up to date for {name}\n" in again.stdout
        assert live.wirt("pull", "-q", name).stdout == f"{name}\n"
        assert live.wirt("run", "--rm", name, "echo", "hello").stdout == "hello\n"
        live.wirt("pull", "-q", f"{served.host}/team/busybox@{digest}")
    finally:
        live.wirt("rmi", name, f"{served.host}/team/busybox@{digest}", code=None)


def test_what_is_not_there(shared_instance: Live, served: Registry) -> None:
    missing = shared_instance.wirt("pull", f"{served.host}/team/busybox:2", code=3)
    assert "has no manifest team/busybox:2" in missing.stderr
    nobody = shared_instance.wirt("pull", "127.0.0.1:1/team/busybox", code=None)
    assert nobody.returncode not in {0, 1}
    assert "cannot reach 127.0.0.1:1" in nobody.stderr
