"""One tick as plain JSON values and back; see :mod:`wirt.governor.trace`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum, IntEnum
from typing import Any, TypeVar

from wirt.governor import strict
from wirt.governor.emergency import Alarm
from wirt.governor.estimate import Estimate
from wirt.governor.journal import Act, Change, Frame, Share
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Resource

Kind = TypeVar("Kind", bound=Enum)
Readers = Mapping[str, Callable[..., Any]]
_SEEN: Readers = {
    "cpu": strict.whole, "cpu_wait": strict.whole, "memory": strict.whole,
    "memory_limit": strict.whole, "anon": strict.whole, "refaults": strict.real,
    "under_oom": strict.truth, "margin": strict.whole, "disk": strict.whole, "net_in": strict.whole,
    "net_out": strict.whole, "quiet": strict.real, "swap": strict.whole,
}  # fmt: skip
_KINDS: Readers = {
    "int": strict.whole, "int | None": strict.whole, "float": strict.real, "bool": strict.truth,
}  # fmt: skip
_ESTIMATE: Readers = {one.name: _KINDS[str(one.type)] for one in fields(Estimate)}
_SHARE = ("use", "demand", "entitled", "limit")
MOST_SECONDS = 1e7


def plain(value: object) -> Any:
    """A value of the journal as JSON knows them: enums by value, mappings by such keys."""
    if isinstance(value, IntEnum):
        return int(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [plain(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}  # type: ignore[arg-type]
    return value


def frame_from(value: object, where: str) -> Frame:
    """A frame. Raises Invalid."""
    made = strict.table(value, where, {one.name for one in fields(Frame)})
    capacity = strict.table(made.get("capacity", {}), f"{where}, capacity")
    shares = strict.table(made.get("shares", {}), f"{where}, shares")
    reasons = strict.table(made.get("reasons", {}), f"{where}, reasons")
    changes = strict.rows(made.get("changes", []), f"{where}, changes")
    learned = strict.table(made.get("learned", {}), f"{where}, learned")
    asleep = strict.rows(made.get("asleep", []), f"{where}, asleep")
    return Frame(
        at=strict.whole(made.get("at"), f"{where}, at"),
        tick=_tick(made.get("tick"), f"{where}, tick"),
        capacity={
            one_of(Resource, key, where): strict.whole(amount, f"{where}, capacity")
            for key, amount in capacity.items()
        },
        alarm=Alarm(strict.whole(made.get("alarm", 0), f"{where}, alarm", high=max(Alarm))),
        shares={key: _shares(one, f"{where}, shares.{key}") for key, one in shares.items()},
        reasons={key: one_of(Reason, one, where) for key, one in reasons.items()},
        changes=tuple(change_from(one, f"{where}, changes") for one in changes),
        cost=strict.real(made.get("cost", 0.0), f"{where}, cost"),
        asleep=frozenset(strict.text(one, f"{where}, asleep") for one in asleep),
        learned={
            key: Estimate(**_read(_ESTIMATE, one, f"{where}, learned.{key}"))
            for key, one in learned.items()
        },
    )


def change_from(value: object, where: str) -> Change:
    """A change. Raises Invalid."""
    made = strict.table(value, where, {one.name for one in fields(Change)})
    inputs = strict.table(made.get("inputs", {}), f"{where}, inputs", most=100)
    return Change(
        at=strict.whole(made.get("at"), f"{where}, at"),
        guest=strict.text(made.get("guest"), f"{where}, guest"),
        resource=one_of(Resource, made.get("resource"), where),
        act=one_of(Act, made.get("act"), where),
        reason=one_of(Reason, made.get("reason"), where),
        before=_maybe(strict.whole, made.get("before"), f"{where}, before"),
        after=_maybe(strict.whole, made.get("after"), f"{where}, after"),
        inputs={
            key: strict.real(one, f"{where}, inputs.{key}", low=-1e18)
            for key, one in inputs.items()
        },
        effect=_maybe(strict.whole, made.get("effect"), f"{where}, effect"),
        failure=strict.text(made.get("failure", ""), where, most=strict.LONGEST_WORDS),
    )


def one_of(kind: type[Kind], value: object, where: str) -> Kind:
    """The member of an enum with that value. Raises Invalid."""
    try:
        return kind(value)
    except ValueError:
        raise strict.fault(where, f"{str(value)[:80]!r} is no {kind.__name__.lower()}") from None


def _tick(value: object, where: str) -> Tick:
    made = strict.table(value, where, {one.name for one in fields(Tick)})
    guests = strict.table(made.get("guests", {}), f"{where}, guests")
    return Tick(
        seconds=strict.real(made.get("seconds"), f"{where}, seconds", high=MOST_SECONDS),
        guests={
            key: Seen(**_read(_SEEN, one, f"{where}, guests.{key}")) for key, one in guests.items()
        },
        free=_maybe(strict.whole, made.get("free"), f"{where}, free"),
        pressure=_maybe(strict.real, made.get("pressure"), f"{where}, pressure"),
    )


def _read(readers: Readers, value: object, where: str) -> dict[str, Any]:
    """The figures of a guest that are known, each by its reader."""
    made = strict.table(value, where, readers.keys())
    return {
        key: readers[key](inner, f"{where}, {key}")
        for key, inner in made.items()
        if inner is not None
    }


def _shares(value: object, where: str) -> dict[Resource, Share]:
    found = {}
    for key, inner in strict.table(value, where).items():
        made = strict.table(inner, where, _SHARE)
        figures = {name: _maybe(strict.whole, made.get(name), f"{where}, {name}") for name in made}
        found[one_of(Resource, key, where)] = Share(**figures)
    return found


Read = TypeVar("Read")


def _maybe(read: Callable[[object, str], Read], value: object, where: str) -> Read | None:
    return None if value is None else read(value, where)
