"""Join a guest's streams: at once when it runs, else from the very start of its next run.

The client's socket is given to the guest's keeper; the daemon keeps no copy (decision 1).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from wirt.errors import Conflict, Invalid, Unsupported
from wirt.host.running import Live, Running
from wirt.model.guest import Guest, GuestState

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

    def __init__(self, running: Running) -> None:
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
        if len(self._waiting.get(guest.id, ())) >= MAX_WAITING:
            raise Unsupported(f"{MAX_WAITING} clients wait for the start of {guest.name!r} already")

    async def attach(self, guest: Guest, descriptor: int, streams: Streams) -> None:
        """Take over ``descriptor``, a connected stream socket; it is closed in any case."""
        live = self._running.get(guest.id)
        if live is None:
            self._waiting.setdefault(guest.id, []).append((descriptor, streams))
            return
        try:
            await _give(live, guest, descriptor, streams)
        finally:
            os.close(descriptor)

    async def join_all(self, live: Live, guest: Guest) -> None:
        """Give the keeper everybody who waited; called before the process runs."""
        for descriptor, streams in self._waiting.pop(guest.id, ()):
            try:
                await _give(live, guest, descriptor, streams)
            finally:
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


def parse_detach_keys(text: str) -> bytes:
    """The bytes of docker's ``ctrl-p,ctrl-q`` notation. Raises Invalid; empty text is no keys."""
    keys = bytearray()
    for part in text.split(",") if text else ():
        lowered = part.lower()
        if len(part) == 1 and part.isascii():
            keys.append(ord(part))
        elif lowered.startswith("ctrl-") and len(part) == 6 and lowered[5] in _CONTROL:
            keys.append(_CONTROL[lowered[5]])
        else:
            raise Invalid(
                f"invalid detach key {part[:20]!r} in {text[:40]!r}",
                hint="write single characters or ctrl-<letter>, as ctrl-p,ctrl-q",
            )
    return bytes(keys)


_CONTROL = {chr(ord("a") + n): n + 1 for n in range(26)} | {
    "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31,
}  # fmt: skip
