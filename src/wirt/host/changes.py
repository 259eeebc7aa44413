"""What guests changed against their image, images against each other, and a guest's whole root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import msgspec

from wirt.engine.container import first_id
from wirt.errors import Invalid
from wirt.guest.keeper import KeeperLink, Request
from wirt.host.archive import while_working
from wirt.host.images import Images
from wirt.host.inside import Running, agent_of
from wirt.host.pipe import Pipes
from wirt.model.guest import Guest, Isolation
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ExportTree, ListChanges, Verb
from wirt.tar.reader import Readable
from wirt.tar.retar import Writable, retar

_LIMIT = 2**50
_RECORD = 8192
_CHANGE = re.compile(rb"([ACD]) ([0-9]{1,19}) ([0-9]{1,19}) ([^\0]{1,4096})", re.DOTALL)
"""One record of a machine's list of changes (docs/reference/keeper-protocol.md)."""


class Changes:
    """The verbs ``diff``, ``image diff`` and ``export``."""

    def __init__(self, helper: Helper, images: Images, pipes: Pipes, running: Running) -> None:
        self._helper = helper
        self._images = images
        self._pipes = pipes
        self._running = running

    async def of_guest(self, guest: Guest) -> AsyncGenerator[bytes, None]:
        """What a guest changed, an object a line. Raises Conflict for a machine that does not
        run."""
        if guest.spec.isolation is not Isolation.CONTAINER:
            told = self._asked(agent_of(self._running, guest, "list the changes of"), "changes")
            async for line in told_changes(told):
                yield line
            return
        image = await self._images.get(guest.image_id)
        with self._images.hold(image):
            verb = ListChanges(id=guest.id, layers=image.chain_ids, idmap=idmap_of(guest))
            async for line in self._lines(verb):
                yield line

    async def of_images(self, old: str, new: str) -> AsyncGenerator[bytes, None]:
        """What one image has other than another. Raises NotFound."""
        before, after = await self._images.find(old), await self._images.find(new)
        with self._images.hold(before), self._images.hold(after):
            verb = ListChanges(layers=before.chain_ids, other=after.chain_ids)
            async for line in self._lines(verb):
                yield line

    async def export(self, guest: Guest) -> AsyncGenerator[bytes, None]:
        """A guest's root as a tar stream, without its volumes. Raises Conflict for a machine that
        does not run."""
        if guest.spec.isolation is not Isolation.CONTAINER:
            told = self._asked(agent_of(self._running, guest, "export"), "tar-root")
            archive = self._pipes.change(told, _checked)
            async with contextlib.aclosing(archive):
                async for chunk in archive:
                    yield chunk
            return
        image = await self._images.get(guest.image_id)
        with self._images.hold(image):
            verb = ExportTree(id=guest.id, layers=image.chain_ids, idmap=idmap_of(guest))
            async for chunk in self._written(verb):
                yield chunk

    async def _asked(self, keeper: KeeperLink, call: str) -> AsyncGenerator[bytes, None]:
        """What a machine's agent answers."""
        ours, theirs = socket.socketpair()
        work = keeper.request(Request.AGENT, {"call": [call]}, descriptor=theirs.fileno())
        stream = while_working(work, ours.detach(), theirs.detach())
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                yield chunk

    async def _lines(self, verb: ListChanges) -> AsyncGenerator[bytes, None]:
        """The helper's lists as objects; whole lines only."""
        rest = b""
        async for chunk in self._written(verb):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield b"".join(map(_object, lines))

    async def _written(self, verb: Verb[Any]) -> AsyncGenerator[bytes, None]:
        reader, writer = os.pipe()
        stream = while_working(self._helper.call(verb, [writer]), reader, writer)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line: ``kind`` is ``A`` (added), ``C`` (changed) or ``D`` (deleted). ``size`` and
    ``before``: bytes of a regular file, now and before."""

    kind: str
    path: str
    size: int
    before: int


def _object(line: bytes) -> bytes:
    kind, path, size, before = json.loads(line)
    node = {"kind": kind, "path": path, "size": size, "before": before}
    return json.dumps(node).encode() + b"\n"  # a name that is no UTF-8 stays as it is


def _checked(source: Readable, sink: Writable) -> None:
    """A guest's archive, written anew member by member."""
    retar(source, sink, owner=None, limit=_LIMIT)


async def told_changes(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """A machine's list of changes as objects. Raises Invalid for what is no list."""
    rest = b""
    async for chunk in stream:
        *records, rest = (rest + chunk).split(b"\0")
        if len(rest) > _RECORD:
            raise _nonsense()
        if records:
            yield b"".join(map(_told, records))
    if rest:
        raise _nonsense()


def _told(record: bytes) -> bytes:
    found = _CHANGE.fullmatch(record)
    if found is None:
        raise _nonsense()
    kind, size, before, name = found.groups()
    path = "/" + name.decode("utf-8", "surrogateescape")
    return _object(json.dumps([kind.decode(), path, int(size), int(before)]).encode())


def _nonsense() -> Invalid:
    return Invalid("the machine's list of changes makes no sense", code="guest.nonsense")


def idmap_of(guest: Guest) -> int | None:
    """First host id of the guest's private user namespace, if it has one."""
    return first_id(guest.id) if guest.spec.userns == "private" else None
