"""What users have for registries, asked of the client when one wants it while a build goes on.

The client is asked by a line of the build's answer and answers by a request of its own, which says
by the build's token for which build it is. Nothing outlives the build; nobody is asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping

from wirt.aio import Locks
from wirt.errors import Invalid, NotFound
from wirt.image.remote.auth import ANONYMOUS, Credentials

PATIENCE = 75.0
"""Seconds that a client is waited for: its credential helper may take a minute."""
_TOKEN = re.compile(r"[0-9a-f]{32}", re.ASCII)

Ask = Callable[[str], Awaitable[None]]
"""Ask the client for what its user has for this registry."""


class Wallet:
    """One build's credentials by registry. ``given``: came with the build's wish. ``ask``: None
    when the client answers no questions. Belongs to one event loop."""

    def __init__(self, given: Mapping[str, Credentials], ask: Ask | None, patience: float) -> None:
        self._known = dict(given)
        self._ask = ask
        self._patience = patience
        self._locks = Locks()
        self._waiting: dict[str, asyncio.Future[Credentials]] = {}
        self.silent: set[str] = set()
        """Registries about which the client has said nothing in time."""

    def has(self, registry: str) -> bool:
        """Whether there is something for this registry."""
        return self._known.get(registry, ANONYMOUS) != ANONYMOUS

    async def of(self, registry: str) -> Credentials:
        """What the user has for a registry, nothing when the client does not say."""
        async with self._locks.hold(registry):
            if registry not in self._known:
                self._known[registry] = await self._asked(registry)
            return self._known[registry]

    async def _asked(self, registry: str) -> Credentials:
        if self._ask is None:
            return ANONYMOUS
        answer: asyncio.Future[Credentials] = asyncio.get_running_loop().create_future()
        self._waiting[registry] = answer
        try:
            async with asyncio.timeout(self._patience):
                await self._ask(registry)
                return await answer
        except TimeoutError:
            self.silent.add(registry)
            return ANONYMOUS
        finally:
            del self._waiting[registry]

    def take(self, registry: str, credentials: Credentials) -> None:
        """The client's answer. Raises NotFound when it was not asked for this registry."""
        answer = self._waiting.get(registry)
        if answer is None or answer.done():
            raise NotFound(
                f"the build does not ask for credentials of {registry[:200]!r}",
                code="build.no-question",
            )
        answer.set_result(credentials)


class Wallets:
    """The wallets of the builds that go on. ``patience``: seconds for each question."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._builds: dict[str, Wallet] = {}

    @contextlib.contextmanager
    def open(self, token: str, given: Mapping[str, Credentials], ask: Ask) -> Iterator[Wallet]:
        """A build's wallet, forgotten when the block ends.

        ``token``: 32 hex digits, or empty for a client that answers no questions. Raises Invalid.
        """
        if not token:
            yield Wallet(given, None, self._patience)
            return
        if not _TOKEN.fullmatch(token) or token in self._builds:
            raise Invalid("the token for credentials makes no sense", code="build.credentials")
        wallet = self._builds[token] = Wallet(given, ask, self._patience)
        try:
            yield wallet
        finally:
            del self._builds[token]

    def take(self, token: str, registry: str, credentials: Credentials) -> None:
        """A client's answer. Raises NotFound unless that build asked for this registry."""
        wallet = self._builds.get(token)
        if wallet is None:
            raise NotFound("no build asks for credentials", code="build.no-question")
        wallet.take(registry, credentials)
