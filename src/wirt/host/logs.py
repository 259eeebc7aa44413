"""Read what a guest has written, and go on reading while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.guest.log import GuestLog
from wirt.host.running import Running
from wirt.layout import Layout
from wirt.model.guest import Guest


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWish:
    """What to show. ``tail``: last lines only, None for all. Times are Unix ns, 0 for open."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: int = 0
    until: int = 0


class Logs:
    """The ``logs`` verb."""

    def __init__(self, *, layout: Layout, running: Running) -> None:
        self._layout = layout
        self._running = running

    def read(self, guest: Guest, wish: LogWish) -> AsyncIterator[bytes]:
        """Docker's stream frames (raw bytes for a guest with a terminal), ready to send on."""
        if not wish.stdout and not wish.stderr:
            raise Invalid(
                "neither stdout nor stderr is wanted", hint="ask for at least one of the two"
            )
        return GuestLog(self._layout.guest_log(guest.id)).read(
            stdout=wish.stdout,
            stderr=wish.stderr,
            tail=wish.tail,
            since=wish.since,
            until=wish.until,
            timestamps=wish.timestamps,
            follow=wish.follow,
            ended=lambda: self._running.get(guest.id) is None,
            tty=guest.spec.tty,
        )
