"""One tick as a table: who used, was due and wanted how much, and by which rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wirt.cli.daydata import due, unmet
from wirt.cli.figures import NONE, amount
from wirt.cli.output import cell
from wirt.governor.emergency import Alarm
from wirt.governor.journal import Frame, Share
from wirt.governor.trace import Label, Scene
from wirt.governor.tree import UNLIMITED, Claim, Group, Member, Resource

MIB = 1 << 20
BAR = 12
_NOTHING = Share()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One guest, or (``depth`` and no ``id``) a group above guests."""

    id: str
    name: str
    state: str = ""
    depth: int = 0
    claims: Mapping[Resource, Claim] = field(default_factory=dict)
    shares: Mapping[Resource, Share] = field(default_factory=dict)
    wait: int | None = None
    refaults: float | None = None
    swap: int | None = None
    why: str = ""
    boosted: int = 0

    def share(self, resource: Resource) -> Share:
        """Its figures; all unknown when there are none."""
        return self.shares.get(resource, _NOTHING)


KEYS: Mapping[str, tuple[str, Callable[[Row], Any]]] = {
    "n": ("name", lambda row: row.name),
    "c": ("CPU used", lambda row: -(row.share(Resource.CPU).use or 0)),
    "m": ("memory used", lambda row: -(row.share(Resource.MEMORY).use or 0)),
    "e": ("memory due", lambda row: -(row.share(Resource.MEMORY).entitled or 0)),
    "u": ("unmet", lambda row: -sum(unmet(one) for one in row.shares.values())),
    "r": ("refaults", lambda row: -(row.refaults or 0)),
    "s": ("shares", lambda row: -row.claims.get(Resource.CPU, Claim()).shares),
}
"""What is typed to sort, and by what."""


def rows(scene: Scene, frame: Frame, *, key: str = "n", tree: bool = False) -> list[Row]:
    """All guests of the tick, sorted; as a ``tree`` below their groups."""
    shares = due(frame.shares, scene.root, frame.capacity)
    made = {
        member.name: _row(member, scene, frame, shares.get(member.name, {}))
        for member in scene.root.members()
    }
    order = KEYS[key][1]
    if not tree:
        return sorted(made.values(), key=lambda row: (order(row), row.name, row.id))
    return _below(scene.root, made, order, scene, 0)


def _below(
    group: Group, made: Mapping[str, Row], order: Callable[[Row], Any], scene: Scene, depth: int
) -> list[Row]:
    guests = [made[child.name] for child in group.children if isinstance(child, Member)]
    ordered = sorted(guests, key=lambda row: (order(row), row.name, row.id))
    found = [replace(row, depth=depth) for row in ordered]
    for child in group.children:
        if isinstance(child, Group):
            found.append(
                Row(
                    id="", name=f"{child.name.rpartition('/')[2]}/", depth=depth,
                    claims=child.claims, boosted=scene.boosts.get(child.name, 0),
                )
            )  # fmt: skip
            found += _below(child, made, order, scene, depth + 1)
    return found


def _row(member: Member, scene: Scene, frame: Frame, shares: Mapping[Resource, Share]) -> Row:
    seen = frame.tick.guests.get(member.name)
    label = scene.labels.get(member.name, Label(name=member.name[:12]))
    reason = frame.reasons.get(member.name)
    return Row(
        id=member.name,
        name=label.name,
        state=label.state,
        claims={resource: member.claim(resource) for resource in Resource},
        shares=shares,
        wait=None if seen is None else seen.cpu_wait,
        refaults=None if seen is None else seen.refaults,
        swap=None if seen is None else seen.swap,
        why=NONE if reason is None else reason.value,
        boosted=scene.boosts.get(member.name, 0),
    )


def headline(frame: Frame | None, state: str, columns: int = 0) -> str:
    """The host in one line."""
    clock = time.strftime("%H:%M:%S")
    if frame is None:
        told = f"wirt top   governor {cell(state)}, no tick yet   {clock}"
        return told[:columns] if columns else told
    cpu, memory = (_host(frame, one) for one in (Resource.CPU, Resource.MEMORY))
    alarm = "" if frame.alarm is Alarm.NONE else f"   ALARM {frame.alarm.name.lower()}"
    blind = sum(reason.value == "blind" for reason in frame.reasons.values())
    told = f", {blind} blind" if blind else ""
    text = (
        f"wirt top   cpu {cpu}   memory {memory}   governor {cell(state)}, "
        f"tick {frame.tick.seconds:.1f} s{told}{alarm}   {clock}"
    )
    if not columns or len(text) <= columns:
        return text
    used = " ".join(f"{name} {_percent(frame, one)}" for name, one in _SHORT.items())
    return f"{used}  {cell(state)}{told}{alarm}"[:columns]


def _host(frame: Frame, resource: Resource) -> str:
    capacity = frame.capacity.get(resource)
    if not capacity:
        return NONE
    return f"{amount(resource, capacity)} used {_percent(frame, resource)}"


def _percent(frame: Frame, resource: Resource) -> str:
    used = sum(inner[resource].use or 0 for inner in frame.shares.values() if resource in inner)
    capacity = frame.capacity.get(resource)
    return f"{100 * used / capacity:.0f} %" if capacity else NONE


HEADINGS = (
    "GUEST", "STATE", "CPU use/due/want", "WAIT", "SHARES", "RES", "MEM use/due/want MiB", "RES",
    "LIMIT", "SWAP", "REFAULT", "WHY", "",
)  # fmt: skip
_LEFT = frozenset({0, 1, 11, 12})
_LEAST = (12, 5, 4, 7, 10, 9, 3, 8, 1, 11, 2)
"""Columns in the order in which they are left out of a narrow table; guest and memory stay."""
_SHORT = {"cpu": Resource.CPU, "mem": Resource.MEMORY}


def lines(
    found: list[Row], *, columns: int = 0, chosen: int | None = None, capacity: int = 0
) -> list[str]:
    """The table; with so many ``columns`` (0: any number) it leaves out what matters least until it
    fits. ``chosen`` is marked by a ``>``."""
    table = [list(HEADINGS)] + [_cells(row, capacity) for row in found]
    widths = [max(len(line[number]) for line in table) for number in range(len(HEADINGS))]
    shown = _fitting(widths, columns - (chosen is not None)) if columns else range(len(widths))
    made = []
    for number, line in enumerate(table):
        mark = ">" if chosen is not None and number == chosen + 1 else " "
        cells = [
            text.ljust(width) if column in _LEFT else text.rjust(width)
            for column, text, width in ((n, line[n], widths[n]) for n in shown)
        ]
        text = (mark if chosen is not None else "") + "  ".join(cells).rstrip()
        made.append(text[:columns] if columns else text)
    return made


def _fitting(widths: list[int], columns: int) -> list[int]:
    """Numbers of the columns that there is room for."""
    shown = list(range(len(widths)))
    for least in _LEAST:
        if sum(widths[n] + 2 for n in shown) - 2 <= columns:
            break
        shown.remove(least)
    return shown


def _cells(row: Row, capacity: int) -> list[str]:
    cpu, memory = row.share(Resource.CPU), row.share(Resource.MEMORY)
    cpus = row.claims.get(Resource.CPU, Claim())
    bytes_ = row.claims.get(Resource.MEMORY, Claim())
    group = not row.id
    why = row.why + (" boosted" if row.boosted else "")
    name = "  " * row.depth + cell(row.name)[:24]
    if group:
        return [
            name, "", "", "", str(cpus.shares), _cores(cpus.reservation), "",
            _mib(bytes_.reservation), _mib(bytes_.limit), "", "", why.strip(), "",
        ]  # fmt: skip
    return [
        name,
        cell(row.state),
        "/".join(_cores(one) for one in (cpu.use, cpu.entitled, cpu.demand)),
        _cores(row.wait),
        str(cpus.shares),
        _cores(cpus.reservation),
        "/".join(_mib(one) for one in (memory.use, memory.entitled, memory.demand)),
        _mib(bytes_.reservation),
        _mib(memory.limit if memory.limit is not None else bytes_.limit),
        _mib(row.swap),
        NONE if row.refaults is None else f"{row.refaults:.0f}/s",
        why,
        _bar(memory, capacity),
    ]


def _cores(units: int | None) -> str:
    return NONE if units is None else f"{units / 1000:.2f}"


def _mib(units: int | None) -> str:
    return NONE if units is None or units >= UNLIMITED else f"{units / MIB:.0f}"


def _bar(memory: Share, capacity: int) -> str:
    """Memory used (#) of what is due (.), of the whole."""
    if not capacity or memory.use is None:
        return ""
    due_ = memory.entitled if memory.entitled is not None else memory.use
    used = min(round(BAR * memory.use / capacity), BAR)
    return "#" * used + "." * max(min(round(BAR * due_ / capacity), BAR) - used, 0)


def record(scene: Scene, frame: Frame) -> dict[str, Any]:
    """The tick for programs; amounts in the governor's units (millicores, bytes, ...)."""
    return {
        "at": frame.at,
        "seconds": frame.tick.seconds,
        "capacity": {resource.value: units for resource, units in frame.capacity.items()},
        "alarm": frame.alarm.name.lower(),
        "free": frame.tick.free,
        "guests": [_record(row) for row in rows(scene, frame)],
    }


def nobody(at: int) -> dict[str, Any]:
    """The same when no guest runs, or nobody governs. ``at``: Unix nanoseconds."""
    return {
        "at": at, "seconds": 0.0, "capacity": {}, "alarm": "none", "free": None, "guests": [],
    }  # fmt: skip


def _record(row: Row) -> dict[str, Any]:
    return {
        "id": row.id, "name": row.name, "state": row.state, "why": row.why,
        "boosted_until": row.boosted or None, "cpu_wait": row.wait, "refaults": row.refaults,
        "swap": row.swap,
        "resources": {
            resource.value: {
                "use": row.share(resource).use, "demand": row.share(resource).demand,
                "entitled": row.share(resource).entitled,
                "limit": row.share(resource).limit, "shares": claim.shares,
                "reservation": claim.reservation,
            }
            for resource, claim in row.claims.items()
        },
    }  # fmt: skip
