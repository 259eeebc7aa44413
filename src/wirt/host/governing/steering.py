"""What others put into the governor's ticks, and take out of them: boosts, and the chronicle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from wirt.governor.journal import Change, Frame
from wirt.governor.movement import Reason
from wirt.governor.observe import Tick
from wirt.governor.tree import Group


class Steering:
    """``boosted``: the claims as they count at a time (Unix nanoseconds); ``noted``: hears of each
    frame, and over which claims it was decided, before anybody else; ``seen``: of what each tick
    saw, before anything is decided. ``why``: the reason for weights that change in this tick;
    ``done``: what others did to guests since this was asked."""

    def __init__(self) -> None:
        self.boosted: Callable[[Group, int], Group] = _as_it_is
        self.noted: Callable[[Group, Frame], None] = _nobody_notes
        self.seen: Callable[[Tick], None] = _nobody_looks
        self.done: Callable[[], Sequence[Change]] = tuple
        self.why = Reason.RESERVATION
        self._before = False

    def claims(self, plain: Group) -> Group:
        """Everybody's claims with boosts counted in."""
        root = self.boosted(plain, time.time_ns())
        boosted = root is not plain
        self.why = Reason.BOOST if boosted or self._before else Reason.RESERVATION
        self._before = boosted
        return root


def _as_it_is(root: Group, now: int) -> Group:
    """Without boosts."""
    return root


def _nobody_looks(tick: Tick) -> None:
    """Without anybody who cares who is idle."""


def _nobody_notes(root: Group, frame: Frame) -> None:
    """Without a chronicle."""
