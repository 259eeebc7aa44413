"""Everything known about one guest, for ``inspect``."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wirt.host.images import Images
from wirt.host.launch import Plans
from wirt.host.running import Running
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestSpec, GuestStatus
from wirt.model.network import Endpoint, PortMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The object of ``inspect``. ``command``: the whole argument vector. Times: Unix ns."""

    id: str
    name: str
    image: str
    image_id: str
    isolation: str
    command: tuple[str, ...]
    working_dir: str
    user: str
    env: tuple[str, ...]
    created_at: int
    status: GuestStatus
    spec: GuestSpec
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PortMap, ...]
    volumes: tuple[str, ...]
    log_path: str
    warnings: tuple[str, ...]
    execs: tuple[str, ...] = ()
    plan: msgspec.Raw | None = None


class Inspect:
    """The ``inspect`` verb of guests."""

    def __init__(self, *, layout: Layout, running: Running, images: Images, plans: Plans) -> None:
        self._layout = layout
        self._running = running
        self._images = images
        self._plans = plans

    async def inspect(self, guest: Guest, *, plan: bool) -> Inspection:
        """All about a guest; ``plan``: what a start now would do, as the helper would get it."""
        config = (await self._images.get(guest.image_id)).config
        launch = None
        if plan:
            made = await self._plans.plan(guest)
            launch = msgspec.Raw(msgspec.json.encode(made.launch))
        spec = guest.spec
        return Inspection(
            id=guest.id,
            name=guest.name,
            image=spec.image,
            image_id=guest.image_id,
            isolation=spec.isolation.value,
            command=guest.command,
            working_dir=spec.working_dir or config.working_dir or "/",
            user=spec.user or config.user,
            env=spec.env,
            created_at=guest.created_at,
            status=guest.status,
            spec=spec,
            endpoints=guest.endpoints,
            ports=guest.ports,
            volumes=guest.volumes,
            log_path=str(self._layout.guest_log(guest.id)),
            warnings=guest.warnings,
            execs=tuple(process.id for process in self._running.execs_of(guest.id)),
            plan=launch,
        )
