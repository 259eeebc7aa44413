"""Requests to one endpoint: its scheme found out, authorized, redirected by our rules, tried again.

A request is given back when its status is one that the caller takes; everything else is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace

import aiohttp
from yarl import URL

from wirt.errors import Upstream, WirtError
from wirt.image.remote import address, pace
from wirt.image.remote.auth import Authorizer, Credentials, Late
from wirt.image.remote.certificate import dated
from wirt.image.remote.endpoint import Endpoint
from wirt.image.remote.pace import Patience
from wirt.image.remote.refusal import MAX_BODY, broken, is_untrusted, refusal
from wirt.image.remote.transport import Transport

log = logging.getLogger("wirt.registry")

MAX_REDIRECTS = 5
_PIECE = 128 * 1024
"""Bytes of an upload that must be taken within an interval."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
Body = Callable[[], "AsyncIterator[bytes] | bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. ``where``: below ``/v2/``, or a whole address that the registry gave.

    ``what``: names it in errors. ``good``: statuses that the caller takes. ``body``: makes the body
    anew for every try. ``tries``: how often; 0 for as often as patience has it.
    """

    method: str
    where: str | URL
    what: str
    good: frozenset[int] = frozenset({200})
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    body: Body | None = None
    tries: int = 0


class Tries:
    """Counts tries of one thing and waits between them."""

    def __init__(self, patience: Patience, *, most: int = 0) -> None:
        self._patience = patience
        self._most = most or patience.tries
        self._done = 0

    def progress(self) -> None:
        """Something came of the last try: count from the start again."""
        self._done = 0

    async def again(self, error: WirtError, asked: float | None = None) -> None:
        """Wait before the next try; raise ``error`` when there should be none."""
        self._done += 1
        if self._done >= self._most:
            raise error
        if asked is not None and asked > self._patience.retry_after:
            error.add_note(f"it asks to be left alone for {asked:.0f} seconds")
            raise error
        log.info("%s; trying again", error)
        await asyncio.sleep(self._patience.wait(self._done, asked))


class Door:
    """One endpoint, for as long as one piece of work."""

    def __init__(
        self, endpoint: Endpoint, transport: Transport, credentials: Credentials | Late
    ) -> None:
        self.endpoint = endpoint
        self.transport = transport
        self.auth = Authorizer(transport, credentials, endpoint.realms)
        self._schemes = list(endpoint.schemes)
        self._settled = False
        self._finding = asyncio.Lock()

    @property
    def base(self) -> URL:
        """The root of the registry's API."""
        return URL(f"{self._schemes[0]}://{self.endpoint.host}/v2/")

    @contextlib.asynccontextmanager
    async def ask(self, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, whose body is read while the block runs. Raises WirtError."""
        response = await self._insist(ask)
        try:
            yield response
        finally:
            response.release()

    async def document(self, ask: Ask, *, limit: int) -> tuple[bytes, Mapping[str, str]]:
        """A small answer whole, and its headers. Raises Upstream when it is larger."""
        async with self.ask(ask) as response:
            return await self.read(response, ask.what, limit), response.headers

    async def read(self, response: aiohttp.ClientResponse, what: str, limit: int) -> bytes:
        """A small body whole. Raises Upstream when it is larger than ``limit`` bytes."""
        body = b""
        try:
            async with asyncio.timeout(self.transport.patience.head):
                while chunk := await response.content.readany():
                    body += chunk
                    if len(body) > limit:
                        raise Upstream(
                            f"{self.endpoint.host} sends more than {limit} bytes as {what}",
                            code="registry.too-large",
                        )
        except FAILURES as error:
            raise broken(error, host=self.endpoint.host, what=what) from error
        return body

    async def settle(self, what: str) -> None:
        """Find out how the registry is spoken to; after that :attr:`base` is right. Idempotent."""
        if not self._settled:
            async with self._finding:
                if not self._settled:
                    await self._find_scheme(what)

    async def _insist(self, ask: Ask) -> aiohttp.ClientResponse:
        await self.settle(ask.what)
        tries = Tries(self.transport.patience, most=ask.tries)
        while True:
            try:
                response = await self._authorized(ask)
            except FAILURES as error:
                failed = broken(error, host=self.endpoint.host, what=ask.what)
                if is_untrusted(error):
                    raise await dated(error, failed) from error
                await tries.again(failed)
                continue
            if response.status in ask.good:
                return response
            failed = await self._refused(response, ask)
            if response.status not in pace.TRY_AGAIN:
                raise failed
            await tries.again(failed, pace.retry_after(response.headers.get("Retry-After")))

    async def _refused(self, response: aiohttp.ClientResponse, ask: Ask) -> WirtError:
        try:
            body = b"" if ask.method == "HEAD" else await self.read(response, ask.what, MAX_BODY)
        except WirtError:
            body = b""
        finally:
            response.release()
        shown = response.status == 401 and self.auth.shows_password
        return refusal(response.status, body, host=self.endpoint.host, what=ask.what, shown=shown)

    async def _find_scheme(self, what: str) -> None:
        """Ask for the API's root by https; where it is allowed, by http when nothing there
        speaks TLS. A server that speaks it with a bad certificate is never asked by http."""
        while True:
            try:
                response = await self._send("GET", self.base, {}, None)
            except FAILURES as error:
                if (
                    len(self._schemes) == 1
                    or is_untrusted(error)
                    or isinstance(error, TimeoutError)
                ):
                    failed = broken(error, host=self.endpoint.host, what=what)
                    raise await dated(error, failed) from error
                self._schemes.pop(0)
                continue
            if response.status == 401:
                headers = response.headers.getall("WWW-Authenticate", [])
                with contextlib.suppress(WirtError):  # it may be let in where it wants to go
                    await self.auth.learn(self.base, headers, frozenset(), turn=0, what=what)
            response.release()
            self._settled = True
            return

    async def _authorized(self, ask: Ask) -> aiohttp.ClientResponse:
        """One try, and a second one with better credentials when the first was not let in."""
        turn = self.auth.turn
        response = await self._redirected(ask)
        if response.status != 401 or not address.same_origin(response.url, self.base):
            return response
        headers = response.headers.getall("WWW-Authenticate", [])
        response.release()
        scopes = await self.auth.learn(self.base, headers, ask.scopes, turn=turn, what=ask.what)
        return await self._redirected(replace(ask, scopes=scopes))

    async def _redirected(self, ask: Ask) -> aiohttp.ClientResponse:
        url = URL(f"{self.base}{ask.where}") if isinstance(ask.where, str) else ask.where
        url = url.extend_query(ask.query) if ask.query else url
        address.check(url, self.base)
        for _ in range(MAX_REDIRECTS + 1):
            headers = dict(ask.headers)
            own = address.same_origin(url, self.base)
            if own and (value := await self.auth.header(self.base, ask.scopes)):
                headers["Authorization"] = value
            response = await self._send(ask.method, url, headers, ask.body)
            if response.status not in _REDIRECTS or ask.method not in {"GET", "HEAD"}:
                return response
            location = response.headers.get("Location", "")
            response.release()
            url = address.follow(url, location)
        return response

    async def _send(
        self, method: str, url: URL, headers: dict[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        trust = None
        if url.scheme == "https":
            own = url.authority == self.endpoint.host
            host = self.endpoint.host if own else url.authority
            trust = await self.transport.tls(host, self.endpoint.trust if own else None)
        patience = self.transport.patience
        async with asyncio.timeout(patience.head if body is None else patience.commit) as limit:
            made = body() if body is not None else None
            data = (
                made if made is None or isinstance(made, bytes) else _watched(made, limit, patience)
            )
            return await self.transport.http.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                ssl=trust if trust is not None else True,
            )


async def _watched(
    body: AsyncIterator[bytes], limit: asyncio.Timeout, patience: Patience
) -> AsyncIterator[bytes]:
    """A body whose reader is given up when it takes too little for too long."""
    loop = asyncio.get_running_loop()
    async for piece in body:
        for at in range(0, len(piece), _PIECE):
            limit.reschedule(loop.time() + patience.interval)
            yield piece[at : at + _PIECE]
    limit.reschedule(loop.time() + patience.commit)
