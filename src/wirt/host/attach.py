"""Join a guest's streams: at once when it runs, else from the very start of its next run.

The client's socket is given to the guest's keeper; the daemon keeps no copy (decision 1).
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from wirt.errors import Conflict, NotFound, Unsupported
from wirt.host.roster import Roster
from wirt.host.running import Live, Running
from wirt.model.guest import Guest, GuestState

LEAVING = frozenset({GuestState.REMOVING, GuestState.DEAD})

MAX_WAITING = 64
"""Clients that may wait for the start of one guest."""

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Which streams a client joins. ``detach``: bytes that end the attachment, or empty."""

    stdin: bool
    stdout: bool
    stderr: bool
    detach: bytes = b""


class Attach:
    """The ``attach`` verb, and the clients that wait for a start."""

    def __init__(self, roster: Roster, running: Running) -> None:
        self._roster = roster
        self._running = running
        self._waiting: dict[str, list[tuple[int, Streams]]] = {}

    def check(self, guest: Guest) -> None:
        """Raise Conflict or Unsupported when nobody can attach now; called before the hijack."""
        if guest.status.state is GuestState.PAUSED:
            raise Conflict(
                f"cannot attach to the paused guest {guest.name!r}",
                hint=f"'wirt unpause {guest.name}' first",
                code="guest.paused",
            )
        if self._leaves(guest.id):
            raise Conflict(f"guest {guest.name!r} is being removed", code="guest.removing")
        self._hang_up_on_gone(guest.id)
        if len(self._waiting.get(guest.id, ())) >= MAX_WAITING:
            raise Unsupported(f"{MAX_WAITING} clients wait for the start of {guest.name!r} already")

    async def attach(self, guest: Guest, descriptor: int, streams: Streams) -> None:
        """Take over ``descriptor``, a connected stream socket; it is closed in any case."""
        live = self._running.get(guest.id)
        if live is None and not self._leaves(guest.id):
            self._waiting.setdefault(guest.id, []).append((descriptor, streams))
            return
        try:
            if live is None:  # its removal has hung up on everybody already, and would not again
                raise NotFound(f"guest {guest.name!r} was removed meanwhile")
            await _give(live, guest, descriptor, streams)
        finally:
            os.close(descriptor)

    def waits(self, guest: Guest) -> bool:
        """Whether anybody waits for the start of this guest."""
        return bool(self._waiting.get(guest.id))

    async def join_all(self, live: Live, guest: Guest) -> None:
        """Give the keeper everybody who waited; called before the process runs."""
        while waiting := self._waiting.get(guest.id):
            descriptor, streams = waiting.pop(0)
            try:
                await _give(live, guest, descriptor, streams)
            finally:
                os.close(descriptor)
        self._waiting.pop(guest.id, None)

    def _leaves(self, guest_id: str) -> bool:
        """Whether a guest will never start again, as it is known now."""
        try:
            return self._roster.get(guest_id).status.state in LEAVING
        except NotFound:
            return True

    def _hang_up_on_gone(self, guest_id: str) -> None:
        """Forget clients that went away while they waited; nobody else would notice."""
        waiting = self._waiting.get(guest_id)
        if not waiting:
            return
        poll = select.poll()
        for descriptor, _ in waiting:
            poll.register(descriptor, 0)  # POLLHUP and POLLERR are always told
        gone = {descriptor for descriptor, _ in poll.poll(0)}
        self._waiting[guest_id] = [entry for entry in waiting if entry[0] not in gone]
        for descriptor in gone:
            os.close(descriptor)

    async def release(self, guest: Guest, *, volumes: bool = False) -> None:
        """Hang up on everybody who waits; the guest will not start."""
        for descriptor, _ in self._waiting.pop(guest.id, ()):
            os.close(descriptor)


async def _give(live: Live, guest: Guest, descriptor: int, streams: Streams) -> None:
    await live.handle.attach(
        descriptor,
        stdin=streams.stdin and guest.spec.stdin_open,
        stdout=streams.stdout,
        stderr=streams.stderr,
        mux=not guest.spec.tty,
        detach=streams.detach if guest.spec.tty else b"",
    )
