"""The daemon's side of one keeper's control connection (``docs/reference/keeper-protocol.md``).

One connection per running guest, requests multiplexed by channel, events handed to one callback.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

Record = dict[str, list[str]]
"""Keys and their values in order; a key that occurs once has a list of one."""


class Request(IntEnum):
    """Frame types of requests."""

    HELLO = 1
    ATTACH = 2
    START = 3
    SIGNAL = 4
    RESIZE = 5
    EXEC = 6
    AGENT = 7


class KeeperLink:
    """A live control connection. All methods run on the event loop's thread."""

    hello: Record

    @classmethod
    async def connect(
        cls,
        path: Path,
        *,
        on_event: Callable[[Record], None],
        on_closed: Callable[[], None],
        timeout: float = 5.0,
    ) -> KeeperLink:
        """Connect and exchange HELLO. Raises :class:`~wirt.errors.Unavailable`."""
        raise NotImplementedError

    async def request(
        self, request: Request, record: Record, *, descriptor: int | None = None
    ) -> Record:
        """Send a request and wait for its answer.

        ERROR answers are raised as :class:`~wirt.errors.WirtError` kinds (Conflict, NotFound,
        Invalid...) with ``facts["exit"]`` and ``facts["errno"]`` when the keeper sent them.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connection; the guest is not touched."""
        raise NotImplementedError
