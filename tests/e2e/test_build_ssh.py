"""Repositories by ssh: the user's agent gets in, and only at servers that the user's ssh knows."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live import Live
from needs import needs
from registrybox import listens
from webfiles import Repository

pytestmark = needs("root", "crun", "git", "ssh", "dropbear")

PORT = 2222
PATIENCE = 20.0


@contextmanager
def server(live: Live, folder: Path) -> Iterator[str]:
    """An SSH server in the instance's network that lets root in with ``folder/key.pub``; the line
    of known_hosts for it."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (home / ".ssh/authorized_keys").write_text((folder / "key.pub").read_text())
    host_key = folder / "host"
    made = subprocess.run(
        ["dropbearkey", "-t", "ed25519", "-f", host_key], check=True, capture_output=True, text=True
    )
    (public,) = [line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519 ")]
    words = f"mount --bind {home} /root && exec dropbear -F -E -s -p 127.0.0.1:{PORT} -r {host_key}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*live.instance.enter, "unshare", "-m", "sh", "-c", f"{words} -P {folder}/pid"],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            listens(live, PORT, folder / "log")
            yield f"[127.0.0.1]:{PORT} {' '.join(public.split()[:2])}\n"
        finally:
            process.kill()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A running agent with a key, whose public part is beside its socket."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not socket.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)  # nothing tells when it listens
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", key], check=True, stderr=subprocess.DEVNULL)
            yield socket
        finally:
            process.kill()


@pytest.mark.usefixtures("agent")
def test_repositories_by_ssh(
    shared_instance: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = shared_instance
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    inner = Repository(tmp_path / "inner", tmp_path / "inner.git")
    outer = Repository(tmp_path / "outer", tmp_path / "outer.git")
    outer.link("inner", inner.commit(f="inner\n"))
    modules = '[submodule "inner"]\n\tpath = inner\n\turl = ../inner.git\n'
    outer.commit(_gitmodules=modules, f="outer\n", Dockerfile="FROM busybox\nCOPY . /x\n")
    url = f"ssh://root@127.0.0.1:{PORT}{tmp_path}/outer.git"
    live.wirt("store", "check", "--repair", code=None)  # what tests before have left
    with server(live, tmp_path) as known:
        try:
            alone = live.wirt("build", url, code=None)
            assert "--ssh default" in alone.stderr
            strange = live.wirt("build", "--ssh", "default", url, code=None)
            assert "does ssh know the host" in strange.stderr
            (tmp_path / ".ssh/known_hosts").write_text(known)
            live.wirt("build", "-t", "ssh:1", "--ssh", "default", f"{url}#main")
            words = ("run", "--rm", "ssh:1", "cat", "/x/f", "/x/inner/f")
            assert live.wirt(*words).stdout == "outer\ninner\n"
            add = f"FROM busybox\nADD {url} /x\n"
            live.wirt("build", "-t", "ssh:1", "--ssh", "default", "-", feed=add)
            assert live.wirt(*words).stdout == "outer\ninner\n"
            subprocess.run(["ssh-add", "-q", "-D"], check=True, stderr=subprocess.DEVNULL)
            live.wirt("store", "check")
            keyless = live.wirt("build", "--ssh", "default", url, code=None)
            assert "does your agent have the key" in keyless.stderr
        finally:
            live.wirt("rmi", "-f", "ssh:1", code=None)
