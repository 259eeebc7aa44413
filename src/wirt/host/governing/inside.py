"""A machine's memory as its own kernel tells it, and what follows from that. Pure.

What a machine holds of the host, its control group says. How much of that its guest needs, only the
guest knows; so it is asked, believed within bounds, and never made smaller than it says it needs.
A balloon that says it gave back what the host does not have is not believed at all.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace

from wirt.governor.observe import Seen
from wirt.host.governing.observe import MOST_PAGES
from wirt.model.reading import InnerMemory

_MIB = 1 << 20
LEAST_MARGIN = 128 * _MIB
"""Bytes that a guest must have to spare at least before some are taken from it, or a tenth of what
it has: its figures are two seconds old, and its kernel needs some at once."""
OVERHEAD = 96 * _MIB
"""Bytes that QEMU holds beside its guest's memory, with 1 % of that."""
FRESH = 8.0
"""Seconds after which what a machine said is not known any more."""
_PAGE = 4096
HIDDEN = 128 * _MIB
"""Bytes that a machine may hold beyond what its balloon leaves it, and QEMU usually needs, before
that counts as a lie: as much may be translated code of an emulated one."""
DOUBT = 4.0
"""Seconds for which it may: what the kernel counts for a group is up to two seconds old."""
SILENT = 30.0
"""Seconds after which a guest that tells nothing is told about: it has had time to boot."""
STUCK_AFTER = 6
"""Answers in a row in which a balloon that is to grow has not moved."""
MOVED = 1 * _MIB
LOOKS = 64
"""How many looks from outside are remembered; of a guest's figures two seconds old ten are used."""


@dataclass(slots=True, kw_only=True)
class Inside:
    """What is known of one machine. ``at``: monotonic seconds of ``memory``. ``rate``: pages a
    second that it read from its disks for want of memory. ``target``: bytes that its balloon was
    last asked to leave it, None: not by this daemon. ``order``: to be asked for next, ``ordered``
    when, ``left``: bytes that it had until then. ``asking``: under way. ``still``: answers in which
    it did not move. ``looks``: seconds and bytes of the host that it held then. ``hidden``: bytes
    that it holds although its balloon says that it gave them back, ``doubted``: since when it looks
    so. ``spoke``: when its guest last told how its memory goes, or could not. ``named``: what it
    does was told about."""

    memory: InnerMemory | None = None
    at: float = 0.0
    rate: float | None = None
    target: int | None = None
    order: int | None = None
    ordered: float = 0.0
    left: int | None = None
    asking: bool = False
    still: int = 0
    looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=LOOKS))
    hidden: int = 0
    doubted: float | None = None
    spoke: float = field(default_factory=time.monotonic)
    named: bool = False

    def told(self, memory: InnerMemory, now: float) -> bool:
        """It has answered. True when it has just given back what it was asked for."""
        before, seconds = self.memory, now - self.at
        self.rate = None if before is None else _rate(before, memory, seconds)
        shrinking = self.shrinking
        if self.target is None or memory.size <= self.target + 4 * MOVED:
            self.still = 0
        elif before is not None and memory.size > before.size - MOVED:
            self.still += 1
        else:
            self.still = 0
        self.memory, self.at = memory, now
        if memory.available is not None:
            self.spoke = now
        return shrinking and not self.shrinking

    def place(self, order: int, now: float) -> None:
        """Have it asked to live with so many bytes."""
        if self.memory is not None and not self.outdated:
            self.left = self.memory.size
        self.order, self.ordered = order, now

    @property
    def figured(self) -> float:
        """Monotonic seconds at which the guest counted what ``memory`` tells."""
        return self.at - ((self.memory.age if self.memory else None) or 0.0)

    @property
    def outdated(self) -> bool:
        """Whether the guest counted before its balloon was last asked to move."""
        return self.figured <= self.ordered

    @property
    def moving(self) -> bool:
        """Whether it does not have yet what it was asked to live with."""
        left = None if self.memory is None else self.memory.size
        return self.target is not None and left is not None and abs(left - self.target) > 4 * MOVED

    def fresh(self, now: float) -> bool:
        """Whether what it needs is known."""
        known = self.memory is not None and self.memory.available is not None
        return known and now - self.at < FRESH

    @property
    def shrinking(self) -> bool:
        """Whether it gives back memory just now."""
        left = None if self.memory is None else self.memory.size
        return self.target is not None and left is not None and left > self.target + 4 * MOVED

    @property
    def giving(self) -> bool:
        """Whether it gives back memory, or is just asked to."""
        left = None if self.memory is None else self.memory.size
        return self.shrinking or (self.order is not None and left is not None and self.order < left)

    @property
    def stuck(self) -> bool:
        """Whether it does not do what it was asked."""
        return self.still >= STUCK_AFTER

    def looked(self, use: int, now: float) -> None:
        """It holds so many bytes of the host."""
        self.looks.append((now, use))

    def weighed(self, kept: int | None, whole: int, now: float) -> None:
        """Of the host it holds ``kept`` bytes that cannot be dropped; ``whole`` were given to it.
        An honest balloon says that it is full after the host has the memory; one that gave way may
        not have been asked since."""
        left = whole if self.memory is None else self.memory.size
        over = min((kept or 0) - left - usual(whole), whole - left)
        if over <= HIDDEN:
            self.doubted, self.hidden = None, 0
            return
        if self.doubted is None:
            self.doubted = now
        if self.hidden or self.at - self.doubted >= DOUBT:
            self.hidden = over

    @property
    def holds(self) -> int:
        """Bytes that its guest has, whatever its balloon says; 0 when that is not known."""
        return 0 if self.memory is None else self.memory.size + self.hidden

    @property
    def silent(self) -> bool:
        """Whether it answers, and its guest tells nothing."""
        return self.at - self.spoke > SILENT

    def grown(self) -> int:
        """Bytes by which ``memory``, which may be two seconds old, is out of date: what its guest
        has touched since, the host saw at once. Of that some may be caches; it tells next."""
        since = [use for at, use in self.looks if at >= self.figured]
        return max(since[-1] - min(since), 0) if since else 0

    def committed(self, size: int) -> int:
        """Bytes that the guest may hold without asking anybody, all of its ``size`` when nothing is
        known."""
        if self.memory is None:
            return size
        return max(self.holds, self.target or 0, self.order or 0)

    def least(self, now: float) -> int | None:
        """Bytes below which it must not get; None when that is not known. What it had when it
        counted is known, or it is taken for as much as it can have been."""
        memory = self.memory
        if memory is None or memory.available is None or not self.fresh(now):
            return None
        had = max(memory.size, (self.outdated and self.left) or 0)
        needed = max(had - memory.available, 0) + self.grown()
        return min(needed + margin(had), memory.size)


def margin(size: int) -> int:
    """What a guest of that size must have to spare."""
    return max(LEAST_MARGIN, size // 10)


def overhead(size: int, *, use: int | None, left: int | None) -> int:
    """Bytes that a machine with ``use`` bytes of the host holds beside what its guest is left. A
    guest whose balloon only claims to be full has more of that."""
    return usual(size) if use is None or left is None else max(usual(size), use - left)


def usual(size: int) -> int:
    """Bytes that QEMU holds beside the memory of a machine of that size, as a rule."""
    return OVERHEAD + size // 100


def believed(memory: InnerMemory, most: int | None) -> InnerMemory:
    """What can be true of a machine that was given ``most`` bytes: its QEMU may be another's."""
    if most is None or memory.size <= most:
        return memory
    sizes = {key: getattr(memory, key) for key in ("available", "free", "cache")}
    lies = {key: None for key, size in sizes.items() if size is not None and size > most}
    return replace(memory, size=most, **lies)


def seen(outside: Seen, inside: Inside, now: float) -> Seen:
    """What was seen of a machine: processor, disk and network from outside, memory as it says."""
    memory = inside.memory
    limit = None if memory is None else inside.holds
    if inside.hidden:  # nor are its figures worth more; what it holds cannot be taken from it
        outside = replace(outside, anon=inside.holds)
    if memory is None or inside.hidden or memory.available is None or not inside.fresh(now):
        return replace(outside, memory=None, memory_limit=limit, refaults=None, under_oom=False)
    kept = margin(memory.size)
    needed = max(memory.size - memory.available, 0) + inside.grown()
    cache = min(memory.cache or 0, memory.size // 4)
    return replace(
        outside,
        memory=min(needed + cache, memory.size),
        memory_limit=memory.size,
        margin=kept,
        anon=min(needed + kept, memory.size),
        refaults=inside.rate or 0.0,
        under_oom=memory.available < kept // 2,
    )


def _rate(before: InnerMemory, now: InnerMemory, seconds: float) -> float | None:
    """Pages a second that came back from swap, or from files by major faults."""
    pairs = ((before.swapped_in, now.swapped_in, _PAGE), (before.major, now.major, 1))
    known = [(new - old) / unit for old, new, unit in pairs if old is not None and new is not None]
    if not known or seconds <= 0 or any(part < 0 for part in known):
        return None
    rate = sum(known) / seconds
    return rate if rate <= MOST_PAGES else None
