"""Groups of guests: tenants, departments, whoever is to share the host with others as one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wirt.errors import Invalid
from wirt.model.resources import Resources

LONGEST_PATH = 512
LONGEST_PART = 64
_PART = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestGroup:
    """A group as stored. ``path``: ``tenant/department``, its parents' names included.

    ``resources``: its three numbers of each resource, for all its guests together; what is no such
    number (CPU lists, swap, processes) is None. ``expandable``: its guests may be promised what its
    parent has not promised to others. ``created_at``: Unix nanoseconds.
    """

    path: str
    resources: Resources = field(default_factory=Resources)
    expandable: bool = False
    created_at: int = 0


def check_path(path: str) -> str:
    """The path itself when it is one. Raises Invalid."""
    longest = max(map(len, path.split("/")))
    if len(path) > LONGEST_PATH or longest > LONGEST_PART:
        raise Invalid(
            f"invalid group name {path[:40]!r}...: it is too long",
            hint=f"write at most {LONGEST_PART} characters a level, {LONGEST_PATH} in all",
        )
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise Invalid(
            f"invalid group name {path[:80]!r}",
            hint="write names of letters, digits, '_', '.', '-' with a / between, as sales/web",
        )
    return path


def parent(path: str) -> str:
    """The group above; empty for one that is directly below the host."""
    return path.rpartition("/")[0]


def within(path: str, group: str) -> bool:
    """Whether ``path`` is ``group`` or below it; everything is within the host, ``""``."""
    return not group or path == group or path.startswith(f"{group}/")
