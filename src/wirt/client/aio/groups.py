"""The async client's groups of guests."""

from __future__ import annotations

from typing import Any

from wirt.client.aio.transport import Transport
from wirt.client.wire import quote
from wirt.model.group import GuestGroup
from wirt.model.resources import Resources


class Groups:
    """Groups by their paths, as ``tenant/department``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> tuple[GuestGroup, ...]:
        """All groups, in the order of their paths."""
        found = await self._transport.call("GET", "/v1/groups", tuple[GuestGroup, ...])
        return tuple(group for group in found if group.path)

    async def inspect(self, path: str) -> GuestGroup:
        """One group."""
        return await self._transport.call("GET", _group(path), GuestGroup)

    async def create(
        self, path: str, *, resources: Resources | None = None, expandable: bool = False
    ) -> GuestGroup:
        """Make one below a group that exists, or below the host."""
        body = {"path": path, "resources": resources or Resources(), "expandable": expandable}
        return await self._transport.call("POST", "/v1/groups", GuestGroup, body=body)

    async def change(
        self, path: str, *, resources: Resources | None = None, expandable: bool | None = None
    ) -> GuestGroup:
        """Change what it has; None leaves a value as it is."""
        body: dict[str, Any] = {"resources": resources or Resources(), "expandable": expandable}
        return await self._transport.call("POST", _group(path), GuestGroup, body=body)

    async def remove(self, path: str) -> None:
        """Remove it; it must be empty."""
        await self._transport.do("DELETE", _group(path))


def _group(path: str) -> str:
    return f"/v1/groups/{quote(path, keep='/')}"
