"""People who wait for a guest to end or to be removed. Opened before the start, answered after."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from wirt.model.guest import Guest, GuestState


class Condition(Enum):
    """What is waited for, in docker's words."""

    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit code, and docker's ``Error`` text when the guest could not be started."""

    code: int
    error: str = ""


class Waits:
    """Futures by guest and condition."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[tuple[Condition, asyncio.Future[Outcome]]]] = {}

    @contextmanager
    def expect(self, guest: Guest, condition: Condition) -> Iterator[asyncio.Future[Outcome]]:
        """A future that is answered when the condition holds; at once if it does already."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        idle = guest.status.state in {GuestState.CREATED, GuestState.EXITED, GuestState.DEAD}
        if condition is Condition.NOT_RUNNING and idle:
            future.set_result(Outcome(guest.status.exit_code, guest.status.error))
        entry = (condition, future)
        waiting = self._waiting.setdefault(guest.id, set())
        waiting.add(entry)
        try:
            yield future
        finally:
            waiting.discard(entry)
            if not waiting and self._waiting.get(guest.id) is waiting:
                del self._waiting[guest.id]

    def ended(self, guest_id: str, outcome: Outcome, *, restarting: bool = False) -> None:
        """The guest ended; ``restarting``: it will come back, so it is not "not running"."""
        wanted = (
            {Condition.NEXT_EXIT}
            if restarting
            else {
                Condition.NEXT_EXIT,
                Condition.NOT_RUNNING,
            }
        )
        self._answer(guest_id, wanted, outcome)

    def removed(self, guest_id: str, outcome: Outcome) -> None:
        """The guest is gone for good: everybody who still waits is answered."""
        self._answer(guest_id, set(Condition), outcome)

    def _answer(self, guest_id: str, wanted: set[Condition], outcome: Outcome) -> None:
        for condition, future in tuple(self._waiting.get(guest_id, ())):
            if condition in wanted and not future.done():
                future.set_result(outcome)
