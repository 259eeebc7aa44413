"""A listener of the registry: a TCP socket, perhaps with TLS, and its connections.

Nobody may hold many connections by doing nothing: the first request must come in
:data:`HEAD_SECONDS`, the next ones before the idle time is over, and there are at most
:data:`CONNECTIONS`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import ssl

from aiohttp import web

from wirt.aio import Nursery
from wirt.api.registry.app import Registry
from wirt.api.registry.caller import Gate
from wirt.errors import Conflict, Forbidden, Invalid
from wirt.host.registry.access import Access
from wirt.host.registry.accounts import Accounts
from wirt.host.registry.tokens import Tokens
from wirt.model.registry import Listener

log = logging.getLogger("wirt.registry")

CONNECTIONS = 512
HEAD_SECONDS = 20.0
IDLE_SECONDS = 60.0
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 1.0
ACCEPT_PAUSE = 0.2
BACKLOG = 512
READ_BUFFER = 512 * 1024


class Server:
    """One open listener."""

    def __init__(self, registry: Registry, gate: Gate) -> None:
        self._registry = registry
        self._gate = gate
        self._web = web.Server(
            self._answer,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=5.0,
            read_bufsize=READ_BUFFER,
        )
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        self._arriving = 0
        self._nursery = Nursery("registry")
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._socket is not None, "it is open"
        return int(self._socket.getsockname()[1])

    async def open(self, listener: Listener) -> None:
        """Listen. Raises Conflict, Forbidden or Invalid when the host does not let it."""
        context = tls(listener) if listener.tls else None
        family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (listener.host, listener.port), family=family, backlog=BACKLOG
            )
        except OSError as error:
            raise _unopened(listener, error) from error
        self._socket.setblocking(False)
        self._nursery.start(self._accept(self._socket, context), name="accept")

    async def close(self) -> None:
        """Listen no more, and end the connections."""
        await self._nursery.close()
        if self._socket is not None:
            self._socket.close()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        self._web.pre_shutdown()
        await self._web.shutdown(CLOSE_SECONDS)

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # gone before we looked, or no descriptor left
                log.warning("the registry could not take a connection: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._web.connections) + self._arriving >= CONNECTIONS:
                connection.close()
                continue
            self._arriving += 1
            self._nursery.start(self._welcome(connection, context), name="connection")

    async def _welcome(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        """Shake hands; who does not is as if they had not come."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
            )
        except (OSError, TimeoutError):
            connection.close()
        finally:
            self._arriving -= 1

    def _protocol(self) -> asyncio.BaseProtocol:
        protocol = self._web()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(HEAD_SECONDS, self._too_silent, protocol)
        return protocol

    def _too_silent(self, protocol: web.RequestHandler) -> None:
        self._silent.pop(protocol, None)
        protocol.force_close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await self._registry.handle(request, self._gate)


class Doors:
    """Opens listeners: what :class:`wirt.host.registry.listeners.Listeners` calls its door."""

    def __init__(self, registry: Registry, tokens: Tokens) -> None:
        self._registry = registry
        self._tokens = tokens

    async def open(self, listener: Listener, access: Access, accounts: Accounts) -> Server:
        """Open one. Raises Conflict, Forbidden, Invalid."""
        service = f"wirt-registry-{secrets.token_hex(4)}"
        gate = Gate(access=access, accounts=accounts, tokens=self._tokens, service=service)
        server = Server(self._registry, gate)
        await server.open(listener)
        return server


def tls(listener: Listener) -> ssl.SSLContext:
    """The TLS settings of a listener; its key touches no disk. Raises Invalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor = os.memfd_create("registry-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{listener.certificate}\n{listener.key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise Invalid(
            "the certificate and the key do not work together",
            hint="give PEM files: the certificate with its chain, and its key without a password",
            code="registry.certificate",
        ) from error
    finally:
        os.close(descriptor)
    return context


def _no_password() -> str:
    raise ValueError("the key needs a password")


def _unopened(listener: Listener, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"the address {listener.address} is in use",
            hint="choose another port, or end what listens there",
            code="registry.address-in-use",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Forbidden(
            f"wirtd may not listen on {listener.address}",
            hint="choose a port from 1024 on",
            code="registry.port",
        )
    return Invalid(
        f"wirtd cannot listen on {listener.address}: {error.strerror}",
        hint="choose an address of this host",
        code="registry.address",
    )
