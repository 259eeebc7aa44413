"""Gather everything an engine needs to plan a start: image, process, mounts, network places."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from wirt.engine.protocol import Process, Start
from wirt.errors import NotFound
from wirt.host.images import Images
from wirt.host.networks import Networks
from wirt.host.process import health_check, main_process
from wirt.host.roster import Roster, require_running
from wirt.host.volumes import Volumes
from wirt.model.guest import Guest, GuestSpec
from wirt.model.image import Image
from wirt.model.names import short
from wirt.privileged.protocol import LaunchGuest


class Prepare:
    """Turns a stored guest into a :class:`~wirt.engine.protocol.Start`."""

    def __init__(
        self, *, roster: Roster, images: Images, networks: Networks, volumes: Volumes
    ) -> None:
        self._roster = roster
        self._images = images
        self._networks = networks
        self._volumes = volumes

    async def start(self, guest: Guest) -> Start:
        """Everything about the next start of ``guest``. Raises what is wrong with it now."""
        image = await self._images.get(guest.image_id)
        hostname = guest_hostname(guest)
        return Start(
            guest=guest,
            image=image,
            process=main_process(guest.spec, image.config, hostname=hostname),
            network=self._network(guest.spec),
            mounts=await self._volumes.resolve_mounts(guest, image),
            bridges=await self._networks.bridges(guest),
            mtus=await self._networks.mtus(guest),
            files=await self._networks.files(guest, hostname=hostname),
        )

    def ready(
        self, start: Start, launch: LaunchGuest
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """While the block runs, what the launch needs of the image is there: unpacked layers, or
        the read-only disk for machines."""
        machine = launch.machine
        layers = machine is None or bool(machine.layers)
        return self._images.ready(start.image, layers=layers, disk=machine is not None)

    def lost(self, error: NotFound, start: Start) -> bool:
        """Whether a launch failed since something of the image was removed by hand, so that it is
        worth while to be :meth:`ready` once more."""
        return self._images.lost(error, start.image)

    def _network(self, spec: GuestSpec) -> str:
        mode = spec.network_mode
        if mode == "none":
            return "private"
        if mode.startswith("guest:"):
            other = self._roster.find(mode.removeprefix("guest:"))
            require_running(other, paused_too=True)
            return f"guest:{other.id}"
        return mode or "private"


def guest_hostname(guest: Guest) -> str:
    """The name the guest calls itself: as asked, else the beginning of its id."""
    return guest.spec.hostname or short(guest.id)


def with_image_defaults(spec: GuestSpec, image: Image) -> GuestSpec:
    """The spec as stored: what the image says where the user said nothing."""
    return replace(
        spec,
        labels={**image.config.labels, **spec.labels},
        stop_signal=spec.stop_signal or image.config.stop_signal,
        health=health_check(spec, image.config),
    )


def check_process(spec: GuestSpec, image: Image) -> Process:
    """Raise Invalid now rather than at the start when nothing can be run."""
    return main_process(spec, image.config, hostname=spec.hostname or "x")
