"""A trace as series: of each guest and resource what was used, wanted and due, in even steps."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wirt.governor.emergency import Alarm
from wirt.governor.journal import Act, Frame, Share
from wirt.governor.plan import Want, entitle
from wirt.governor.replay import only
from wirt.governor.trace import Head, Record, Scene
from wirt.governor.tree import Group, Resource

STEPS = 600
"""Points of a series at most."""
MOST_GUESTS = 200
"""Guests that are shown; of more, those with the smallest entitlements are left out."""
MARKS = {Act.PAUSE: "pause", Act.RESUME: "go on", Act.WAKE: "wake"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The mean of some ticks. ``at``: Unix nanoseconds of its middle. ``shares``: by guest id."""

    at: int
    capacity: Mapping[Resource, int]
    shares: Mapping[str, Mapping[Resource, Share]]


@dataclass(slots=True, kw_only=True)
class Day:
    """Everything that is drawn. ``marks``: what happened when."""

    steps: list[Step] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    marks: list[tuple[int, str]] = field(default_factory=list)

    def guests(self, resource: Resource) -> list[str]:
        """Ids of those with figures of a resource, by name; the largest if there are many."""
        sums: dict[str, int] = {}
        for step in self.steps:
            for guest, shares in step.shares.items():
                if resource in shares:
                    share = shares[resource]
                    sums[guest] = sums.get(guest, 0) + (share.entitled or share.use or 0)
        largest = sorted(sums, key=lambda one: (-sums[one], one))[:MOST_GUESTS]
        return sorted(largest, key=lambda one: (self.name(one), one))

    def name(self, guest: str) -> str:
        """What people call it."""
        return self.names.get(guest, guest[:12])


def gather(records: Iterable[Record], *, since: int = 0) -> Day:
    """Read a whole trace. Raises Invalid when it is none."""
    day = Day()
    frames: list[tuple[Frame, Group]] = []
    root, alarm, boosted = Group(name=""), Alarm.NONE, frozenset[str]()
    for record in records:
        if isinstance(record, Head):
            continue
        if isinstance(record, Scene):
            root = record.root
            day.names.update({key: label.name for key, label in record.labels.items()})
            day.marks += [
                (record.at, f"boost {day.names.get(key, key[:12])}")
                for key in sorted(record.boosts.keys() - boosted)
            ]
            boosted = frozenset(record.boosts)
            continue
        if record.at < since:
            continue
        frames.append((record, root))
        if record.alarm is not alarm:
            day.marks.append((record.at, f"alarm {record.alarm.name.lower()}"))
            alarm = record.alarm
        day.marks += [
            (one.at, f"{MARKS[one.act]} {day.name(one.guest)}")
            for one in record.changes
            if one.act in MARKS
        ]
    frames.sort(key=lambda pair: pair[0].at)
    day.steps = _steps(frames)
    begin = frames[0][0].at if frames else 0
    day.marks = [mark for mark in day.marks if mark[0] >= begin]
    return day


def _steps(frames: list[tuple[Frame, Group]]) -> list[Step]:
    if not frames:
        return []
    begin, end = frames[0][0].at, frames[-1][0].at
    width = max((end - begin) / STEPS, 1)
    buckets: dict[int, list[tuple[Frame, Group]]] = {}
    for pair in frames:
        buckets.setdefault(min(int((pair[0].at - begin) / width), STEPS - 1), []).append(pair)
    return [_step(buckets[number]) for number in sorted(buckets)]


def _step(pairs: list[tuple[Frame, Group]]) -> Step:
    last, root = pairs[-1]
    kept: dict[str, dict[Resource, list[Share]]] = {}
    for frame, _ in pairs:
        for guest, shares in frame.shares.items():
            for resource, share in shares.items():
                kept.setdefault(guest, {}).setdefault(resource, []).append(share)
    made = {g: {r: _mean(many) for r, many in inner.items()} for g, inner in kept.items()}
    return Step(
        at=(pairs[0][0].at + last.at) // 2, capacity=last.capacity,
        shares=due(made, root, last.capacity),
    )  # fmt: skip


def due(
    shares: Mapping[str, Mapping[Resource, Share]], root: Group, capacity: Mapping[Resource, int]
) -> dict[str, dict[Resource, Share]]:
    """The same with what everybody is due of the CPU for what all want now. Frames say what it is
    when all want everything; the kernel gives more to whom the others leave it."""
    made = {guest: dict(inner) for guest, inner in shares.items()}
    wants = {
        guest: Want(amount=inner[Resource.CPU].demand or 0)
        for guest, inner in made.items()
        if Resource.CPU in inner
    }
    units = capacity.get(Resource.CPU, 0)
    found = entitle(only(root, wants.keys()), Resource.CPU, units, wants).members
    for guest, amount in found.items():
        old = made[guest][Resource.CPU]
        made[guest][Resource.CPU] = Share(
            use=old.use, demand=old.demand, entitled=amount, limit=old.limit
        )
    return made


def _mean(shares: list[Share]) -> Share:
    def of(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) // len(known) if known else None

    return Share(
        use=of([one.use for one in shares]), demand=of([one.demand for one in shares]),
        entitled=of([one.entitled for one in shares]), limit=of([one.limit for one in shares]),
    )  # fmt: skip


def unmet(share: Share) -> int:
    """What was wanted beyond what was due, and not got from what others left either."""
    return max((share.demand or 0) - max(share.entitled or 0, share.use or 0), 0)


def as_json(day: Day) -> str:
    """Series for programs, in the governor's units (millicores, bytes, bytes/s, bit/s)."""
    resources = {}
    for resource in Resource:
        guests = day.guests(resource)
        if guests:
            resources[resource.value] = {
                "capacity": [step.capacity.get(resource) for step in day.steps],
                "guests": [_series(day, guest, resource) for guest in guests],
            }
    whole = {
        "times": [step.at for step in day.steps],
        "resources": resources,
        "marks": [{"at": at, "what": what} for at, what in day.marks],
    }
    return json.dumps(whole, separators=(",", ":")) + "\n"


def _series(day: Day, guest: str, resource: Resource) -> dict[str, object]:
    found = [step.shares.get(guest, {}).get(resource, Share()) for step in day.steps]
    return {
        "id": guest, "name": day.name(guest), "use": [one.use for one in found],
        "demand": [one.demand for one in found], "entitled": [one.entitled for one in found],
        "limit": [one.limit for one in found],
    }  # fmt: skip


def as_csv(day: Day) -> str:
    """One line for each guest, resource and step; times in UTC, unknown figures empty."""
    made = io.StringIO()
    rows = csv.writer(made, lineterminator="\n")
    rows.writerow(["time", "guest", "resource", "use", "demand", "entitled", "limit", "capacity"])
    for step in day.steps:
        clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step.at // 10**9))
        for guest in sorted(step.shares, key=day.name):
            for resource, share in step.shares[guest].items():
                rows.writerow(
                    [clock, _harmless(day.name(guest)), resource.value, share.use, share.demand,
                     share.entitled, share.limit, step.capacity.get(resource)]
                )  # fmt: skip
    return made.getvalue()


def _harmless(name: str) -> str:
    """No spreadsheet takes it for a formula."""
    return f"'{name}" if name[:1] in {"=", "+", "-", "@", "\t", "\r"} else name
