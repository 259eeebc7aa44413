"""Files into and out of a running machine, as tar streams packed and unpacked by its agent."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tarfile
import threading
from collections.abc import Awaitable, Callable

import pytest

from machinebox import BOOT, Session
from needs import needs
from wirt.engine._machine_handle import MachineHandle
from wirt.errors import NotFound, WirtError

pytestmark = needs("root", "mountns", "qemu", "erofs", "busybox", "keeper", "agent", "guest-kernel")
Tell = Callable[[Callable[[Session], Awaitable[None]]], None]


def _through(work: Callable[[int], Awaitable[None]], data: bytes | None) -> Awaitable[bytes]:
    """Give ``work`` one end of a socket; feed or drain the other meanwhile."""

    async def run() -> bytes:
        mine, theirs = socket.socketpair()
        got: list[bytes] = []

        def move() -> None:
            if data is not None:
                mine.sendall(data)
                mine.shutdown(socket.SHUT_WR)
            while piece := mine.recv(1 << 18):
                got.append(piece)

        mover = threading.Thread(target=move, daemon=True)
        mover.start()
        try:
            await work(theirs.fileno())
        finally:
            theirs.close()
            await asyncio.to_thread(mover.join, BOOT)
            mine.close()
        return b"".join(got)

    return run()


def test_trees_go_in_and_come_out_the_same(tell: Tell) -> None:
    packed = io.BytesIO()
    large = os.urandom(900_000)
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tree:

        def add(name: str, kind: bytes = tarfile.REGTYPE, **facts: object) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.mode = kind, 1_600_000_000, 0o640
            content = facts.pop("content", b"")
            assert isinstance(content, bytes)
            info.size = len(content)
            for key, value in facts.items():
                setattr(info, key, value)
            tree.addfile(info, io.BytesIO(content))

        add("top", tarfile.DIRTYPE, mode=0o751, uid=3, gid=4)
        add("top/large", content=large, uid=70_000, gid=3_000_000)
        add("top/" + "n" * 180 + "/" + "deep" * 20, content=b"deep", mode=0o4755)
        add("top/link", tarfile.SYMTYPE, linkname="/etc/" + "t" * 120)
        add("top/twin", tarfile.LNKTYPE, linkname="top/large")
        add("top/pipe", tarfile.FIFOTYPE)
        add("top/null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("top/empty")

    async def story(inside: Session) -> None:
        handle = inside.handle
        assert isinstance(handle, MachineHandle)
        data = packed.getvalue()
        await _through(lambda fd: handle.write_tree("/srv", fd), data)
        out = await _through(lambda fd: handle.read_tree("/srv/top", fd), None)
        with tarfile.open(fileobj=io.BytesIO(out)) as tree:
            members = {member.name: member for member in tree}
            names = sorted(members)
            first = tree.extractfile("top/large")
            assert first is not None or "top/twin" in names
            content = {m.name: tree.extractfile(m).read() for m in members.values() if m.isfile()}  # type: ignore[union-attr]
        with tarfile.open(fileobj=io.BytesIO(data)) as tree:
            wanted = {member.name for member in tree}
        assert wanted <= set(names)
        assert large in content.values()
        assert {members[n].type for n in ("top/large", "top/twin")} == {
            tarfile.REGTYPE, tarfile.LNKTYPE,
        }  # fmt: skip
        top = members["top"]
        assert (top.mode, top.uid, top.gid) == (0o751, 3, 4)
        assert members["top/link"].linkname == "/etc/" + "t" * 120
        assert members["top/pipe"].isfifo()
        assert (members["top/null"].devmajor, members["top/null"].devminor) == (1, 3)
        deep = next(m for name, m in members.items() if "deep" in name)
        assert (deep.mode, deep.mtime) == (0o4755, 1_600_000_000)
        stat = await handle.stat_tree("/srv/top/link")
        assert (stat.name, stat.link_target) == ("link", "/etc/" + "t" * 120)
        assert (await handle.stat_tree("/srv/top/empty")).size == 0

    tell(story)


def test_bad_trees_are_refused_and_the_guest_lives_on(tell: Tell) -> None:
    def packed(*members: tuple[str, bytes, str]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tree:
            for name, kind, link in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, link
                tree.addfile(info)
        return out.getvalue()

    good = packed(("a", tarfile.REGTYPE, ""))
    bad = {
        "climbs": packed(("../../etc/x", tarfile.REGTYPE, "")),
        "cut": good[:300],
        "noise": os.urandom(4096),
        "link up": packed(("l", tarfile.LNKTYPE, "../../etc/passwd")),
    }

    async def story(inside: Session) -> None:
        handle = inside.handle
        assert isinstance(handle, MachineHandle)
        for data in bad.values():
            with pytest.raises(WirtError):
                await _through(lambda fd, data=data: handle.write_tree("/srv", fd), data)  # type: ignore[misc]
        with pytest.raises(NotFound):
            await _through(lambda fd: handle.write_tree("/none", fd), good)
        with pytest.raises(NotFound):
            await _through(lambda fd: handle.read_tree("/none", fd), None)
        with pytest.raises(NotFound):
            await handle.stat_tree("/none")
        as_directory = packed(("file", tarfile.DIRTYPE, ""))
        await inside.execute("sh", "-c", "echo x >/srv/file")
        with pytest.raises(WirtError, match="cannot overwrite"):
            await _through(
                lambda fd: handle.write_tree("/srv", fd, no_overwrite_dir_non_dir=True),
                as_directory,
            )
        assert await inside.execute("cat", "/srv/file") == (0, b"x\n")

    tell(story)
