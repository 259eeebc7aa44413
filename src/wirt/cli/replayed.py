"""What came out of a replay, for people and programs."""

from __future__ import annotations

import json
from typing import Any

from wirt.cli.figures import amount
from wirt.cli.output import cell
from wirt.cli.view.table import grid
from wirt.governor.replay import SHARED, Outcome, Tally
from wirt.governor.tree import Resource

HEADINGS = (
    "GUEST", "RESOURCE", "MEAN", "LEAST", "MOST", "UNMET", "SHORT", "HUNGRY", "TAXED",
)  # fmt: skip


LEGEND = (
    "MEAN LEAST MOST: what it was due. UNMET: what it wanted and was not due, on average. SHORT: "
    "how long it held\nmore than it was due. HUNGRY, TAXED: ticks in which it needed more, or idle "
    "memory of its was taken."
)
KINDS = {Resource.CPU: "CPUs", Resource.MEMORY: "of memory"}


def table(outcome: Outcome) -> str:
    """Recorded and replayed beside each other, then the same in words."""
    head = (
        f"{outcome.ticks} ticks, {outcome.seconds:.0f} s; each figure as recorded > as replayed, "
        "for the same load\n\n"
    )
    rows = [list(HEADINGS)]
    rows += [_row(outcome, guest, resource) for guest, resource in order(outcome)]
    return f"{head}{grid(rows)}\n{LEGEND}\n\n" + "".join(f"{one}\n" for one in words(outcome))


def words(outcome: Outcome) -> list[str]:
    """What would have been different, a line a guest; then the host."""
    same, told = [], []
    for guest in dict.fromkeys(guest for guest, _ in order(outcome)):
        parts = [part for resource in SHARED for part in _differences(outcome, guest, resource)]
        if parts:
            told.append(f"{name_of(outcome, guest)}: {'; '.join(parts)}.")
        else:
            same.append(name_of(outcome, guest))
    if same and told:
        told.append(f"{', '.join(same)}: nothing would have changed.")
    was, now = outcome.alarms
    if was != now:
        told.append(f"The host would have been short of memory in {now} ticks instead of {was}.")
    told += [
        f"Not all could have been promised: {sentence(outcome, number)}."
        for number in range(len(outcome.refused))
    ]
    return [cell(one) for one in told] or ["Nothing would have changed."]


def _differences(outcome: Outcome, guest: str, resource: Resource) -> list[str]:
    before = outcome.recorded.get((guest, resource), Tally())
    after = outcome.replayed.get((guest, resource), Tally())
    parts = []
    if _differ(before.mean, after.mean):
        now, was = amount(resource, after.mean), amount(resource, before.mean)
        parts.append(f"{now} {KINDS[resource]} due instead of {was}, on average")
    was, now = (amount(resource, _mean_unmet(side)) for side in (before, after))
    if was != now and _differ(_mean_unmet(before), _mean_unmet(after)):
        parts.append(f"{now} {KINDS[resource]} less than it wanted, instead of {was}")
    if resource is Resource.MEMORY and round(before.short) != round(after.short):
        parts.append(f"more held than due for {after.short:.0f} s instead of {before.short:.0f} s")
    return parts


def _differ(one: float, other: float) -> bool:
    """By more than a hundredth: less is nothing to tell."""
    return abs(one - other) > 0.01 * max(one, other)


def order(outcome: Outcome) -> list[tuple[str, Resource]]:
    """Guests by name, memory after CPU."""
    keys = outcome.recorded.keys() | outcome.replayed.keys()
    return sorted(keys, key=lambda key: (name_of(outcome, key[0]), key[0], SHARED.index(key[1])))


def name_of(outcome: Outcome, guest: str) -> str:
    """What people call it."""
    label = outcome.labels.get(guest)
    return guest[:12] if label is None else label.name


def _row(outcome: Outcome, guest: str, resource: Resource) -> list[str]:
    before = outcome.recorded.get((guest, resource), Tally())
    after = outcome.replayed.get((guest, resource), Tally())

    def pair(one: float | None, other: float | None) -> str:
        return f"{amount(resource, one)} > {amount(resource, other)}"

    return [
        name_of(outcome, guest),
        resource.value,
        pair(before.mean, after.mean),
        pair(before.least, after.least),
        pair(before.most, after.most),
        pair(_mean_unmet(before), _mean_unmet(after)),
        f"{before.short:.0f}s > {after.short:.0f}s" if resource is Resource.MEMORY else "-",
        f"{before.hungry} > {after.hungry}" if resource is Resource.MEMORY else "-",
        f"{before.taxed} > {after.taxed}" if resource is Resource.MEMORY else "-",
    ]


def _mean_unmet(tally: Tally) -> float:
    return tally.unmet / tally.seconds if tally.seconds else 0.0


def sentence(outcome: Outcome, number: int) -> str:
    """One promise that could not have been kept."""
    found = outcome.refused[number].shortage
    where = f"in group {found.group}" if found.group else "on the host"
    what = "all guests need at least" if found.floor else "guests were promised"
    text = (
        f"{found.resource.value} {where}: {what} {amount(found.resource, found.needed)}, "
        f"there are {amount(found.resource, found.free)}"
    )
    if found.releasable is not None:
        guest, units = found.releasable
        text += f"; largest promise: {name_of(outcome, guest)} {amount(found.resource, units)}"
    return cell(text)


def json_of(outcome: Outcome) -> str:
    """Everything; amounts in the governor's units (millicores, bytes)."""
    guests: dict[str, Any] = {}
    for guest, resource in order(outcome):
        made = guests.setdefault(guest, {"name": name_of(outcome, guest), "resources": {}})
        made["resources"][resource.value] = {
            "recorded": _figures(outcome.recorded.get((guest, resource), Tally())),
            "replayed": _figures(outcome.replayed.get((guest, resource), Tally())),
        }
    refused = [
        {
            "at": one.at, "group": one.shortage.group, "resource": one.shortage.resource.value,
            "needed": one.shortage.needed, "free": one.shortage.free,
            "floor": one.shortage.floor,
        }
        for one in outcome.refused
    ]  # fmt: skip
    whole = {
        "ticks": outcome.ticks,
        "seconds": round(outcome.seconds, 3),
        "alarm_ticks": {"recorded": outcome.alarms[0], "replayed": outcome.alarms[1]},
        "guests": guests,
        "refused": refused,
    }
    return json.dumps(whole, indent=4) + "\n"


def _figures(tally: Tally) -> dict[str, float | int | None]:
    return {
        "mean": round(tally.mean), "least": tally.least, "most": tally.most,
        "unmet": round(_mean_unmet(tally)), "short_seconds": round(tally.short, 3),
        "hungry_ticks": tally.hungry, "taxed_ticks": tally.taxed, "blind_ticks": tally.blind,
    }  # fmt: skip
