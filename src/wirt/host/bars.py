"""Progress of blobs on their way, told a few times a second at most."""

from __future__ import annotations

import asyncio

from wirt.host.layers import Tell
from wirt.image.manifest import Descriptor

EVERY = 0.1
"""Seconds between two lines about one blob."""


class Bar:
    """One blob. ``layer``: the first twelve digits of its digest, by which it is told."""

    def __init__(self, blob: Descriptor, tell: Tell) -> None:
        self.layer = blob.digest.encoded[:12]
        self._total = blob.size
        self._tell = tell
        self._next = 0.0

    async def state(self, state: str, *, source: str = "") -> None:
        """It has come this far: waiting, downloading, downloaded, unpacking, done, exists;
        uploading, uploaded, there, mounted (from the repository ``source``), skipped."""
        self._next = 0.0
        line: dict[str, object] = {"layer": self.layer, "state": state, "total": self._total}
        await self._tell(line | {"from": source} if source else line)

    async def at(self, state: str, current: int) -> None:
        """So many bytes of it are done."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + EVERY
        await self._tell(
            {"layer": self.layer, "state": state, "current": current, "total": self._total}
        )
