"""What guests changed against their image, images against each other, and a guest's whole root."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from wirt.engine.container import first_id
from wirt.errors import Unsupported
from wirt.host.archive import while_working
from wirt.host.images import Images
from wirt.model.guest import Guest, Isolation
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ExportTree, ListChanges, Verb


class Changes:
    """The verbs ``diff``, ``image diff`` and ``export``."""

    def __init__(self, helper: Helper, images: Images) -> None:
        self._helper = helper
        self._images = images

    async def of_guest(self, guest: Guest) -> AsyncGenerator[bytes, None]:
        """What a container changed, an object a line. Raises Unsupported for machines."""
        require_container(guest, "diff")
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
        """A container's root as a tar stream, without its volumes. Raises Unsupported."""
        require_container(guest, "export")
        image = await self._images.get(guest.image_id)
        with self._images.hold(image):
            verb = ExportTree(id=guest.id, layers=image.chain_ids, idmap=idmap_of(guest))
            async for chunk in self._written(verb):
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


def idmap_of(guest: Guest) -> int | None:
    """First host id of the guest's private user namespace, if it has one."""
    return first_id(guest.id) if guest.spec.userns == "private" else None


def require_container(guest: Guest, verb: str) -> None:
    """Raise Unsupported for a machine: its disk is its own, and opaque to this host."""
    if guest.spec.isolation is not Isolation.CONTAINER:
        raise Unsupported(
            f"'{verb}' needs a container, but {guest.name!r} is a {guest.spec.isolation.value}",
            hint="its disk can only be read from inside: 'wirt cp' and 'wirt exec' do that",
            code="guest.opaque-disk",
        )
