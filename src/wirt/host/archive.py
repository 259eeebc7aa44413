"""Copying files into and out of guests (``wirt cp``).

A container's files are reached by the helper, in a child that sees nothing but them, whether it
runs or not. A running machine's agent does it inside the machine. The disk of a machine that does
not run is foreign bytes that only its own kernel shall interpret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine
from typing import Any

from wirt.aio import Locks, beside
from wirt.engine.container import first_id
from wirt.errors import NotFound
from wirt.guest.keeper import KeeperLink, Request
from wirt.host.images import Images
from wirt.host.inside import Running, agent_of
from wirt.host.pipe import Pipes, chunks, pour
from wirt.host.volumes import Volumes
from wirt.model.guest import Guest, GuestState, Isolation
from wirt.model.volume import MountKind
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ReadTree, StatTree, TreeSource, TreeStat, WriteTree
from wirt.tar.retar import retar

_LIMIT = 2**50
_ALIVE = {GuestState.RUNNING, GuestState.PAUSED}


class Archive:
    """``GET``, ``PUT`` and ``HEAD`` of a guest's files. ``locks``: by guest id, the ones under
    which guests are started."""

    def __init__(
        self,
        *,
        helper: Helper,
        pipes: Pipes,
        images: Images,
        volumes: Volumes,
        running: Running,
        locks: Locks,
    ) -> None:
        self._helper = helper
        self._pipes = pipes
        self._images = images
        self._volumes = volumes
        self._running = running
        self._locks = locks

    async def stat(self, guest: Guest, path: str) -> TreeStat:
        """lstat of a path as the guest sees it. Raises NotFound, Invalid."""
        try:
            return await self._stat(guest, path)
        except NotFound as error:
            raise NotFound(
                f"there is no {path} in the guest {guest.name}",
                hint="is the path right?",
                code="guest.no-path",
            ) from error

    async def _stat(self, guest: Guest, path: str) -> TreeStat:
        if guest.spec.isolation is not Isolation.CONTAINER:
            record = await self._keeper(guest).request(
                Request.AGENT, {"call": ["stat"], "path": [_absolute(path)]}
            )
            return TreeStat(
                name=record["name"][0],
                size=int(record["size"][0]),
                mode=int(record["mode"][0]),
                mtime=int(record["mtime"][0]),
                link_target=record.get("link_target", [""])[0],
            )
        answer, _ = await self._helper.call(
            StatTree(source=await self._source(guest), path=_absolute(path))
        )
        return answer

    async def get(self, guest: Guest, path: str) -> AsyncGenerator[bytes, None]:
        """A path as a tar stream. An error after the first bytes is raised at the end."""
        if guest.spec.isolation is not Isolation.CONTAINER:
            ours, theirs = socket.socketpair()
            keeper = self._keeper(guest)
            work = keeper.request(
                Request.AGENT,
                {"call": ["tar-out"], "path": [_absolute(path)]},
                descriptor=theirs.fileno(),
            )
            stream = while_working(work, ours.detach(), theirs.detach())
            async with contextlib.aclosing(stream):
                async for chunk in stream:
                    yield chunk
            return
        verb = ReadTree(source=await self._source(guest), path=_absolute(path))
        reader, writer = os.pipe()
        stream = while_working(self._helper.call(verb, [writer]), reader, writer)
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                yield chunk

    async def put(
        self,
        guest: Guest,
        path: str,
        body: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        """Unpack a tar stream, maybe compressed, into a directory of the guest.

        ``no_overwrite_dir_non_dir``: a directory may not replace a non-directory, nor the reverse.
        ``copy_uid_gid``: keep the archive's owners, else all belongs to the guest's root.
        Raises NotFound, Invalid, Conflict, Forbidden, Exhausted.
        """
        if guest.spec.isolation is not Isolation.CONTAINER:
            owner = None if copy_uid_gid else (0, 0)
            await self._put_machine(guest, path, body, strict=no_overwrite_dir_non_dir, owner=owner)
            return
        async with self._quiet(guest):
            verb = WriteTree(
                source=await self._source(guest),
                path=_absolute(path),
                no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                copy_uid_gid=copy_uid_gid,
            )
            reader, writer = os.pipe()
            await _pourwhile_working(self._helper.call(verb, [reader]), body, reader, writer)

    @contextlib.asynccontextmanager
    async def _quiet(self, guest: Guest) -> AsyncIterator[None]:
        """A guest that does not run may not be started while its layer is written to: two mounts
        of one upper directory would damage it."""
        if guest.status.state in _ALIVE:
            yield
            return
        async with self._locks.hold(guest.id):
            yield

    async def _source(self, guest: Guest) -> TreeSource:
        """Where the files are, also for a guest that does not run."""
        if guest.status.state in _ALIVE:
            return TreeSource(guest=guest.id, running=True)
        image = await self._images.get(guest.image_id)
        async with self._images.ready(image):
            pass  # the guest keeps them from here on
        mounts = await self._volumes.resolve_mounts(guest, image)
        binds = tuple(
            (mount.volume or mount.source, mount.target, mount.read_only)
            for mount in mounts
            if mount.kind is not MountKind.TMPFS and not mount.make
        )
        idmap = first_id(guest.id) if guest.spec.userns == "private" else None
        return TreeSource(guest=guest.id, idmap=idmap, layers=image.chain_ids, binds=binds)

    # --- machines ---------------------------------------------------------------------------

    def _keeper(self, guest: Guest) -> KeeperLink:
        return agent_of(self._running, guest, "copy files of")

    async def _put_machine(
        self,
        guest: Guest,
        path: str,
        body: AsyncIterable[bytes],
        *,
        strict: bool,
        owner: tuple[int, int] | None,
    ) -> None:
        """The agent takes plain archives only, so this host decompresses and checks."""
        keeper = self._keeper(guest)
        ours, theirs = socket.socketpair()
        record = {
            "call": ["tar-in"],
            "path": [_absolute(path)],
            "no_overwrite": ["1" if strict else "0"],
        }
        work = keeper.request(Request.AGENT, record, descriptor=theirs.fileno())
        plain = self._pipes.change(
            body, lambda source, sink: retar(source, sink, owner=owner, limit=_LIMIT)
        )
        async with contextlib.aclosing(plain):
            await _pourwhile_working(work, plain, theirs.detach(), ours.detach())


def _absolute(path: str) -> str:
    """A guest's path as the user meant it: from the guest's root."""
    return path if path.startswith("/") else "/" + path


def _closing(task: asyncio.Task[Any], fd: int) -> None:
    """Close our copy of the other side's end once it has finished: until then it may not have
    been handed over, afterwards it would hide the end of the stream."""
    task.add_done_callback(lambda _: os.close(fd))


async def while_working(
    work: Coroutine[Any, Any, object], reader: int, writer: int
) -> AsyncGenerator[bytes, None]:
    """What the work writes into ``writer``, read from ``reader``; both are closed. The work's
    error is raised after the last byte."""
    try:
        async with beside(work) as task:
            _closing(task, writer)
            async for chunk in chunks(reader):
                yield chunk
            await task
    finally:
        os.close(reader)


async def _pourwhile_working(
    work: Coroutine[Any, Any, object], body: AsyncIterable[bytes], reader: int, writer: int
) -> None:
    """Write the body into ``writer`` while the work reads ``reader``; both are closed."""
    async with beside(work) as task:
        _closing(task, reader)
        try:
            await pour(body, writer)
        finally:
            os.close(writer)
        await task
