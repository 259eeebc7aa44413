"""Which capabilities a container gets: docker's defaults, the user's wishes, the host's bounds.

A capability outside the host's bounding set cannot be given: crun would fail the start with
``capset: Operation not permitted``. So the set is intersected, and the user is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.linux.features import CAPABILITIES

DEFAULT = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
        "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""What docker gives a container unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Capability names without ``CAP_``; ``warnings`` say what could not be given."""

    names: frozenset[str]
    warnings: tuple[str, ...] = ()


def check(names: Iterable[str], option: str) -> None:
    """Raise :class:`Invalid` for a name that is no capability; ``option`` is what was typed."""
    for name in names:
        if name != "ALL" and name not in CAPABILITIES:
            raise Invalid(
                f"unknown capability {name[:64]!r} in {option}",
                hint="a capability is named as in capabilities(7), for instance NET_ADMIN, or ALL",
            )


def grant(add: Iterable[str], drop: Iterable[str], *, bounding: frozenset[str]) -> Granted:
    """Docker's rule: ``ALL`` added means all but the dropped, ``ALL`` dropped means only the added.

    ``bounding``: the host's bounding set; what it lacks is left out, with a warning.
    """
    add, drop = frozenset(add), frozenset(drop)
    if "ALL" in add:
        wanted = frozenset(CAPABILITIES) - drop
    elif "ALL" in drop:
        wanted = add
    else:
        wanted = (DEFAULT - drop) | add
    missing = sorted(wanted - bounding)
    warnings: tuple[str, ...] = ()
    if missing:
        warnings = (
            f"this host cannot give {', '.join(missing)}: not in its capability bounding set",
        )
    return Granted(names=wanted & bounding, warnings=warnings)
