"""The addresses where the registry answers: opened on demand, kept, opened again at start."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from wirt.errors import Forbidden, Invalid, NotFound, WirtError
from wirt.host.events import Bus
from wirt.host.registry.access import Access
from wirt.host.registry.accounts import Accounts
from wirt.model.registry import Listener
from wirt.state.listeners import ListenerTable

log = logging.getLogger("wirt.registry")


class Opened(Protocol):
    """A listener that accepts connections."""

    @property
    def port(self) -> int:
        """The port, also when any free one was asked for."""
        ...

    async def close(self) -> None:
        """Accept no more, and end the connections."""
        ...


Door = Callable[[Listener, Access, Accounts], Awaitable[Opened]]
"""Opens a listener. Raises Conflict when the address is taken, Invalid for a bad certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A listener and how it is. ``problem``: why it is not open, "" when it is."""

    address: str
    tls: bool
    anonymous: str
    users: tuple[str, ...]
    policy: bool
    problem: str = ""


class Listeners:
    """All listeners of this daemon."""

    def __init__(self, *, table: ListenerTable, door: Door, bus: Bus) -> None:
        self._table = table
        self._door = door
        self._bus = bus
        self._open: dict[str, Opened] = {}
        self._problems: dict[str, str] = {}
        self._turn = asyncio.Lock()

    @property
    def ports(self) -> frozenset[int]:
        """Where the registry answers now."""
        return frozenset(opened.port for opened in self._open.values())

    async def open(self) -> None:
        """Open again what was open before the daemon ended; what cannot be opened is told by
        :meth:`status` and stays known."""
        for listener in await self._table.all():
            try:
                await self._enter(listener)
            except (WirtError, OSError) as error:
                self._problems[listener.address] = str(error)
                log.error("the registry cannot listen on %s: %s", listener.address, error)

    async def close(self) -> None:
        """End all connections; the listeners stay known."""
        for opened in self._open.values():
            await opened.close()
        self._open.clear()

    async def serve(self, listener: Listener) -> str:
        """Answer on an address from now on, also after a restart; the address with its port.

        A listener that is there already gets the new settings. Raises Invalid, Forbidden for an
        address that strangers can reach without TLS, Conflict when it is taken.
        """
        check(listener)
        async with self._turn:
            if (before := self._open.pop(listener.address, None)) is not None:
                await before.close()
            try:
                made = await self._enter(listener)
            except BaseException:
                await self._restore(listener.address)
                raise
            await self._table.put(made)
        self._bus.publish("registry", "serve", made.address)
        return made.address

    async def stop(self, address: str) -> None:
        """Answer there no more. Raises NotFound."""
        async with self._turn:
            if not await self._table.remove(address):
                raise NotFound(
                    f"the registry does not listen on {address[:100]}",
                    hint="'wirt registry status' shows where it does",
                    code="registry.no-listener",
                )
            self._problems.pop(address, None)
            if (opened := self._open.pop(address, None)) is not None:
                await opened.close()
        self._bus.publish("registry", "stop", address)

    async def status(self) -> list[Standing]:
        """Every listener, by address."""
        return [
            Standing(
                address=listener.address,
                tls=listener.tls,
                anonymous=listener.anonymous,
                users=Accounts(listener.htpasswd).names,
                policy=bool(listener.policy),
                problem=self._problems.get(listener.address, ""),
            )
            for listener in await self._table.all()
        ]

    async def _enter(self, listener: Listener) -> Listener:
        access = Access.of(listener)
        opened = await self._door(listener, access, Accounts(listener.htpasswd))
        made = replace(listener, port=opened.port)
        self._open[made.address] = opened
        self._problems.pop(made.address, None)
        return made

    async def _restore(self, address: str) -> None:
        """New settings did not work: go on with those that did."""
        for listener in await self._table.all():
            if listener.address == address:
                await self._enter(listener)


def check(listener: Listener) -> None:
    """Raise Invalid or Forbidden for a listener that cannot or should not be."""
    try:
        address = ipaddress.ip_address(listener.host)
    except ValueError:
        raise Invalid(
            f"{listener.host[:100]!r} is no address to listen on",
            hint="write --listen IP:PORT, for example 127.0.0.1:5000",
            code="registry.address",
        ) from None
    if not 0 <= listener.port < 65536:
        raise Invalid(f"{listener.port} is no port", hint="write a number below 65536")
    if not (address.is_loopback or listener.tls or listener.insecure):
        raise Forbidden(
            f"without TLS the registry listens on loopback only, not on {listener.address}",
            hint="give --tls-cert and --tls-key, or say --insecure",
            code="registry.insecure",
        )
    if listener.tls != bool(listener.key):
        raise Invalid(
            "a certificate and its key belong together", hint="give both --tls-cert and --tls-key"
        )
    access = Access.of(listener)
    if not Accounts(listener.htpasswd) and not access.anonymous and not access.rules:
        raise Invalid(
            "nobody could do anything: there are no users, and --anonymous is none",
            hint="give --htpasswd FILE, or --anonymous pull or all",
            code="registry.nobody",
        )
