"""Traces: ticks of the governor as a file, so that others can decide them again elsewhere.

JSON lines: first a head with the version of the format, then, whenever they change, the guests with
their claims, and every tick as a :class:`~wirt.governor.journal.Frame`. A trace may come from
anybody: it is read strictly, and no line of it may be large.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wirt.governor import strict
from wirt.governor.journal import Frame
from wirt.governor.trace_frame import frame_from, plain
from wirt.governor.tree import FREE, Claim, Group, Member, Resource

VERSION = 1
LONGEST_LINE = 8 << 20
DEEPEST = 32
"""Levels of groups."""
MOST_NODES = 20_000
"""Guests and groups of one tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first line. ``at``: Unix nanoseconds; ``reserve``: bytes that the host kept free;
    ``hard``: guests were held by hard limits, above which they need some room (version 1 of
    control groups). ``since``: frames before that time are only there to learn from: what the
    governor knew then follows from them."""

    at: int = 0
    reserve: int = 0
    hard: bool = False
    since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What people call a guest, and how it was: ``running``, ``minimal`` (with nothing to do),
    ``sleeping`` (paused for that), ``paused``."""

    name: str
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who is there from ``at`` on, with boosts counted in. ``labels``: by guest id."""

    at: int
    root: Group
    labels: Mapping[str, Label] = field(default_factory=dict)
    boosts: Mapping[str, int] = field(default_factory=dict)
    """Until when (Unix nanoseconds) guests and groups are boosted, by id or path."""


Record = Head | Scene | Frame


def encode(record: Record) -> bytes:
    """One line."""
    if isinstance(record, Frame):
        made: Any = plain(record)
    elif isinstance(record, Head):
        made = {"wirt_trace": VERSION, **plain(record)}
    else:
        made = {
            "at": record.at,
            "tree": _node(record.root),
            "labels": {
                key: {"name": label.name, "state": label.state}
                for key, label in record.labels.items()
            },
            "boosts": dict(record.boosts),
        }
    return json.dumps(made, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(lines: Iterable[bytes], *, lead: bool = False) -> Iterator[Record]:
    """The records of a trace; ``lead``: those too that are only there to learn from. Raises
    Invalid, naming the line, as soon as one is wrong."""
    number = since = 0
    for number, line in enumerate(lines, 1):
        where = f"line {number}"
        if len(line) > LONGEST_LINE:
            raise strict.fault(where, f"it is longer than {LONGEST_LINE} bytes")
        value = strict.parse(line, where)
        if not isinstance(value, dict):
            raise strict.fault(where, "it is no object")
        if number == 1:
            head = _head(value, where)
            since = 0 if lead else head.since
            yield head
        elif "tree" in value:
            yield _scene(value, where)
        elif (frame := frame_from(value, where)).at >= since:
            yield frame
    if not number:
        raise strict.fault("the file", "it is empty")


def _head(value: Mapping[str, Any], where: str) -> Head:
    version = value.get("wirt_trace")
    if version != VERSION or isinstance(version, bool):
        told = "it is no trace" if version is None else f"version {str(version)[:20]} is unknown"
        raise strict.fault(where, f"{told}; this wirt reads version {VERSION}")
    strict.table(value, where, {"wirt_trace", "at", "reserve", "hard", "since"})
    return Head(
        at=strict.whole(value.get("at", 0), f"{where}, at"),
        reserve=strict.whole(value.get("reserve", 0), f"{where}, reserve"),
        hard=strict.truth(value.get("hard", False), f"{where}, hard"),
        since=strict.whole(value.get("since", 0), f"{where}, since"),
    )


def _scene(value: Mapping[str, Any], where: str) -> Scene:
    strict.table(value, where, {"at", "tree", "labels", "boosts"})
    labels = strict.table(value.get("labels", {}), f"{where}, labels", most=MOST_NODES)
    boosts = strict.table(value.get("boosts", {}), f"{where}, boosts", most=MOST_NODES)
    names: set[str] = set()
    root = _read(value["tree"], f"{where}, tree", 0, names)
    if not isinstance(root, Group):
        raise strict.fault(f"{where}, tree", "its root is no group")
    return Scene(
        at=strict.whole(value.get("at"), f"{where}, at"),
        root=root,
        labels={key: _label(one, f"{where}, labels.{key}") for key, one in labels.items()},
        boosts={key: strict.whole(one, f"{where}, boosts.{key}") for key, one in boosts.items()},
    )


def _label(value: object, where: str) -> Label:
    made = strict.table(value, where, {"name", "state"})
    return Label(
        name=strict.text(made.get("name"), where), state=strict.text(made.get("state", ""), where)
    )


def _node(node: Group | Member) -> dict[str, Any]:
    claims = {
        resource.value: {"reservation": c.reservation, "limit": c.limit, "shares": c.shares}
        for resource, c in node.claims.items()
    }
    if isinstance(node, Member):
        return {"guest": node.name, "claims": claims, "minimum": node.minimum}
    return {
        "group": node.name, "claims": claims, "expandable": node.expandable,
        "children": [_node(child) for child in node.children],
    }  # fmt: skip


def _read(value: object, where: str, depth: int, names: set[str]) -> Group | Member:
    if depth > DEEPEST:
        raise strict.fault(where, f"groups are more than {DEEPEST} levels deep")
    made = strict.table(
        value, where, {"guest", "group", "claims", "minimum", "expandable", "children"}
    )
    leaf = "guest" in made
    name = strict.text(made.get("guest" if leaf else "group"), where)
    key = f"{'guest' if leaf else 'group'}/{name}"
    if key in names or len(names) >= MOST_NODES:
        raise strict.fault(where, f"{name[:80]!r} is there twice, or there are too many")
    names.add(key)
    where = f"{where} of {name[:80]!r}"
    claims = {
        resource(kind, where): _claim(one, f"{where}, {kind}")
        for kind, one in strict.table(made.get("claims", {}), where).items()
    }
    if leaf:
        minimum = strict.whole(made.get("minimum", 0), f"{where}, minimum")
        return Member(name=name, claims=claims, minimum=minimum)
    children = strict.rows(made.get("children", []), where, most=MOST_NODES)
    return Group(
        name=name,
        claims=claims,
        expandable=strict.truth(made.get("expandable", False), where),
        children=tuple(_read(child, where, depth + 1, names) for child in children),
    )


def _claim(value: object, where: str) -> Claim:
    made = strict.table(value, where, {"reservation", "limit", "shares"})
    reservation = strict.whole(made.get("reservation", 0), where)
    limit = strict.whole(made.get("limit", FREE.limit), where, low=reservation)
    shares = strict.whole(made.get("shares", FREE.shares), where, low=1, high=10_000)
    return Claim(reservation=reservation, limit=limit, shares=shares)


def resource(name: str, where: str) -> Resource:
    """The resource of that name. Raises Invalid."""
    try:
        return Resource(name)
    except ValueError:
        raise strict.fault(where, f"{name[:80]!r} is no resource") from None
