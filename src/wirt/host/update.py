"""Change a guest after it was created: limits, group, restart policy, name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wirt.engine.protocol import Engine
from wirt.errors import Conflict, Invalid
from wirt.host.admit import Admit
from wirt.host.create import check_restart
from wirt.host.events import Bus
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.model.guest import Guest, GuestClass, GuestSpec, GuestState, Isolation, RestartPolicy
from wirt.model.idle import IdleWish
from wirt.model.idle import merge as merge_idle
from wirt.model.names import check_name
from wirt.model.resources import Resources, merge
from wirt.model.units import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What shall change of a guest; None leaves a value as it is. ``group``: empty for none."""

    resources: Resources = field(default_factory=Resources)
    restart: RestartPolicy | None = None
    group: str | None = None
    guest_class: GuestClass | None = None
    oom_rank: int | None = None
    idle: IdleWish = field(default_factory=IdleWish)

    def applied(self, spec: GuestSpec) -> GuestSpec:
        """The spec with what changes."""
        changes = {
            name: value
            for name in ("restart", "group", "guest_class", "oom_rank")
            if (value := getattr(self, name)) is not None
        }
        return replace(
            spec, resources=merge(spec.resources, self.resources),
            idle=merge_idle(spec.idle, self.idle), **changes,
        )  # fmt: skip


class Update:
    """The ``update`` and ``rename`` verbs."""

    def __init__(
        self,
        *,
        roster: Roster,
        running: Running,
        engines: Mapping[Isolation, Engine],
        bus: Bus,
        admit: Admit,
    ) -> None:
        self._roster = roster
        self._running = running
        self._engines = engines
        self._bus = bus
        self._admit = admit

    async def update(self, guest: Guest, wish: Wish) -> tuple[str, ...]:
        """Apply what is new at once and for later starts.

        Nothing is changed when any of it is impossible. Returns warnings.
        """
        async with self._roster.locks.hold(guest.id):
            guest = self._roster.get(guest.id)
            if guest.status.state in {GuestState.REMOVING, GuestState.DEAD}:
                raise Conflict(f"guest {guest.name!r} is being removed", code="guest.removing")
            spec = wish.applied(guest.spec)
            check_restart(spec)
            warnings = self._engines[spec.isolation].check(spec)
            told = self._told(spec, wish.resources)
            self._admit.check(spec)
            async with self._admit.change(guest, spec):
                live = self._running.get(guest.id)
                if live is not None and wish.resources != Resources():
                    await live.handle.limit(wish.resources)
                await self._roster.save(replace(guest, spec=spec, warnings=warnings))
        self._bus.publish("guest", "update", guest.id, name=guest.name, image=guest.spec.image)
        return (*told, *(warning for warning in warnings if warning not in guest.warnings))

    def _told(self, spec: GuestSpec, wish: Resources) -> tuple[str, ...]:
        """What a machine has instead of no limit of memory: it always has a size."""
        if wish.memory != 0 or spec.isolation is Isolation.CONTAINER:
            return ()
        size = self._admit.size(spec).memory or 0
        return (
            f"the memory of a {spec.isolation.value} is its size, and never without a limit: it is "
            f"the usual {format_size(size)} again",
        )

    async def rename(self, guest: Guest, name: str) -> None:
        """Give a guest another name. Raises Conflict when it is taken."""
        name = check_name(name.removeprefix("/"), "guest")
        if name == guest.name:
            raise Invalid(f"guest {name!r} has that name already")
        async with self._roster.locks.hold(guest.id):
            guest = self._roster.get(guest.id)
            endpoints = tuple(
                replace(
                    endpoint,
                    names=tuple(
                        name.lower() if known == guest.name.lower() else known
                        for known in endpoint.names
                    ),
                )
                for endpoint in guest.endpoints
            )
            await self._roster.save(replace(guest, name=name, endpoints=endpoints))
        self._bus.publish(
            "guest", "rename", guest.id, name=name, oldName=guest.name, image=guest.spec.image
        )
