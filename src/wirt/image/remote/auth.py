"""Being let in at one registry: answers to challenges, tokens and their renewal.

Credentials are those of this one registry. They leave for its own origin, or for a token server
that :func:`~wirt.image.remote.address.may_see_credentials`; they are in no repr, log or message.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from wirt.errors import Forbidden, Upstream
from wirt.image.remote import address, challenge
from wirt.image.remote.certificate import dated
from wirt.image.remote.challenge import Challenge, Token
from wirt.image.remote.refusal import MAX_BODY, broken, refusal
from wirt.image.remote.transport import Transport

log = logging.getLogger("wirt.registry")

CLIENT_ID = "wirt"
_RENEW = 0.9
"""Part of a token's life after which another is got."""
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a user has for one registry; empty parts are absent.

    ``identity_token``: gets bearer tokens (a refresh token). ``registry_token``: is one.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """``user:password`` as RFC 7617 wants it; empty without a user."""
        if not self.username:
            return ""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()

Late = Callable[[], Awaitable[Credentials]]
"""Credentials that are asked for when their registry wants some; called once, raises nothing."""


class Authorizer:
    """The ``Authorization`` for one registry.

    ``realms``: hosts that may be given its credentials besides its own.
    ``refresh_token``: what a token server gave to a login, for the caller to keep.
    """

    def __init__(
        self, transport: Transport, credentials: Credentials | Late, realms: tuple[str, ...] = ()
    ) -> None:
        self._transport = transport
        self._late = None if isinstance(credentials, Credentials) else credentials
        self._credentials = credentials if isinstance(credentials, Credentials) else ANONYMOUS
        self._realms = realms
        self._lock = asyncio.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], tuple[Token, float]] = {}
        self._turn = 0
        self.refresh_token = ""

    @property
    def turn(self) -> int:
        """Counts what was learnt; a request that was refused in an older turn just tries again."""
        return self._turn

    @property
    def shows_password(self) -> bool:
        """Whether requests carry a name and a password, so that being refused is about them."""
        return self._challenge is not None and self._challenge.scheme == "basic"

    async def header(self, registry: URL, scopes: frozenset[str]) -> str:
        """The header's value for a request, empty before any challenge was seen."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        seen = self._challenge
        if seen is None:
            return ""
        if seen.scheme == "basic":
            return f"Basic {self._credentials.basic}"
        async with self._lock:
            return f"Bearer {(await self._token(seen, registry, scopes)).value}"

    async def learn(
        self, registry: URL, headers: list[str], scopes: frozenset[str], *, turn: int, what: str
    ) -> frozenset[str]:
        """Take a 401 in; the scopes to ask with from now on. Raises Forbidden when there is no way
        in, Upstream for a challenge that must not be answered."""
        async with self._lock:
            found = challenge.choose(challenge.parse(headers))
            if found is None:
                raise refusal(401, b"", host=registry.host or "", what=what)
            wanted = scopes | found.scopes
            if turn != self._turn:
                return wanted
            self._turn += 1
            if self._late is not None:
                late, self._late = self._late, None
                self._credentials = await late()
            if found.scheme == "basic" and not self._credentials.basic:
                raise refusal(401, b"", host=registry.authority, what=what)
            self._challenge = found
            self._tokens.pop(wanted, None)
            return wanted

    async def _token(self, seen: Challenge, registry: URL, scopes: frozenset[str]) -> Token:
        now = asyncio.get_running_loop().time()
        known = self._tokens.get(scopes)
        if known is not None and now < known[1]:
            return known[0]
        realm = self._realm(seen, registry)
        trusted = address.may_see_credentials(realm, registry, self._realms)
        if not trusted and self._credentials != ANONYMOUS:
            raise Upstream(
                f"{registry.host} wants its credentials sent to {realm.host}, which is refused",
                hint=f'allow it in the daemon\'s configuration: realms = ["{realm.host}"]',
                code="registry.realm",
            )
        token = await self._fetch(realm, seen.parameters.get("service", ""), scopes)
        self._tokens[scopes] = (token, now + token.life * _RENEW)
        self.refresh_token = token.refresh or self.refresh_token
        return token

    def _realm(self, seen: Challenge, registry: URL) -> URL:
        try:
            realm = URL(seen.parameters.get("realm", ""))
            if not realm.host:
                raise ValueError
        except ValueError:
            raise Upstream(
                f"{registry.host} names no token server in its challenge", code="registry.token"
            ) from None
        address.check(realm, registry)
        return realm

    async def _fetch(self, realm: URL, service: str, scopes: frozenset[str]) -> Token:
        """Tokens by GET as docker's own servers want them; by POST (OAuth 2) with an identity
        token, and where GET is not served."""
        if self._credentials.identity_token:
            return await self._post(realm, service, scopes)
        query = [("service", service)] if service else []
        query += [("scope", one) for one in challenge.merge(scopes)]
        headers = {}
        if self._credentials.basic:
            query += [("client_id", CLIENT_ID), ("account", self._credentials.username)]
            if not scopes:
                query.append(("offline_token", "true"))
            headers["Authorization"] = f"Basic {self._credentials.basic}"
        url = realm.extend_query(query)
        status, body = await self._ask("GET", url, headers=headers)
        if status in {404, 405} and self._credentials.basic:
            return await self._post(realm, service, scopes)
        return self._read(realm, status, body)

    async def _post(self, realm: URL, service: str, scopes: frozenset[str]) -> Token:
        own = self._credentials
        form = {"client_id": CLIENT_ID, "service": service}
        if scopes:
            form["scope"] = " ".join(challenge.merge(scopes))
        if own.identity_token:
            form |= {"grant_type": "refresh_token", "refresh_token": own.identity_token}
        else:
            form |= {"grant_type": "password", "username": own.username, "password": own.password}
            if not scopes:
                form["access_type"] = "offline"
        status, body = await self._ask("POST", realm, form=form)
        return self._read(realm, status, body)

    def _read(self, realm: URL, status: int, body: bytes) -> Token:
        host = realm.authority
        if status in {400, 401, 403}:
            raise Forbidden(
                f"the token server {host} does not accept the credentials"
                if self._credentials != ANONYMOUS
                else f"the token server {host} gives no token without credentials",
                hint="log in again: wirt login",
                code="registry.denied",
            )
        if status != 200:
            raise refusal(status, b"", host=host, what="a token")
        return challenge.read_token(body, host=host)

    async def _ask(
        self,
        method: str,
        url: URL,
        *,
        headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        transport = self._transport
        trust = await transport.tls(url.authority)
        try:
            async with (
                asyncio.timeout(transport.patience.head),
                transport.http.request(
                    method, url, headers=headers, data=form, ssl=trust, allow_redirects=False
                ) as response,
            ):
                body = b""
                while chunk := await response.content.readany():
                    body += chunk
                    if len(body) > 4 * MAX_BODY:
                        raise Upstream(
                            f"the token server {url.host} answers without end",
                            code="registry.token",
                        )
                return response.status, body
        except _FAILURES as error:
            failed = broken(error, host=url.authority, what="a token")
            raise await dated(error, failed) from error
