"""What the governor knows of each running guest between ticks; rebuilt from the kernel if lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wirt.host.governing.inside import Inside
from wirt.host.running import Live
from wirt.linux.cgroup import Cgroups, Mode, read_file
from wirt.linux.limits import DISK_WEIGHTS, io_limit, weight
from wirt.linux.readings import Readings
from wirt.model.guest import Guest, Isolation
from wirt.model.reading import Reading
from wirt.privileged.holds import Safe, as_bound

UNKNOWN = -1
"""Rate of disks at first sight: a daemon before this one may have slowed them."""
NORMAL_SHARES, NORMAL_WEIGHT = 1024, 100
PAGE = 4096
MOST_BACKOFF = 60.0
"""Seconds for which a guest that gives nothing back is left alone, at most."""


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One run of one guest.

    ``limit``: bytes read back, None unlimited. ``cpu``: what the kernel has. ``waits``: the guest
    stands still at its limit instead of being killed, None: not known. ``watched``: somebody hears
    when it is short of memory (see :mod:`wirt.host.governing.hearing`), until ``deafen`` is called.
    ``starving``: monotonic seconds since when it stands still. ``stuck``: until when it is
    not squeezed, ``backoff`` seconds the next time. ``squeezing``: under way.
    ``floor`` and ``low``: bytes of ``memory.min`` and ``memory.low`` that the kernel has, None
    where it has no such thing.
    ``most``: bytes of ``memory.max`` that the kernel has, None: no limit. ``settled``: bytes that
    it has kept for some time, see :mod:`wirt.host.governing.line`.
    ``fenced``: its limit is one that kills (see :mod:`wirt.host.governing.fence`).
    ``revocable``: bytes that the kernel can take from it.
    ``frozen``: in an emergency of the host's, by a governor, not by its user. ``freezing``: a
    freeze or a thaw is under way.
    ``disk``: bytes a second that were written, 0 for no limit. ``group_disk``: what is due to it of
    a group's limit, 0: none has one. ``disk_weight``: ``io.weight``, None where the kernel has
    none. ``inside``: what a machine says, ``size``: bytes of memory that it was given, None of a
    container.
    ``minimal``: it has been idle for long, and gets only what it needs to answer.
    """

    guest: Guest
    live: Live
    readings: Readings
    v2: bool
    before: Reading | None = None
    limit: int | None = None
    use: int | None = None
    revocable: int = 0
    cpu: int | None = None
    waits: bool | None = None
    deafen: Callable[[], None] | None = None
    starving: float | None = None
    stuck: float = 0.0
    backoff: float = 1.0
    squeezing: bool = False
    fenced: bool = False
    floor: int | None = None
    low: int | None = None
    most: int | None = None
    settled: int | None = None
    frozen: bool = False
    freezing: bool = False
    disk: int = 0
    group_disk: int = 0
    disk_weight: int | None = None
    watched: bool = field(default=False)
    inside: Inside | None = None
    size: int | None = None
    minimal: bool = False

    @property
    def container(self) -> bool:
        """Whether its memory is divided by its control group."""
        return self.guest.spec.isolation is Isolation.CONTAINER

    @property
    def kept(self) -> int | None:
        """Bytes of what it holds that the kernel cannot drop: of a machine all but QEMU's files."""
        return None if self.before is None else self.before.anon

    @property
    def safe_limit(self) -> int | None:
        """Bytes that it may hold when nobody governs, -1: no limit. With version 2 what the
        governor gives is another file than the user's limit. None of a machine: what QEMU may hold
        is more than what its guest was given, and not the governor's."""
        if not self.container:
            return None
        return -1 if self.v2 else self.guest.spec.resources.memory or -1

    @property
    def safe_cpu(self) -> int:
        """The weight that it was started with."""
        shares = self.guest.spec.resources.cpu_shares
        if self.v2:
            return NORMAL_WEIGHT if shares is None else weight(shares)
        return NORMAL_SHARES if shares is None else shares

    @property
    def own_disk(self) -> int:
        """Bytes a second that its user allowed, 0: no limit."""
        return self.guest.spec.resources.io_limit or 0

    @property
    def safe_disk(self) -> int:
        """And what its group's user allowed."""
        return bounded(self.own_disk, self.group_disk)

    @property
    def safe_low(self) -> int | None:
        """Bytes of ``memory.low`` that it was started with, as docker's; None with version 1."""
        own = self.guest.spec.resources.memory_reservation or 0
        return own // PAGE * PAGE if self.v2 else None

    @property
    def protected(self) -> bool:
        """Whether the kernel spares more or less of its memory than its user said."""
        return self.low not in {None, self.safe_low}

    @property
    def bounded(self) -> bool:
        """Whether it may hold less than its own limit says."""
        if self.limit is None or not self.container:
            return False
        own = self.guest.spec.resources.memory or -1
        return own < 0 or self.limit < own

    @property
    def own(self) -> int | None:
        """Bytes that its user allowed, in whole pages; None: no limit."""
        own = self.guest.spec.resources.memory
        return None if own is None else own // PAGE * PAGE

    @property
    def lined(self) -> bool:
        """Whether it is killed elsewhere than its user said, with version 2."""
        return self.container and self.floor is not None and self.most != self.own

    @property
    def safe_line(self) -> int | None:
        """``memory.max`` when nobody governs, -1: none. None with version 1, and of a machine."""
        if not self.v2 or not self.container:
            return None
        return as_bound(self.own)

    @property
    def throttled(self) -> bool:
        """Whether its disks are not as they are to be when nobody governs."""
        return self.disk != self.safe_disk

    @property
    def safe(self) -> Safe | None:
        """What the helper gives it when nobody governs; None when that is what it has."""
        weighed = self.cpu is not None and self.cpu != self.safe_cpu
        slowed = self.throttled and self.container
        changed = self.bounded or self.waits or weighed or self.frozen or self.protected
        changed = changed or self.lined
        tilted = self.disk_weight not in {None, NORMAL_WEIGHT}
        if not (changed or slowed or tilted):
            return None
        return Safe(
            id=self.guest.id,
            limit=self.safe_limit,
            cpu=self.safe_cpu,
            thaw=self.frozen,
            low=self.safe_low if self.protected else None,
            disk=self.safe_disk if slowed else None,
            disk_weight=NORMAL_WEIGHT if tilted else None,
            line=self.safe_line,
        )

    def close(self) -> None:
        """Let go of its files."""
        self.readings.close()
        if self.deafen is not None:
            self.deafen()
            self.deafen = None


def bounded(own: int, rate: int) -> int:
    """The lower of two rates, of which 0 is none."""
    return min(own, rate) if own and rate else own or rate


def kernel_rate(cgroups: Cgroups, path: str) -> int:
    """Bytes a second that a group may read and write, 0: no limit."""
    rate = io_limit(cgroups, path)
    return UNKNOWN if rate is None else rate


def kernel_weight(cgroups: Cgroups, path: str) -> int | None:
    """The weight of a group as it stands in the kernel."""
    name = "cpu.weight" if cgroups.mode is Mode.V2 else "cpu.shares"
    return _figure(cgroups, "cpu", path, name)


def kernel_disk_weight(cgroups: Cgroups, path: str) -> int | None:
    """The weight of a group at all disks; None with version 1, and where nothing has weights."""
    directory = cgroups.directory("io", path) if cgroups.mode is Mode.V2 else None
    if directory is None:
        return None
    for name in DISK_WEIGHTS:
        words = read_file(directory / name).split()[:2]
        if words[:1] == ["default"] and words[-1].isdecimal():
            return int(words[-1])
    return None


def kernel_protection(cgroups: Cgroups, path: str) -> tuple[int | None, int | None]:
    """Bytes that the kernel never takes from a group, and that it takes only when it finds none
    elsewhere; None with version 1, which has no such thing."""
    if cgroups.mode is not Mode.V2:
        return None, None
    floor, low = (_figure(cgroups, "memory", path, f"memory.{name}") for name in ("min", "low"))
    return floor, low


def kernel_line(cgroups: Cgroups, path: str) -> int | None:
    """Bytes at which a group's processes are killed; None: at none, and with version 1."""
    return _figure(cgroups, "memory", path, "memory.max") if cgroups.mode is Mode.V2 else None


def _figure(cgroups: Cgroups, controller: str, path: str, name: str) -> int | None:
    directory = cgroups.directory(controller, path)
    text = "" if directory is None else read_file(directory / name).strip()
    return int(text) if text.isdecimal() else None
