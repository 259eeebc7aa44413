"""What the operator tells the governor: read from the file of settings, or changed at run time.

What was changed at run time is kept in ``governor.json`` beside the database until it is unset.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from pathlib import Path

import msgspec

from wirt.errors import Exhausted, Invalid
from wirt.governor.admission import Host
from wirt.governor.estimate import Tuning
from wirt.governor.tree import UNLIMITED, Resource
from wirt.host.capacity import WholeHost, with_reserve
from wirt.host.claims import told
from wirt.host.governing import refusals
from wirt.host.governing.idling import check_defaults as check_idle
from wirt.linux.features import HostFacts
from wirt.model.idle import IdleDefaults
from wirt.model.units import parse_rate, parse_size

MOST_ZRAM = 200
"""Percent of the memory: what compresses by less than two to one saves nothing."""


class Mode(Enum):
    """OFF: nothing is read or written. ON: guests are governed."""

    ON = "on"
    OFF = "off"


class Divide(Enum):
    """When memory is divided by limits. ALWAYS: every guest may hold what it is entitled to.
    SHORT: only while memory is short; before that every guest may hold what its own limit says.
    AUTO: ALWAYS where a pool of memory was given, else SHORT."""

    AUTO = "auto"
    ALWAYS = "always"
    SHORT = "short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What guests share; None: all there is but the reserve, of disk and network: unknown.

    ``cpu``: cores; ``memory``: bytes; ``disk``: bytes a second; ``net``: bits a second. ``zram``:
    compressed memory that the host swaps to, bytes or ``"25%"`` of its memory; None: none is made.
    """

    cpu: float | None = None
    memory: int | str | None = None
    disk: int | str | None = None
    net: int | str | None = None
    zram: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What the host keeps of it; None: a twentieth of the processors, at least a tenth of one, and
    three hundredths of the memory, at least 256 MiB; of a pool nothing, but a pool of memory does
    not reach into that."""

    cpu: float | None = None
    memory: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``tick``: seconds between two looks. ``overcommit``: by how much what guests need at least
    may exceed the memory; above 1 only with swap. ``idle``: what becomes of guests that have
    nothing to do. ``tuning``: see
    :class:`~wirt.governor.demand.Tuning`."""

    mode: Mode = Mode.ON
    tick: float = 1.0
    divide: Divide = Divide.AUTO
    pool: Pool = field(default_factory=Pool)
    reserve: Reserve = field(default_factory=Reserve)
    overcommit: float = 1.0
    idle: IdleDefaults = field(default_factory=IdleDefaults)
    tuning: Tuning = field(default_factory=Tuning)

    @property
    def always(self) -> bool:
        """Whether memory is divided at all times."""
        if self.divide is Divide.AUTO:
            return self.pool.memory is not None
        return self.divide is Divide.ALWAYS

    def host(self, *, cpus: int, memory: int) -> Host:
        """What there is to promise on a machine with so many processors and bytes."""
        pool, reserve = self.pool, self.reserve
        whole = with_reserve(cpu=1000 * cpus, memory=memory)
        capacity, kept = dict(whole.capacity), dict(whole.reserve)
        if pool.cpu is not None:
            capacity[Resource.CPU] = min(round(pool.cpu * 1000), 1000 * cpus)
            kept[Resource.CPU] = 0
        if pool.memory is not None:
            most = memory if reserve.memory is not None else whole.available(Resource.MEMORY)
            capacity[Resource.MEMORY] = min(size_of(pool.memory), most)
            kept[Resource.MEMORY] = 0
        if pool.disk is not None:
            capacity[Resource.DISK] = size_of(pool.disk)
        if pool.net is not None:
            capacity[Resource.NET] = rate_of(pool.net)
        if reserve.cpu is not None:
            kept[Resource.CPU] = round(reserve.cpu * 1000)
        if reserve.memory is not None:
            kept[Resource.MEMORY] = size_of(reserve.memory)
        return Host(capacity=capacity, reserve=kept, overcommit=round(self.overcommit * 1000))


def size_of(value: int | str) -> int:
    """Bytes of a number or a text as ``512m``. Raises Invalid."""
    return parse_size(value) if isinstance(value, str) else value


def part_of(value: int | str, whole: int) -> int:
    """Bytes of a number, a text as ``512m``, or ``25%`` of ``whole``. Raises Invalid."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return size_of(value)
    try:
        part = float(value.strip()[:-1])
    except ValueError:
        part = math.nan
    if not 0 < part <= MOST_ZRAM:
        raise Invalid(
            f"pool.zram = {value[:40]!r} of the governor's policy is no part of the memory",
            hint=f"write 1% to {MOST_ZRAM}%, or a size as 512m",
            code=refusals.CODE,
        )
    return int(whole * part / 100)


def rate_of(value: int | str) -> int:
    """Bits a second of a number or a text as ``50m``. Raises Invalid."""
    return parse_rate(value) if isinstance(value, str) else value


def read(table: object) -> Policy:
    """From a table of settings or a document. Raises Invalid naming what is wrong in it."""
    try:
        made = msgspec.convert(table, Policy)
    except msgspec.ValidationError as error:
        raise refusals.wrong_kind(error, table, Policy()) from error
    strange = refusals.unknown(table, Policy())
    if strange is not None:
        raise strange
    return check(made)


def check(policy: Policy) -> Policy:
    """The same policy. Raises Invalid for numbers that make no sense."""
    pool, reserve, tuning = policy.pool, policy.reserve, policy.tuning
    bounds: list[refusals.Bound] = [
        ("tick", policy.tick, 0.05, 60.0),
        ("overcommit", policy.overcommit, 0.1, 100.0),
        ("pool.cpu", pool.cpu, 0.01, 100_000.0),
        ("reserve.cpu", reserve.cpu, 0.0, 100_000.0),
    ]
    for name, size, make, least, most in (
        ("pool.memory", pool.memory, size_of, 1 << 20, UNLIMITED),
        ("pool.disk", pool.disk, size_of, 1, UNLIMITED),
        ("pool.net", pool.net, rate_of, 1, UNLIMITED),
        ("pool.zram", pool.zram, _part_of_some, 1 << 20, 1 << 50),
        ("reserve.memory", reserve.memory, size_of, 0, UNLIMITED),
    ):
        if size is not None:
            amount = refusals.read(name, size, partial(make, size))
            bounds.append((name, amount, least, most))
    lowest = {"ramp": 1.0}  # what a hungry guest needs grows
    most_of = {"spare": 2.0**40, "refaults": 1e9, "patience": 10_000.0, "ramp": 100.0}
    bounds.extend(
        (f"tuning.{n}", getattr(tuning, n), lowest.get(n, 0.0), most_of.get(n, 1.0))
        for n in (one.name for one in fields(Tuning))
    )
    for bound in bounds:
        refusals.bounded(bound)
    check_idle(policy.idle)
    return policy


def check_room(policy: Policy, host: Host) -> None:
    """Raise Invalid when this policy leaves guests nothing of a host."""
    for resource, kept in (
        (Resource.CPU, policy.reserve.cpu),
        (Resource.MEMORY, policy.reserve.memory),
    ):
        if kept is not None and not host.available(resource):
            raise refusals.refuse(
                f"reserve.{resource.value} = {kept} of the governor's policy leaves guests "
                f"nothing of {told(resource, host.capacity[resource])}",
                "keep less for the host, or leave it out",
            )


def _part_of_some(value: int | str) -> int:
    return part_of(value, 1 << 40)


class Policies:
    """The policy in force. ``path``: where one that was set at run time is kept."""

    def __init__(self, given: Policy, path: Path) -> None:
        self.given = given
        self._path = path
        self._set = self._load()
        self.on_change: Callable[[], None] = _nobody_cares

    @property
    def now(self) -> Policy:
        """The policy in force."""
        return self.given if self._set is None else self._set

    @property
    def changed(self) -> bool:
        """Whether it was set at run time."""
        return self._set is not None

    def set(self, policy: Policy | None) -> None:
        """Use another policy from now on; None: the one of the file of settings again.

        Raises Exhausted when it cannot be kept.
        """
        if policy is None:
            self._path.unlink(missing_ok=True)
        else:
            new = self._path.with_suffix(".new")
            try:
                new.write_bytes(msgspec.json.encode(policy))
                os.replace(new, self._path)  # noqa: PTH105 - as one step
            except OSError as error:
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
                raise Exhausted(
                    f"the policy cannot be kept in {self._path}: {error.strerror}",
                    hint=f"free some space below {self._path.parent}",
                    code="state.disk-full",
                ) from error
        self._set = policy
        self.on_change()

    def _load(self) -> Policy | None:
        with contextlib.suppress(OSError, Invalid, msgspec.MsgspecError):
            return read(msgspec.json.decode(self._path.read_bytes()))
        return None


class PolicyCapacity:
    """What this host can promise as the policy in force has it: see
    :class:`~wirt.host.capacity.Capacity`."""

    def __init__(self, facts: HostFacts, policies: Policies, weighs: Callable[[], bool]) -> None:
        """``weighs``: whether the kernel shares the guests' disks by weight now."""
        self._facts = facts
        self._policies = policies
        self._weighs = weighs
        self.limited = WholeHost.limited

    @property
    def divided(self) -> frozenset[Resource]:
        """Disks, too, where the policy says what they can do."""
        disk = {Resource.DISK} if self._policies.now.pool.disk is not None else set()
        return WholeHost.divided | disk

    @property
    def weighed(self) -> frozenset[Resource]:
        """Disks, where the kernel shares them by weight: that needs no figure."""
        return frozenset({Resource.DISK}) if self._weighs() else WholeHost.weighed

    def host(self) -> Host:
        """The pool, or this machine but the reserve."""
        return self._policies.now.host(cpus=len(self._facts.cpus), memory=self._facts.memory)


def _nobody_cares() -> None:
    """Until the loop is there."""
