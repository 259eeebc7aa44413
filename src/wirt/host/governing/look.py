"""One look at everything: each guest and the host, as the governor's tick."""

from __future__ import annotations

import time
from collections.abc import Mapping

from wirt.governor.decide import Decision, State
from wirt.governor.estimate import Tuning, need_of
from wirt.governor.journal import Share
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Group, Resource
from wirt.host.governing import inside, observe
from wirt.host.governing.member import Member
from wirt.linux.readings import HostMemory
from wirt.model.reading import Reading

SWAP_KEPT = 8 << 20
"""Bytes of swap that are left for each guest to grow by, and not counted on."""


def look(members: Mapping[str, Member], host: HostMemory, *, seconds: float, least: int) -> Tick:
    """Read all. ``least``: bytes; while the host has more left than that, standstill for want of
    memory is some guest's own, at its own limit, and no pressure on the host."""
    free, pressure = host.read()
    guests: dict[str, Seen] = {}
    swap = max(host.swap - SWAP_KEPT * len(members), 0)
    for name, member in members.items():
        now, moment = member.readings.read(), time.monotonic()
        member.revocable = _revocable(now, swap)
        guests[name] = observe.seen(member.before, now, revocable=member.revocable)
        if member.inside is not None and member.inside.memory is not None:
            if (held := guests[name].memory) is not None:
                member.inside.looked(held, moment)
            whole = member.size or member.inside.memory.size
            member.inside.weighed(now.anon, whole, moment)
            guests[name] = inside.seen(guests[name], member.inside, moment)
        member.before = now
        member.use = now.memory
        member.limit = now.memory_limit
        member.most = now.memory_max
    if free is None or free > least:
        pressure = None if pressure is None else 0.0
    return Tick(seconds=seconds, guests=guests, free=free, pressure=pressure)


def _revocable(now: Reading, swap: int) -> int:
    """Bytes that can be taken from it: files' caches, and what there is swap for."""
    return min((now.file or 0) + swap, now.memory or 0)


def shares(
    tick: Tick, decision: Decision, cpu: Mapping[str, int], root: Group, tuning: Tuning
) -> dict[str, dict[Resource, Share]]:
    """What everybody used, wanted and was entitled to. ``cpu``: millicores if all want all."""
    made: dict[str, dict[Resource, Share]] = {}
    for leaf in root.members():
        seen = tick.guests.get(leaf.name)
        estimate = decision.state.estimates.get(leaf.name)
        if seen is None or estimate is None:
            continue
        claim = leaf.claim(Resource.MEMORY)
        made[leaf.name] = {
            Resource.MEMORY: Share(
                use=seen.memory, demand=need_of(estimate, claim, tuning),
                entitled=decision.memory.members.get(leaf.name), limit=seen.memory_limit,
            ),
            Resource.CPU: Share(
                use=seen.cpu, demand=round(estimate.cpu), entitled=cpu.get(leaf.name),
            ),
        }  # fmt: skip
        if seen.disk is not None:
            made[leaf.name][Resource.DISK] = Share(use=seen.disk)
        if seen.net_in is not None:
            made[leaf.name][Resource.NET] = Share(use=seen.net_in + (seen.net_out or 0))
    return made


def inputs(tick: Tick, state: State) -> dict[str, dict[str, float]]:
    """The figures that led to a decision, by guest."""
    made: dict[str, dict[str, float]] = {}
    for name, seen in tick.guests.items():
        estimate = state.estimates.get(name)
        told = {
            "memory": seen.memory, "memory_limit": seen.memory_limit, "anon": seen.anon,
            "refaults": seen.refaults,
        }  # fmt: skip
        made[name] = {key: round(value, 1) for key, value in told.items() if value is not None}
        if estimate is not None:
            made[name] |= {"need": estimate.memory, "calm": estimate.calm}
    return made


def hungry(state: State) -> frozenset[str]:
    """Who would take more at once."""
    return frozenset(name for name, one in state.estimates.items() if one.hungry)


def blind(reasons: Mapping[str, Reason]) -> tuple[str, ...]:
    """Of whom nothing is known."""
    return tuple(name for name, reason in reasons.items() if reason is Reason.BLIND)
