"""What a step asks of its machine besides running processes: a machine that only lends itself."""

from __future__ import annotations

from collections.abc import Mapping

from wirt.guest.keeper import KeeperLink, Request


class Lent:
    """The agent of such a machine. Descriptors are stream sockets; they stay the caller's. Errors
    are those of :meth:`wirt.guest.keeper.KeeperLink.request`."""

    def __init__(self, keeper: KeeperLink) -> None:
        self._keeper = keeper

    async def give_secret(self, number: int, descriptor: int) -> None:
        """Fill the secret of this number with what comes from the stream."""
        await self._ask({"call": "secret", "number": str(number)}, descriptor)

    async def accept(self, number: int, descriptor: int) -> None:
        """Carry the next connection to the socket of this number over the stream, on which one
        byte says that it came; returns when it has ended."""
        await self._ask({"call": "accept", "socket": str(number)}, descriptor)

    async def read_changes(self, descriptor: int) -> None:
        """Pack what differs from the image."""
        await self._ask({"call": "tar-changes"}, descriptor)

    async def power_off(self) -> None:
        """End all processes, write the disk, and switch off."""
        await self._ask({"call": "poweroff"}, None)

    async def _ask(self, record: Mapping[str, str], descriptor: int | None) -> None:
        words = {key: [value] for key, value in record.items()}
        await self._keeper.request(Request.AGENT, words, descriptor=descriptor)
