"""Who is here: every guest's record, in memory for readers and in the database for good.

Readers (``ps``, ``inspect``, DNS) never wait: they get the newest record at once, even while some
guest is wedged. A change is stored first and shown afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from wirt.aio import Locks
from wirt.errors import Conflict, Internal, Invalid, NotFound
from wirt.model.guest import TRANSITIONS, Guest, GuestState, GuestStatus
from wirt.model.names import ID_LENGTH
from wirt.state.guests import GuestTable, name_taken


class Roster:
    """The guests of this host, by id and by name."""

    def __init__(self, table: GuestTable) -> None:
        self._table = table
        self._guests: dict[str, Guest] = {}
        self._names: dict[str, str] = {}
        self.locks = Locks()

    async def open(self) -> None:
        """Read everything from the database."""
        for guest in await self._table.all():
            self._remember(guest)

    def _remember(self, guest: Guest) -> None:
        old = self._guests.get(guest.id)
        if old is not None and old.name != guest.name:
            del self._names[old.name]
        self._guests[guest.id] = guest
        self._names[guest.name] = guest.id

    def all(self) -> Iterable[Guest]:
        """Every guest, oldest first."""
        return sorted(self._guests.values(), key=lambda guest: (guest.created_at, guest.id))

    def get(self, guest_id: str) -> Guest:
        """The guest with this full id. Raises NotFound."""
        try:
            return self._guests[guest_id]
        except KeyError:
            raise no_such_guest(guest_id) from None

    def has_name(self, name: str) -> bool:
        return name in self._names

    def find(self, text: str) -> Guest:
        """The guest named by full id, name, or unambiguous id prefix, in docker's order.

        Raises NotFound, or Invalid (``guest.ambiguous``) when several ids begin so.
        """
        if text in self._guests:
            return self._guests[text]
        name = text.removeprefix("/")
        if name in self._names:
            return self._guests[self._names[name]]
        if not text or len(text) > ID_LENGTH:
            raise no_such_guest(text)
        matches = [guest for guest in self._guests.values() if guest.id.startswith(text)]
        if not matches:
            raise no_such_guest(text)
        if len(matches) > 1:
            raise Invalid(
                f"{text!r} is the beginning of {len(matches)} guests' ids",
                hint="give more digits",
                code="guest.ambiguous",
            )
        return matches[0]

    async def add(self, guest: Guest) -> None:
        """Store a new guest. Raises Conflict when its name is taken."""
        if guest.name in self._names:
            raise name_taken(guest.name, self._names[guest.name])
        await self._table.add(guest)
        self._remember(guest)

    async def save(self, guest: Guest) -> None:
        """Store a changed guest. Raises NotFound when it was removed meanwhile."""
        self.get(guest.id)
        await self._table.save(guest)
        if guest.id in self._guests:
            self._remember(guest)

    async def move(self, guest_id: str, status: GuestStatus) -> Guest:
        """Store a new status. An impossible change of state is a bug and raises Internal."""
        guest = self.get(guest_id)
        old, new = guest.status.state, status.state
        if new is not old and new not in TRANSITIONS[old]:
            raise Internal(f"guest {guest.name!r} cannot go from {old.value} to {new.value}")
        changed = replace(guest, status=status)
        await self.save(changed)
        return changed

    async def revise(
        self, guest_id: str, change: Callable[[GuestStatus], GuestStatus | None]
    ) -> Guest:
        """Take the guest's lock and store what ``change`` makes of its newest status, if anything.

        For whoever does not hold the lock: a status read before and written after an await could
        undo what has happened meanwhile.
        """
        async with self.locks.hold(guest_id):
            guest = self.get(guest_id)
            status = change(guest.status)
            return guest if status is None else await self.move(guest_id, status)

    async def remove(self, guest_id: str) -> None:
        """Forget a guest; nothing happens when there is none."""
        await self._table.remove(guest_id)
        guest = self._guests.pop(guest_id, None)
        if guest is not None:
            del self._names[guest.name]


def no_such_guest(text: str) -> NotFound:
    """The error for a guest that is not there."""
    return NotFound(
        f"no such guest: {text[:128]}", hint="'wirt ps -a' lists all guests", code="guest.not-found"
    )


def require_running(guest: Guest, *, paused_too: bool = False) -> None:
    """Raise Conflict unless the guest runs; ``paused_too``: a paused one will do."""
    state = guest.status.state
    if state is GuestState.RUNNING or (paused_too and state is GuestState.PAUSED):
        return
    if state is GuestState.PAUSED:
        raise Conflict(
            f"guest {guest.name!r} is paused",
            hint=f"'wirt unpause {guest.name}' first",
            code="guest.paused",
        )
    raise Conflict(
        f"guest {guest.name!r} is not running",
        hint=f"'wirt start {guest.name}' starts it",
        code="guest.not-running",
    )
