"""From what guests hold to what they are entitled to: which writes, in which order.

Shrink first, read back, then grow by what was really freed: so the limits never add up to more
than there is, after no single write, and a crash between two writes is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

_MIB = 1 << 20


class Reason(Enum):
    """Why a guest's share changed, or why it did not."""

    HUNGRY = "hungry"
    TAXED = "taxed"
    HEADROOM = "headroom"
    LIMIT = "limit"
    RESERVATION = "reservation"
    EMERGENCY = "emergency"
    BOOST = "boost"
    STUCK = "stuck"
    BLIND = "blind"
    FENCE = "fence"
    IDLE = "idle"
    TRAFFIC = "traffic"
    INPUT = "input"
    ASKED = "asked"
    TIMER = "timer"
    UNWATCHED = "unwatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a guest may hold now, as read back, and what is known about taking from it.

    ``limit`` and ``use``: bytes. ``speed``: bytes a second that were taken back from it at best so
    far, None when never tried. ``stuck``: the last shrinking did not move it. ``blind``: nothing
    is known about it.
    """

    limit: int
    use: int | None = None
    speed: int | None = None
    stuck: bool = False
    blind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One write: this guest may hold ``after`` bytes instead of ``before``."""

    guest: str
    before: int
    after: int


def rule(reason: Reason, *, before: int | None, after: int) -> Reason:
    """The rule that explains this very write, where ``reason`` set the guest's share.

    The way there may need another one: nobody is given memory by the tax, loses some since it is
    hungry, or has anything changed since nothing is known about it. Then its claims say so.
    ``before``: bytes, None for no limit.
    """
    grows = before is not None and after > before
    other = {Reason.TAXED: grows, Reason.HUNGRY: not grows, Reason.BLIND: True}
    return Reason.RESERVATION if other.get(reason, False) else reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far one tick goes. ``band``: parts of the limit that are not worth a write, but at least
    ``least`` bytes. ``most``: part of the limit that is taken in a tick."""

    band: float = 0.02
    least: int = 4 * _MIB
    most: float = 0.3

    def worth(self, before: int, after: int) -> bool:
        """Whether the difference is worth a write."""
        return abs(after - before) >= max(int(self.band * before), self.least)


PACE = Pace()
_MARGIN = (16 * _MIB, 64 * _MIB)


def margin(capacity: int) -> int:
    """Bytes that a hard limit stays above what cannot be taken back, where guests share so many:
    what a guest may grow by before anybody can have raised its limit. Between 16 and 64 MiB."""
    least, most = _MARGIN
    return min(most, max(capacity // 16, least))


def shrinks(
    holdings: Mapping[str, Holding],
    entitled: Mapping[str, int],
    *,
    seconds: float,
    pace: Pace = PACE,
    capacity: int | None = None,
) -> list[Move]:
    """Whom to take from in this tick, the largest surplus first. ``capacity``: bytes; while limits
    add up to more, small differences count too.

    Nobody is taken from while blind or stuck, nor faster than it was ever given back.
    """
    moves = []
    over = capacity is not None and sum(one.limit for one in holdings.values()) > capacity
    for name, holding in holdings.items():
        goal = entitled.get(name, holding.limit)
        if goal >= holding.limit or holding.blind or holding.stuck:
            continue
        if not over and not pace.worth(holding.limit, goal):
            continue
        lowest = holding.limit - max(int(pace.most * holding.limit), pace.least)
        if holding.speed is not None and holding.use is not None:
            spare = max(holding.limit - holding.use, 0)
            lowest = max(lowest, holding.limit - spare - int(holding.speed * seconds))
        after = max(goal, lowest)
        if after < holding.limit:
            moves.append(Move(guest=name, before=holding.limit, after=after))
    return sorted(moves, key=lambda move: (move.after - move.before, move.guest))


def grows(
    holdings: Mapping[str, Holding],
    entitled: Mapping[str, int],
    *,
    capacity: int,
    first: frozenset[str] = frozenset(),
    pace: Pace = PACE,
) -> list[Move]:
    """Whom to give what is free, after ``holdings`` were read back; ``first`` before all others.

    Within a rank the one that lacks most goes first; each gets what it lacks while there is some.
    """
    free = capacity - sum(holding.limit for holding in holdings.values())
    lacking = [
        (name not in first, holding.limit - entitled[name], name)
        for name, holding in holdings.items()
        if entitled.get(name, 0) > holding.limit and pace.worth(holding.limit, entitled[name])
    ]
    moves = []
    for _, lack, name in sorted(lacking):
        amount = min(-lack, free)
        if amount <= 0:
            break
        before = holdings[name].limit
        moves.append(Move(guest=name, before=before, after=before + amount))
        free -= amount
    return moves
