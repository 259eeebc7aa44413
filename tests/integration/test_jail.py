"""What a process that reads hostile bytes can still ask of the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from needs import needs
from wirt.errors import Internal
from wirt.linux import libc
from wirt.privileged import calls, jail

pytestmark = needs("root")


def inside(work: Callable[[], str]) -> str:
    """What ``work`` answers in the jail; of an OSError its name."""

    def told() -> str:
        try:
            return work()
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    return jail.run(told, str, enter=lambda: None, rights=jail.Rights(capabilities=jail.WRITER))


def _thread() -> str:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return "it ran"


def _trace() -> str:
    if ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0):  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    return "it attached"


FORBIDDEN: dict[str, Callable[[], object]] = {
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "get a handle of it": lambda: os.pidfd_open(os.getppid()),
    "trace it": _trace,
    "start a process": os.fork,
    "become a program": lambda: os.execve("/bin/true", ["true"], {}),
    "speak to somebody": lambda: socket.socket(socket.AF_UNIX).close(),
    "enter a namespace": lambda: libc.unshare(libc.CLONE_NEWUSER),
    "change its root": lambda: os.chroot("/"),
    "change its user": lambda: os.setuid(1),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_jail_cannot(what: str) -> None:
    assert inside(lambda: str(FORBIDDEN[what]())) == "EPERM"


def test_a_thread_is_a_process_too() -> None:
    with pytest.raises(Internal, match="can't start new thread"):
        inside(_thread)


def test_what_files_need_is_left(tmp_path: Path) -> None:
    def work() -> str:
        (tmp_path / "file").write_text("x")
        os.mkfifo(tmp_path / "pipe")
        os.mknod(tmp_path / "device", 0o20600, os.makedev(1, 3))
        (tmp_path / "link").symlink_to("file")
        (tmp_path / "twin").hardlink_to(tmp_path / "file")
        os.chown(tmp_path / "file", 5, 6)
        os.setxattr(tmp_path / "file", "user.a", b"b")
        os.utime(tmp_path / "file", (1, 1))
        return str(len(os.listdir(tmp_path)))  # noqa: PTH208 - a count

    assert inside(work) == "5"


def test_the_filter_is_there() -> None:
    assert len(calls.filter_program()) > 8 * len(calls.DENIED) // 2
    status = inside(lambda: Path("/proc/self/status").read_text())
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
