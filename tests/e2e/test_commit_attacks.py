"""Hostile containers being committed, exported and compared: the host keeps its secrets."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import Live

SECONDS = 6.0
SWAP = """\
mkdir -p /a/in /b; echo inside > /a/in/canary; ln -s {host} /b/in
while :; do mv /a/in /a/x; ln -s {host} /a/in; rm /a/in; mv /a/x /a/in; done
"""
CANARY = "only the host knows"


@pytest.fixture
def live(shared_instance: Live) -> Iterator[Live]:
    yield shared_instance
    shared_instance.wirt("rm", "-f", "evil", code=None)
    for name in shared_instance.wirt("images", "-q", "made").stdout.split():
        shared_instance.wirt("rmi", "-f", name)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory of the host with a secret in it."""
    made = tmp_path / "host"
    made.mkdir()
    (made / "canary").write_text(CANARY)
    return made


def export(live: Live, guest: str) -> bytes:
    with contextlib.suppress(subprocess.CalledProcessError):
        return live.pipe("export", guest)
    return b""


def test_links_swapped_in_a_loop_lead_nowhere(live: Live, host: Path) -> None:
    """CVE-2018-15664 and its kin, by export, diff and commit without a pause."""
    live.wirt("run", "-d", "--name", "evil", "busybox", "sh", "-c", SWAP.format(host=host))
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        assert CANARY.encode() not in export(live, "evil")
        assert "canary only" not in live.wirt("diff", "evil", code=None).stdout
        live.wirt("commit", "--pause=false", "evil", "made:1", code=None)
        rounds += 1
    assert rounds > 1
    live.wirt("commit", "evil", "made:1")
    found = live.wirt("run", "--rm", "made:1", "sh", "-c", f"cat {host}/canary", code=None)
    assert found.returncode != 0
    assert (host / "canary").read_text() == CANARY
    assert live.wirt("exec", "evil", "true").returncode == 0


def test_what_is_no_file_is_not_opened(live: Live) -> None:
    """FIFOs, devices and sockets cannot block or be read."""
    script = "mkfifo /pipe; mknod /zero c 1 5; mknod /disk b 8 0; nc -l -p 1 & sleep 1000"
    live.wirt("run", "-d", "--name", "evil", "busybox", "sh", "-c", script)
    time.sleep(0.3)
    live.wirt("commit", "evil", "made:2", timeout=30)
    with tarfile.open(fileobj=io.BytesIO(export(live, "evil"))) as archive:
        assert archive.getmember("pipe").isfifo()
        assert archive.getmember("zero").ischr()
    kinds = live.wirt("run", "--rm", "made:2", "stat", "-c", "%F", "/pipe", "/zero").stdout
    assert kinds.splitlines() == ["fifo", "character special file"]


@pytest.mark.parametrize("place", ["dev", "proc", "sys", "etc"])
def test_a_root_with_links_for_places_of_the_kernel(live: Live, host: Path, place: str) -> None:
    """An image of a layer in which ``/dev``... leads out is refused or confined at its start."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name, target in (("bin/sh", "busybox"), (place, str(host))):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    live.pipe("import", "-", "made:3", feed=out.getvalue())
    live.wirt("run", "--name", "evil", "made:3", "/bin/sh", "-c", "exit 0", code=None)
    live.wirt("commit", "evil", "made:4", code=None)
    assert CANARY.encode() not in export(live, "evil")
    assert sorted(p.name for p in host.iterdir()) == ["canary"]


def test_a_working_directory_in_the_kernel_s_descriptors(live: Live) -> None:
    """CVE-2024-21626: a commit cannot smuggle such a directory past the next start."""
    live.wirt("run", "--name", "evil", "busybox", "true")
    live.wirt("commit", "-c", "WORKDIR /proc/self/fd/7", "evil", "made:5")
    done = live.wirt("run", "--rm", "made:5", "sh", "-c", "ls ../../..", code=None)
    assert "wirt.db" not in done.stdout
    assert done.returncode != 0
