"""``wirt governor ...``: who divides the host between running guests, and how."""

from __future__ import annotations

import sys

from wirt.cli.flags import Call, Command, Flag, Group, misuse
from wirt.cli.output import harmless, out, warn
from wirt.cli.recording import RECORD
from wirt.cli.view import human
from wirt.errors import Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JSON = Flag("json", kind="bool", help="Print JSON")
POLICY = "/v1/governor/policy"
SETTINGS = frozenset({"registries", "store"})
"""Other tables of a file of settings."""


def status(call: Call) -> int:
    """Say how it is doing."""
    return _show(call, call.daemon.call("GET", "/v1/governor"))


def pause(call: Call) -> int:
    """Give every guest its own limits, and only look on."""
    return _show(call, call.daemon.call("POST", "/v1/governor/pause"))


def resume(call: Call) -> int:
    """Govern again."""
    return _show(call, call.daemon.call("POST", "/v1/governor/resume"))


def policy(call: Call) -> int:
    """Show the policy, use that of a file, or the one of the daemon's settings again."""
    verb, *rest = call.args or ["get"]
    if verb == "get" and not rest:
        found = call.daemon.call("GET", POLICY)
    elif verb == "set" and len(rest) == 1:
        found = call.daemon.call("PUT", POLICY, _read(rest[0]))
    elif verb == "unset" and not rest:
        found = call.daemon.call("DELETE", POLICY)
    else:
        raise misuse(
            f"invalid arguments {' '.join(call.args)!r}",
            hint="write 'wirt governor policy get', 'set FILE' or 'unset'",
        )
    out(_json(found) if call.on("json") else toml(found))
    return 0


def _read(name: str) -> Any:
    """A policy in TOML; ``-`` is standard input. Raises NotFound, Invalid."""
    import tomllib

    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
                data = file.read()
        table = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise NotFound(f"cannot read the policy {name}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{name} is no policy in TOML: {error}") from error
    if "governor" in table:
        _alone(table, name)
        table = table["governor"]
    _finite(table, "")
    return table


def _alone(table: dict[str, Any], name: str) -> None:
    """Nothing that stands beside ``[governor]`` is passed over without a word."""
    for key, value in table.items():
        if key in SETTINGS:
            warn(f"only [governor] of {name} is set: [{key}] is read when the daemon starts")
        elif key != "governor":
            raise Invalid(
                f"{name} has {key[:80]!r} beside [governor], where it is no part of the policy",
                hint=f"write [governor.{key[:80]}]"
                if isinstance(value, dict)
                else f"write {key[:80]} = ... below [governor]",
                code="governor.policy",
            )


def _finite(table: Any, where: str) -> None:
    """Raise Invalid for numbers that JSON has no words for."""
    if isinstance(table, dict):
        for key, value in table.items():
            _finite(value, f"{where}.{key}" if where else key)
    elif isinstance(table, float) and not -1e300 < table < 1e300:
        raise Invalid(f"{where} = {table} of the governor's policy is out of range")


def toml(found: dict[str, Any]) -> str:
    """A policy as it is written into a file of settings."""
    plain = [f"{key} = {_value(one)}" for key, one in found.items() if not isinstance(one, dict)]
    tables = []
    for key, table in found.items():
        if isinstance(table, dict):
            lines = [f"{name} = {_value(one)}" for name, one in table.items() if one is not None]
            tables.append("\n".join([f"[governor.{key}]", *lines]))
    return "\n\n".join(["\n".join(["[governor]", *plain]), *tables]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{_value(str(key))} = {_value(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{harmless(value)}"' if isinstance(value, str) else str(value)


def _show(call: Call, found: dict[str, Any]) -> int:
    if call.on("json"):
        out(_json(found))
        return 0
    lines = [f"state     {found['state']}"]
    if found["failure"]:
        lines.append(f"failure   {harmless(found['failure'])}")
    lines.append(f"tick      {found['tick']:g} s, {100 * found['cost']:.2f} % of a core")
    lines.append(f"guests    {found['guests']}")
    memory = found["capacity"].get("memory")
    if memory is not None:
        how = "divided by limits" if found["dividing"] else "not short"
        lines.append(
            f"memory    {human.binary_size(memory)} for guests, {how}, alarm {found['alarm']}"
        )
    if (swap := found["swap"]) is not None:
        used, size, stored = (human.binary_size(swap[key]) for key in ("used", "size", "stored"))
        lines.append(f"swap      {used} of {size} used, compressed into {stored}")
    lines.extend(
        f"{kind:9} {' '.join(one[:12] for one in found[kind])}"
        for kind in ("tight", "blind", "stuck")
        if found[kind]
    )
    lines.extend(f"note      {harmless(one)}" for one in found["excess"])
    if found["changed"]:
        lines.append("policy    set at run time; 'wirt governor policy unset' goes back")
    out("".join(f"{line}\n" for line in lines))
    return 0


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=4) + "\n"


COMMAND = Group(
    "governor",
    summary="Sharing of the host between running guests",
    verbs={
        "pause": Command(
            "governor pause", summary="Give all guests their own limits", flags=(JSON,), run=pause
        ),
        "policy": Command(
            "governor policy",
            summary="Show or change the policy",
            arguments="[get | set FILE | unset]",
            takes=(0, 2),
            flags=(JSON,),
            run=policy,
        ),
        "record": RECORD,
        "resume": Command(
            "governor resume", summary="Govern again after a pause", flags=(JSON,), run=resume
        ),
        "status": Command(
            "governor status", summary="Say how the governor is doing", flags=(JSON,), run=status
        ),
    },
)
