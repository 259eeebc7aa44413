"""What becomes of a guest that has nothing to do for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

SECOND = 10**9
AFTER = 600 * SECOND
"""Nanoseconds for which a guest must be idle where nobody says otherwise."""
LONGEST = 31 * 86_400 * SECOND


class IdleAction(Enum):
    """NEVER: nothing. MINIMAL: it keeps what it needs to answer. PAUSE: it is paused until somebody
    wants something of it."""

    NEVER = "never"
    MINIMAL = "minimal"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleWish:
    """What a guest's user said of it; None: as the policy has it. Times are nanoseconds.

    ``after``: how long it must be idle first. ``wake_every``: how long it is paused at most, so
    that its own timers come to their turn; 0: without end. ``wake_at``: when it is woken in any
    case, as ``Mon-Fri 07:45`` in local time; empty: never.
    """

    action: IdleAction | None = None
    after: int | None = None
    wake_every: int | None = None
    wake_at: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRule:
    """What holds for one guest: see :class:`IdleWish`."""

    action: IdleAction
    after: int
    wake_every: int
    wake_at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleDefaults:
    """What holds for guests that say nothing. ``groups``: by path, for all below as well; the
    nearest one counts, and before the class. ``after`` and ``wake_every`` as ``"10m"``,
    ``wake_at`` as ``["Mon-Fri 07:45"]``."""

    interactive: IdleAction = IdleAction.NEVER
    normal: IdleAction = IdleAction.MINIMAL
    batch: IdleAction = IdleAction.MINIMAL
    groups: Mapping[str, IdleAction] = field(default_factory=dict)
    after: str = "10m"
    wake_every: str = "0s"
    wake_at: tuple[str, ...] = ()


def merge(old: IdleWish, new: IdleWish) -> IdleWish:
    """The old wish, with what the new one says."""
    return IdleWish(
        action=old.action if new.action is None else new.action,
        after=old.after if new.after is None else new.after,
        wake_every=old.wake_every if new.wake_every is None else new.wake_every,
        wake_at=old.wake_at if new.wake_at is None else new.wake_at,
    )
