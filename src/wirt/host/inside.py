"""Running machines, of which only their own agents can read the disks.

The disk of a machine that does not run is foreign bytes that only its own kernel shall interpret.
"""

from __future__ import annotations

from typing import Protocol

from wirt.errors import Conflict
from wirt.guest.keeper import KeeperLink
from wirt.model.guest import Guest, GuestState


class Live(Protocol):
    """A running guest."""

    keeper: KeeperLink


class Running(Protocol):
    """The guests that run now."""

    def get(self, guest_id: str) -> Live | None:
        """The live guest, or None."""
        ...


def agent_of(running: Running, guest: Guest, wish: str) -> KeeperLink:
    """The keeper through which a machine's agent is asked. ``wish``: what for, as ``export``.

    Raises Conflict when the machine cannot answer now.
    """
    if guest.status.state is GuestState.PAUSED:
        raise Conflict(
            f"cannot {wish} {guest.name}: it is paused",
            hint=f"continue it first: wirt unpause {guest.name}",
            code="guest.paused",
        )
    live = running.get(guest.id)
    if live is None:
        kind = guest.spec.isolation.value
        raise Conflict(
            f"cannot {wish} {guest.name}: a {kind} must run for it",
            hint=f"'wirt start {guest.name}' first, or use --as container",
            code="guest.not-running",
        )
    return live.keeper
