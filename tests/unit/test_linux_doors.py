"""Thin doors to the kernel: /proc, pidfds, inotify, capabilities, openat2."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from needs import needs
from wirt.linux import inotify, libc, pidfd, procfs


def _stat(tmp: Path, name: str) -> Path:
    (tmp / "7").mkdir()
    fields = " ".join(str(n) for n in range(4, 23))
    (tmp / "7/stat").write_text(f"7 ({name}) Z {fields} 23\n")
    return tmp


@pytest.mark.parametrize("name", ["sh", "a) R 1 (b", "x\ny", "((()))", ""])
def test_start_time_whatever_the_process_is_called(tmp_path: Path, name: str) -> None:
    proc = _stat(tmp_path, name)
    assert procfs.start_time(7, proc=proc) == 22
    assert procfs.state(7, proc=proc) == "Z"
    assert procfs.start_time(8, proc=proc) is None


def test_own_figures() -> None:
    assert (procfs.start_time(os.getpid()) or 0) > 0
    assert (procfs.status(os.getpid()) or {})["Pid"] == str(os.getpid())
    assert len(procfs.boot_id()) == 36
    assert os.getpid() in procfs.pids()
    assert any(mount.target == "/" for mount in procfs.mounts())


def test_mountinfo_with_escapes_and_optional_fields() -> None:
    line = r"36 35 98:0 /a\040b /mnt/x\012\134y rw,noatime master:1 shared:2 - ext3 /dev/\040r rw"
    entry = procfs.parse_mount(line)
    assert (entry.root, entry.target, entry.source) == ("/a b", "/mnt/x\n\\y", "/dev/ r")
    assert (entry.kind, entry.options, entry.super_options) == ("ext3", "rw,noatime", "rw")
    assert procfs.parse_mount("1 2 0:1 / /x rw - tmpfs").source == ""


@example(target="-")
@given(target=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_survives_mountinfo(target: str) -> None:
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in target)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "self").mkdir()
        lines = f"1 2 0:1 / {escaped} rw - tmpfs none rw\n2 2 0:1 / /next rw - tmpfs none rw\n"
        (Path(directory) / "self/mountinfo").write_bytes(lines.encode())
        found = procfs.mounts(proc=Path(directory))
    assert [entry.target for entry in found] == [target, "/next"]


def test_a_pidfd_is_only_given_for_the_same_process() -> None:
    process = subprocess.Popen(["sleep", "100"])
    start = procfs.start_time(process.pid)
    assert start is not None
    assert pidfd.open_same(process.pid, start + 1) is None
    fd = pidfd.open_same(process.pid, start)
    assert fd is not None
    assert not pidfd.ended(fd)

    async def end() -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(pidfd.wait_ended(fd))
        await asyncio.sleep(0)
        assert pidfd.send(fd, signal.SIGKILL)
        await asyncio.wait_for(waiting, 10)

    asyncio.run(end())
    assert pidfd.wait(fd, 10)
    assert pidfd.open_same(process.pid, start) is None, "a zombie has ended"
    process.wait()
    assert not pidfd.send(fd, signal.SIGKILL)
    os.close(fd)
    assert pidfd.open_same(process.pid, start) is None
    assert pidfd.open_same(-1, start) is None


def test_inotify_tells_names(tmp_path: Path) -> None:
    with inotify.Inotify() as watcher:
        number = watcher.add(tmp_path, inotify.IN_CREATE | inotify.IN_DELETE)
        assert watcher.read() == []
        (tmp_path / "first").touch()
        (tmp_path / "a much longer name than the first").touch()
        (tmp_path / "first").unlink()
        seen = watcher.read()
        assert [(s.watch, s.mask, s.name) for s in seen] == [
            (number, inotify.IN_CREATE, "first"),
            (number, inotify.IN_CREATE, "a much longer name than the first"),
            (number, inotify.IN_DELETE, "first"),
        ]
        watcher.remove(number)
        assert [s.mask for s in watcher.read()] == [inotify.IN_IGNORED]
    with inotify.Inotify() as watcher, pytest.raises(FileNotFoundError, match="gone"):
        watcher.add(tmp_path / "gone", inotify.IN_CREATE)


def test_failures_carry_errno_call_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"umount2: .*nothing") as caught:
        libc.umount2(tmp_path / "nothing")
    assert caught.value.errno in {errno.ENOENT, errno.EPERM}
    assert caught.value.filename == str(tmp_path / "nothing")
    with pytest.raises(OSError, match="unshare"):
        libc.unshare(1)


def test_openat2_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("in")
    (tmp_path / "absolute").symlink_to("/in")
    (tmp_path / "up").symlink_to("../../../../../in")
    top = os.open(tmp_path, os.O_PATH)
    for name in ("in", "/in", "../../in", "absolute", "up"):
        fd = libc.openat2(top, name, os.O_RDONLY)
        assert os.read(fd, 10) == b"in"
        assert not os.get_inheritable(fd)
        os.close(fd)
    with pytest.raises(OSError, match="openat2"):
        libc.openat2(top, "up", os.O_RDONLY, resolve=libc.RESOLVE_BENEATH)
    os.close(top)


def test_closing_all_but_some() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            keep = os.open("/dev/null", os.O_RDONLY)
            lost = os.open("/dev/null", os.O_RDONLY)
            libc.close_except((keep, 1, keep))
            os.fstat(keep)
            try:
                os.fstat(lost)
            except OSError:
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


@needs("root")
def test_capabilities_are_dropped_for_good() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            chown = 1 << 0
            libc.keep_capabilities(chown)
            assert libc.capget() == (chown, chown, 0)
            assert libc.bounding_set() == chown
            status = procfs.status(os.getpid()) or {}
            assert int(status["CapAmb"], 16) == 0
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
