"""``RUN --mount=type=...,key=value,...`` (reference.md, "RUN --mount")."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wirt.errors import Invalid
from wirt.image.build.dockerfile.ast import Mount, MountKind
from wirt.image.build.dockerfile.problem import Wrong, one_of, show
from wirt.model.units import parse_size

_KEYS: Mapping[str, str] = {
    "type": "kind",
    "from": "origin",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "readonly": "readonly",
    "ro": "readonly",
    "readwrite": "readwrite",
    "rw": "readwrite",
    "id": "id",
    "sharing": "sharing",
    "required": "required",
    "env": "env",
    "size": "size",
    "mode": "mode",
    "uid": "uid",
    "gid": "gid",
}
_ALLOWED: Mapping[MountKind, frozenset[str]] = {
    MountKind.BIND: frozenset({"target", "source", "origin", "readonly"}),
    MountKind.CACHE: frozenset(
        {"target", "source", "origin", "readonly", "id", "sharing", "mode", "uid", "gid"}
    ),
    MountKind.TMPFS: frozenset({"target", "size", "readonly"}),
    MountKind.SECRET: frozenset(
        {"target", "source", "id", "required", "env", "mode", "uid", "gid", "readonly"}
    ),
    MountKind.SSH: frozenset({"target", "id", "required", "mode", "uid", "gid", "readonly"}),
}
_SHARING = ("shared", "private", "locked")
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}
_VARIABLE = re.compile(r"\$.")
MAX_ID = 2**32 - 2


def parse(text: str, meaning: Callable[[str], str]) -> Mount:
    """Read the value of ``--mount``; ``meaning`` expands each value. Raises Wrong."""
    return _checked(text, dict(_value(field, text, meaning) for field in _fields(text)))


def parse_early(text: str, meaning: Callable[[str], str]) -> Mount:
    """As :func:`parse`, before variables have values: what depends on them is left out, to be
    read from ``text`` later. Raises Wrong."""
    fields = _fields(text)
    fixed = [field for field in fields if "$" not in field or field.lower().startswith("from=")]
    given = dict(_value(field, text, meaning) for field in fixed)
    if len(fixed) == len(fields):
        return _checked(text, given)
    return replace(Mount(kind=MountKind(given.pop("kind", "bind")), text=text), **given)


def _fields(text: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise Wrong(f"the mount {show(text)} is no list of key=value: {error}", word=text) from None
    if len(rows) != 1 or not rows[0]:
        raise Wrong("the mount says nothing", word=text, hint="expected type=KIND,target=PATH")
    return rows[0]


def _value(field: str, text: str, meaning: Callable[[str], str]) -> tuple[str, Any]:
    key, equals, value = field.partition("=")
    name = _KEYS.get(key.strip().lower())
    if name is None:
        raise Wrong(f"a mount has no key {show(key)}", word=field or text, hint=one_of(key, _KEYS))
    if not equals:
        if name not in {"readonly", "readwrite", "required"}:
            raise Wrong(
                f"the key {key!r} of the mount has no value",
                word=field,
                hint=f"expected {key}=VALUE",
            )
        value = "true"
    if name == "origin" and _VARIABLE.search(value):
        raise Wrong(
            f"from={value} of a mount cannot hold a variable",
            word=field,
            hint="give the image a stage: FROM $IMAGE AS name, and write from=name",
        )
    read = _read(name, meaning(value), field)
    if name == "readwrite":
        return "readonly", not read
    return name, read


def _read(name: str, value: str, field: str) -> Any:  # noqa: C901 - a table with code in it
    """The value of one key as its type."""
    match name:
        case "kind":
            return _one(value, [kind.value for kind in MountKind], field, "type of mount")
        case "sharing":
            return _one(value, _SHARING, field, "sharing")
        case "readonly" | "readwrite" | "required":
            if value.lower() not in _TRUE | _FALSE:
                raise Wrong(
                    f"{show(field)} is not clear", word=field, hint="expected true or false"
                )
            return value.lower() in _TRUE
        case "mode":
            if not re.fullmatch(r"0{0,4}[0-7]{1,4}", value):
                raise Wrong(f"{show(field)} is no mode", word=field, hint="write mode=0755")
            return int(value, 8)
        case "uid" | "gid":
            if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > MAX_ID:
                raise Wrong(
                    f"{show(field)} is no number of a user or group",
                    word=field,
                    hint=f"expected 0 to {MAX_ID}",
                )
            return int(value)
        case "size":
            try:
                return parse_size(value)
            except Invalid as error:
                raise Wrong(
                    f"{show(field)}: {error.message}", word=field, hint=error.hint
                ) from None
        case _:
            return value


def _one(value: str, choices: list[str] | tuple[str, ...], field: str, what: str) -> str:
    if value.lower() not in choices:
        raise Wrong(f"there is no {what} {show(value)}", word=field, hint=one_of(value, choices))
    return value.lower()


def _checked(text: str, given: dict[str, Any]) -> Mount:
    kind = MountKind(given.pop("kind", "bind"))
    for name in given:
        if name not in _ALLOWED[kind]:
            written = next(key for key, meant in _KEYS.items() if meant == name)
            raise Wrong(
                f"a mount of type {kind.value} has no key {written!r}",
                word=text,
                hint=f"it may have: {keys_of(kind)}",
            )
    found = replace(Mount(kind=kind, text=text), **given)
    if kind in {MountKind.BIND, MountKind.CACHE, MountKind.TMPFS} and not found.target:
        raise Wrong(
            f"the mount of type {kind.value} has no target", word=text, hint="add target=PATH"
        )
    if kind is MountKind.SECRET:
        _check_secret(found, text)
    return found


def _check_secret(found: Mount, text: str) -> None:
    if found.source is not None and found.id is not None:
        raise Wrong(
            "the secret has both id and source, which mean the same",
            word=text,
            hint="write id=NAME",
        )
    if not (found.id or found.source or found.target):
        raise Wrong("the mount does not say which secret", word=text, hint="add id=NAME")


def keys_of(kind: MountKind) -> str:
    """What a mount of this kind may say, for people."""
    allowed = _ALLOWED[kind] | ({"readwrite"} if "readonly" in _ALLOWED[kind] else set())
    return ", ".join(key for key, name in _KEYS.items() if name in allowed)
