"""A further process in plain words, for the keeper's own way into a container (``wirt-join``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wirt.guest.keeper import Record
from wirt.linux.features import CAPABILITIES

_UNDERSTOOD = frozenset(
    {"terminal", "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges"}
)
_SETS = ("bounding", "effective", "permitted")


_LIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
    "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
"""Limits by number (asm-generic/resource.h)."""


def record(process: Mapping[str, Any]) -> Record:
    """An OCI process as keys of EXEC (``docs/reference/keeper-protocol.md``), or none of them when
    it has a terminal or wants what only the engine knows. Pure."""
    user: Mapping[str, Any] = process["user"]
    sets: Mapping[str, Sequence[str]] = process["capabilities"]
    plain = not process["terminal"] and process.keys() <= _UNDERSTOOD
    if not plain or not {s for s in sets if sets[s]} <= set(_SETS) or "umask" in user:
        return {}
    return {
        "argv": list(process["args"]),
        "env": list(process["env"]),
        "cwd": [process["cwd"]],
        "uid": [str(user["uid"])],
        "gid": [str(user["gid"])],
        "group": [str(group) for group in user.get("additionalGids") or ()],
        **{name: [f"{_mask(sets.get(name, ())):x}"] for name in _SETS},
        "rlimit": [_limit(one) for one in process["rlimits"]],
        "no_new_privileges": [str(int(process["noNewPrivileges"]))],
    }


def _mask(names: Sequence[str]) -> int:
    """Capabilities as the kernel's bits."""
    return sum(1 << CAPABILITIES.index(name.removeprefix("CAP_")) for name in names)


def _limit(entry: Mapping[str, Any]) -> str:
    """``NUMBER:SOFT:HARD``."""
    number = _LIMITS.index(entry["type"].removeprefix("RLIMIT_"))
    return f"{number}:{entry['soft']}:{entry['hard']}"
