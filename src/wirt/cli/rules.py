"""What ``wirt replay`` changes: a policy in TOML, another host. Read strictly, told in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from wirt.cli.flags import misuse
from wirt.errors import Invalid, NotFound, WirtError
from wirt.governor.estimate import Tuning
from wirt.governor.replay import Rules
from wirt.governor.tree import MOST_SHARES, UNLIMITED, Claim, Member, Resource
from wirt.model.units import parse_cpus, parse_rate, parse_size

IDLE = {"mode", "tick", "divide", "overcommit", "idle"}
"""Settings of a policy that no replay can change: what was seen, and when, is as recorded."""
_IDLE_POOL = ("disk", "net", "zram")
_TOP = IDLE | {"tuning", "pool", "reserve", "guests"}
_HIGHEST = {"spare": 2.0**40, "refaults": 1e9, "patience": 10_000.0, "ramp": 100.0}


def read(name: str) -> tuple[Rules, list[str]]:
    """The rules of a policy file (a table ``[governor]`` or its contents), with what of it is not
    replayed. ``[guests.NAME.memory]`` and so on give guests other numbers. Raises Invalid."""
    import tomllib

    try:
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
            whole = tomllib.loads(file.read().decode("utf-8"))
    except OSError as error:
        raise NotFound(f"cannot read the policy {name}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{name} is no policy in TOML: {str(error)[:200]}") from error
    inner = _table(whole, "governor")
    table = {**inner, **{key: value for key, value in whole.items() if key != "governor"}}
    _known(table, _TOP, "")
    pool = _table(table, "pool")
    reserve = _table(table, "reserve")
    _known(pool, {"cpu", "memory", *_IDLE_POOL}, "pool.")
    _known(reserve, {"cpu", "memory"}, "reserve.")
    capacity = {
        resource: _units(resource, pool[resource.value], f"pool.{resource.value}", least=1)
        for resource in (Resource.CPU, Resource.MEMORY)
        if pool.get(resource.value) is not None
    }
    kept = reserve.get("memory")
    idle = sorted(IDLE & table.keys()) + [f"pool.{k}" for k in _IDLE_POOL if k in pool]
    if "cpu" in reserve:
        idle.append("reserve.cpu")
    rules = Rules(
        tuning=_tuning(_table(table, "tuning")),
        capacity=capacity,
        reserve=None if kept is None else _units(Resource.MEMORY, kept, "reserve.memory"),
        claims={one: _claims(one, inner) for one, inner in _table(table, "guests").items()},
    )
    return rules, idle


def host(text: str) -> dict[Resource, int]:
    """``cpu=1.5,memory=512m`` as capacities for guests. Raises Invalid naming the flag."""
    made: dict[Resource, int] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name not in {"cpu", "memory"} or not equals:
            raise misuse(f"invalid value {text!r} for --host", hint="write cpu=2,memory=4g")
        try:
            resource = Resource(name)
            made[resource] = _read(resource, value)
        except WirtError as error:
            raise misuse(f"invalid value {text!r} for --host: {error}", hint=error.hint) from error
        if made[resource] < 1:
            raise misuse(
                f"invalid value {text!r} for --host: guests need some {name}",
                hint="write what guests shall share, as cpu=2,memory=4g",
            )
    return made


def _tuning(table: Mapping[str, Any]) -> Tuning:
    kinds = {one.name: one.default for one in fields(Tuning)}
    _known(table, kinds.keys(), "tuning.")
    made: dict[str, Any] = {}
    for key, value in table.items():
        low = 1.0 if key == "ramp" else 0.0
        high = _HIGHEST.get(key, 1.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(kinds[key], int)
        if not number or not math.isfinite(value) or not low <= value <= high or (
            whole and not isinstance(value, int)
        ):  # fmt: skip
            raise Invalid(
                f"tuning.{key} = {str(value)[:40]} of the policy is out of range",
                hint=f"write {low:g} to {high:g}",
                code="governor.policy",
            )
        made[key] = value
    return replace(Tuning(), **made)


def _claims(name: str, table: object) -> Callable[[Member], Member]:
    where = f"guests.{name}"
    if not isinstance(table, dict):
        raise _bad(where, "it is no table")
    _known(table, {one.value for one in Resource}, f"{where}.")
    changes = {Resource(kind): _numbers(Resource(kind), f"{where}.{kind}", inner)
               for kind, inner in table.items()}  # fmt: skip

    def change(member: Member) -> Member:
        claims = dict(member.claims)
        for resource, numbers in changes.items():
            old = member.claim(resource)
            try:
                claims[resource] = Claim(
                    reservation=numbers.get("reservation", old.reservation),
                    limit=numbers.get("limit", old.limit),
                    shares=numbers.get("shares", old.shares),
                )
            except Invalid as error:
                error.add_note(f"in {where}.{resource.value} of the policy")
                raise
        return replace(member, claims=claims)

    return change


def _numbers(resource: Resource, where: str, table: object) -> dict[str, int]:
    if not isinstance(table, dict):
        raise _bad(where, "it is no table")
    _known(table, {"reservation", "limit", "shares"}, f"{where}.")
    made = {}
    for key, value in table.items():
        if key != "shares":
            made[key] = _units(resource, value, f"{where}.{key}")
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SHARES:
            raise _bad(f"{where}.shares", f"{str(value)[:40]} is not 1 to {MOST_SHARES}")
        made[key] = value
    return made


def _units(resource: Resource, value: object, where: str, *, least: int = 0) -> int:
    """CPUs as a number of cores; sizes and rates as numbers or with a unit."""
    try:
        units = _read(resource, f"{value:.3f}" if isinstance(value, float) else str(value))
    except Invalid as error:
        raise _bad(where, str(error), hint=error.hint) from error
    if isinstance(value, bool) or not least <= units <= UNLIMITED:
        raise _bad(where, f"{str(value)[:40]} is out of range", hint="write more than nothing")
    return units


def _read(resource: Resource, text: str) -> int:
    if resource is Resource.CPU:
        return parse_cpus(text)
    return parse_rate(text) if resource is Resource.NET else parse_size(text)


def _table(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise _bad(key, "it is no table")
    return found


def _known(table: Mapping[str, Any], known: Any, where: str) -> None:
    for key in table:
        if key not in known:
            raise Invalid(
                f"the policy has no setting {where + str(key)[:80]!r}",
                hint=f"there are {', '.join(sorted(known))}",
                code="governor.policy",
            )


def _bad(where: str, why: str, *, hint: str | None = None) -> Invalid:
    return Invalid(f"{where[:120]} of the policy: {why}", hint=hint, code="governor.policy")
