"""What running guests use, right now and over time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from wirt.errors import WirtError
from wirt.governor.journal import Share
from wirt.host.insight import PARTS, Glimpse, Insight, percents
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.model.guest import Guest
from wirt.model.resources import Usage

PERIOD = 1.0
"""Seconds between two readings of a stream."""

PATIENCE = 2.0
"""Seconds that one guest may take to answer; a wedged one is shown without figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of one guest. Percents are of one core, over the time since the last.

    ``cpu_percent``: seen from the host, of machines with their emulation: their own kernel counts
    time that it waited for a processor as well. Of that ``cpu_user_percent``,
    ``cpu_system_percent``, ``cpu_guest_percent``: in programs, in the kernel and in guest mode.
    ``shares``: by resource what the governor last saw and gave, in its units. ``pressure``: parts
    of the time in which it waited for ``cpu``, ``memory`` or ``io``. ``state``: ``running``,
    ``minimal`` (it has nothing to do), ``sleeping`` (paused for that) or ``paused``.
    """

    id: str
    name: str
    usage: Usage | None
    cpu_percent: float | None = None
    cpu_user_percent: float | None = None
    cpu_system_percent: float | None = None
    cpu_guest_percent: float | None = None
    shares: Mapping[str, Share] = field(default_factory=dict)
    pressure: Mapping[str, float] = field(default_factory=dict)
    state: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample, and what the next one needs of it."""

    sample: Sample
    glimpse: Glimpse | None = None


class Stats:
    """The ``stats`` and ``top`` verbs."""

    def __init__(self, *, roster: Roster, running: Running, insight: Insight | None = None) -> None:
        self._roster = roster
        self._running = running
        self._insight = insight

    async def one(self, guest: Guest, before: Reading | None = None) -> Reading:
        """A reading of one running guest; ``before`` gives the CPU rates. Raises Conflict."""
        live = self._running.require(guest, paused_too=True)
        usage = await asyncio.wait_for(live.handle.usage(), PATIENCE)
        glimpse = None if self._insight is None else self._insight.of(guest.id)
        return reading(guest, usage, glimpse, before)

    async def stream(self, guests: Sequence[Guest] | None) -> AsyncIterator[list[Sample]]:
        """Readings of these guests (None: all that run, looked up anew) once a period."""
        before: dict[str, Reading] = {}
        while True:
            chosen = self._running_guests() if guests is None else list(guests)
            if guests is not None and not any(self._running.get(guest.id) for guest in chosen):
                return
            found = await asyncio.gather(
                *(self._patiently(guest, before.get(guest.id)) for guest in chosen)
            )
            before = {one.sample.id: one for one in found}
            yield [one.sample for one in found]
            await asyncio.sleep(PERIOD)

    async def pair(self, guests: Sequence[Guest] | None) -> list[Sample]:
        """Two readings a period apart, the second one with rates."""
        stream = self.stream(guests)
        samples: list[Sample] = []
        async for samples in stream:
            if any(sample.cpu_percent is not None for sample in samples) or not samples:
                break
        return samples

    async def top(
        self, guest: Guest, ps_args: str
    ) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows of the guest's processes."""
        live = self._running.require(guest, paused_too=True)
        return await live.handle.processes(ps_args)

    def _running_guests(self) -> list[Guest]:
        return [guest for guest in self._roster.all() if self._running.get(guest.id) is not None]

    async def _patiently(self, guest: Guest, before: Reading | None) -> Reading:
        try:
            return await self.one(self._roster.get(guest.id), before)
        except (WirtError, TimeoutError, OSError):
            return Reading(Sample(id=guest.id, name=guest.name, usage=None))


def reading(guest: Guest, usage: Usage, glimpse: Glimpse | None, before: Reading | None) -> Reading:
    """One reading from what was found now and the one before."""
    was = None if before is None or before.glimpse is None else before.glimpse.split
    seen = {} if glimpse is None else percents(was, glimpse.split)
    total = seen.get("total")
    if total is None:
        total = cpu_percent(before.sample.usage if before else None, usage)
    sample = Sample(
        id=guest.id,
        name=guest.name,
        usage=usage,
        cpu_percent=total,
        shares={} if glimpse is None else glimpse.shares,
        pressure={} if glimpse is None else glimpse.pressure,
        state=guest.status.state.value if glimpse is None else glimpse.state,
        **{f"cpu_{kind}_percent": seen.get(kind) for kind in PARTS},
    )
    return Reading(sample, glimpse)


def cpu_percent(before: Usage | None, now: Usage) -> float | None:
    """CPU use between two readings in percent of one core; None when it cannot be told."""
    if before is None or before.cpu_ns is None or now.cpu_ns is None:
        return None
    elapsed = now.read_at - before.read_at
    used = now.cpu_ns - before.cpu_ns
    if elapsed <= 0 or used < 0:
        return None
    return 100.0 * used / elapsed
