"""Remove what belongs to nobody, once at start, when all guests have been adopted."""

from __future__ import annotations

import logging

from wirt.host.adopt import Adopt
from wirt.host.images import Images
from wirt.host.insist import insist
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.volumes import Volumes
from wirt.privileged.client import Helper
from wirt.privileged.protocol import Sweep

log = logging.getLogger("wirt.sweep")


class SweepUp:
    """Tells the helper what is known; it removes the rest."""

    def __init__(
        self,
        *,
        roster: Roster,
        running: Running,
        adopt: Adopt,
        images: Images,
        volumes: Volumes,
        helper: Helper,
    ) -> None:
        self._roster = roster
        self._running = running
        self._adopt = adopt
        self._images = images
        self._volumes = volumes
        self._helper = helper

    async def sweep(self) -> None:
        """Leftovers of crashes: kernel objects, directories, layers, disks, blobs."""
        layers, images = await self._images.known()
        swept = await insist(
            self._helper,
            Sweep(
                running=(*self._running.ids(), *self._adopt.slow()),
                guests=tuple(guest.id for guest in self._roster.all()),
                volumes=await self._volumes.names(),
                layers=layers,
                images=images,
            ),
        )
        for line in swept.removed:
            log.info("swept: %s", line)
        blobs = await self._images.sweep_blobs()
        if blobs:
            log.info("swept: %d blobs that no image needs", blobs)
