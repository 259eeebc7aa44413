"""The HTTP client under all registries: one pool, no cookies, no proxies' or netrc's surprises, and
names that lead to reserved addresses lead nowhere."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

import wirt
from wirt.errors import Invalid
from wirt.image.remote.address import is_public_enough
from wirt.image.remote.endpoint import certificates
from wirt.image.remote.pace import Patience
from wirt.image.remote.settings import Settings, Trust

_BUFFER = 1024 * 1024
_CONNECTIONS = 16
"""To one host."""


class _Resolver(AbstractResolver):
    """Names to addresses, without those that no registry has."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        good = [one for one in found if is_public_enough(one["host"].partition("%")[0])]
        if not good:
            raise OSError(f"{host} leads to a reserved address only")
        return good

    async def close(self) -> None:
        await self._inner.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """One pool of connections, and what an administrator said. Closed by :meth:`close`."""

    http: aiohttp.ClientSession
    settings: Settings
    patience: Patience
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    async def close(self) -> None:
        """Close all connections."""
        await self.http.close()

    async def tls(self, host: str, trust: Trust | None = None) -> ssl.SSLContext:
        """How to know the server ``host[:port]``; ``trust``: instead of what is said about it.

        Raises Invalid for unreadable certificates.
        """
        if (known := self._contexts.get(host)) is None:
            folder = self.settings.certificates / host
            trust = trust or self.settings.of(host).trust
            known = self._contexts[host] = await asyncio.to_thread(_context, folder, trust)
        return known


def transport(settings: Settings, patience: Patience | None = None) -> Transport:
    """A transport; call it inside the event loop."""
    patience = patience or Patience()
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=_Resolver(), limit=0, limit_per_host=_CONNECTIONS, use_dns_cache=True
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect),
        headers={"User-Agent": f"wirt/{wirt.__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False,
        read_bufsize=_BUFFER,
        max_field_size=16 * 1024,
    )
    return Transport(http=http, settings=settings, patience=patience)


def _context(folder: Path, trust: Trust) -> ssl.SSLContext:
    trust = certificates(folder, trust)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in trust.ca:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise _unreadable(path, error) from error
    if trust.cert is not None:
        try:
            context.load_cert_chain(trust.cert, trust.key)
        except OSError as error:
            raise _unreadable(trust.cert, error) from error
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unreadable(path: Path, error: OSError) -> Invalid:
    return Invalid(
        f"cannot use the certificate {path}: {error.strerror or error}",
        hint="it must be a PEM file that the daemon's user may read",
        code="config.certificate",
    )
