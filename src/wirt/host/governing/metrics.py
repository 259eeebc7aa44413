"""Figures for Prometheus in its text format (exposition format 0.0.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wirt.governor.journal import Frame, Share
from wirt.governor.movement import Reason
from wirt.governor.tree import Resource

MOST_GUESTS = 1000
"""Guests that have figures of their own; so many series are bearable for whoever stores them."""
UNITS = {
    Resource.CPU: ("cores", 0.001),
    Resource.MEMORY: ("bytes", 1.0),
    Resource.DISK: ("bytes/s", 1.0),
    Resource.NET: ("bit/s", 1.0),
}
"""What a figure of a resource means, and the factor from the governor's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is told. ``names``: by guest id; ``states``: how many guests are in each state;
    ``state``: of the governor, one of ``governors``. ``swap``: bytes of the compressed swap."""

    frame: Frame | None
    names: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    state: str = "idle"
    alarm: int = 0
    cost: float = 0.0
    boosts: int = 0
    swap: Mapping[str, int] = field(default_factory=dict)


GOVERNORS = ("off", "paused", "idle", "governing", "failed")


def text(figures: Figures) -> str:
    """The whole document."""
    lines: list[str] = []
    for name, help_, samples in _families(figures):
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


Samples = list[tuple[dict[str, str], float]]


def _families(f: Figures) -> Iterator[tuple[str, str, Samples]]:
    frame = f.frame
    yield (
        "governor_last_tick_seconds", "Unix time of the governor's last tick, 0 for never",
        [({}, 0.0 if frame is None else frame.at / 1e9)],
    )  # fmt: skip
    yield (
        "wirt_governor_state", "1 for the state that the governor is in",
        [({"state": one}, float(one == f.state)) for one in GOVERNORS],
    )  # fmt: skip
    yield "wirt_governor_cost_ratio", "Part of a core that the governor takes", [({}, f.cost)]
    yield (
        "wirt_governor_alarm", "How short the host's memory is: 0 none, 1 soft, 2 hard, 3 low",
        [({}, float(f.alarm))],
    )  # fmt: skip
    yield (
        "wirt_guests", "Guests by state",
        [({"state": state}, float(count)) for state, count in sorted(f.states.items())],
    )  # fmt: skip
    if f.swap:
        yield (
            "wirt_host_swap_bytes",
            "The compressed swap: its size, what was swapped out to it, what it takes of memory",
            [({"what": what}, float(size)) for what, size in f.swap.items()],
        )
    yield "wirt_boosts", "Boosts in force", [({}, float(f.boosts))]
    if f.state not in {"governing", "paused", "failed"} or frame is None:
        return
    capacity = {r: n for r, n in frame.capacity.items() if n is not None}
    yield (
        "wirt_host_capacity", "What all guests share: cores, bytes, bytes/s, bit/s",
        [({"resource": r.value}, n * UNITS[r][1]) for r, n in capacity.items()],
    )  # fmt: skip
    if frame.tick.free is not None:
        yield "wirt_host_memory_free_bytes", "Left to the host", [({}, float(frame.tick.free))]
    guests = sorted(frame.shares)[:MOST_GUESTS]
    for name, what, key in (
        ("usage", "What a guest uses", "use"),
        ("entitlement", "What a guest is entitled to", "entitled"),
        ("demand", "What a guest wants", "demand"),
        ("limit", "What a guest may hold at most now", "limit"),
    ):
        units = ", ".join(f"{r.value} in {unit}" for r, (unit, _) in UNITS.items())
        yield f"wirt_guest_{name}", f"{what} ({units})", list(_guests(f, guests, key))
    swaps = {g: seen.swap for g in guests if (seen := frame.tick.guests.get(g)) is not None}
    yield (
        "wirt_guest_swap_bytes", "Memory of the guest that is swapped out",
        [(_guest(f, g), float(swap)) for g, swap in swaps.items() if swap is not None],
    )  # fmt: skip
    yield (
        "wirt_guest_blind", "1 when nothing is known about the guest",
        [(_guest(f, g), float(frame.reasons.get(g) is Reason.BLIND)) for g in guests],
    )  # fmt: skip


def _guests(f: Figures, guests: Iterable[str], key: str) -> Iterator[tuple[dict[str, str], float]]:
    assert f.frame is not None
    for guest in guests:
        for resource, share in f.frame.shares[guest].items():
            value = _value(share, key)
            if value is not None:
                labels = {**_guest(f, guest), "resource": resource.value}
                yield labels, value * UNITS[resource][1]


def _value(share: Share, key: str) -> int | None:
    found: int | None = getattr(share, key)
    return found


def _guest(f: Figures, guest: str) -> dict[str, str]:
    return {"guest": f.names.get(guest, guest[:12]), "id": guest[:12]}


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """As the format has it; other control characters are harmless in it but nowhere else."""
    safe = "".join(c if c.isprintable() or c == "\n" else "�" for c in value)
    return safe.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(round(value, 9))
