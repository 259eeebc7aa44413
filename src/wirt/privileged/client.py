"""The daemon's side of the helper: many calls in flight on one connection, made again when lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from wirt.errors import Invalid, Unavailable
from wirt.privileged.answers import Answer, answer_type, to_error
from wirt.privileged.protocol import Verb
from wirt.privileged.wire import BrokenPacket, Channel, Packet, close_all

A = TypeVar("A", bound=msgspec.Struct)

HINT = "start the helper (systemctl start wirt-helper, or make up) and try again"
_RETRY_SECONDS = 0.05


def helper_pid(path: Path, *, patience: float = 0.0) -> int | None:
    """The process that serves the helper's socket, without asking it anything; None without one.

    Blocks for up to ``patience`` seconds until there is one.
    """
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(1.0)
            try:
                sock.connect(os.fspath(path))
                peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                return int.from_bytes(peer[:4], sys.byteorder)
            except OSError:
                if time.monotonic() >= deadline:
                    return None
        threading.Event().wait(_RETRY_SECONDS)  # nothing tells when the helper listens


class Helper:
    """Speaks to the helper at ``path``. Belongs to one event loop.

    ``patience``: seconds for which a call waits for a helper that is being restarted.
    """

    def __init__(self, path: Path, *, patience: float = 2.0) -> None:
        self._path = path
        self._patience = patience
        self._channel: Channel | None = None
        self._connecting = asyncio.Lock()
        self._calls: dict[int, asyncio.Future[Packet]] = {}
        self._last = 0

    async def call(self, verb: Verb[A], fds: Sequence[int] = ()) -> tuple[A, list[int]]:
        """Have ``verb`` carried out: its answer and the descriptors that came with it.

        ``fds`` stay the caller's (copies are sent); the returned ones are the caller's to close.
        Raises the :class:`~wirt.errors.WirtError` that the helper told, or
        :class:`~wirt.errors.Unavailable` when the helper is gone (a verb under way may then have
        been carried out or not: all verbs can be repeated). A cancelled call is carried out
        to its end; its answer is dropped.
        """
        channel = await self._connected()
        self._last = (self._last + 1) % 2**32
        packet_id = self._last
        future: asyncio.Future[Packet] = asyncio.get_running_loop().create_future()
        self._calls[packet_id] = future
        copies = [os.dup(fd) for fd in fds]
        try:
            channel.send(packet_id, msgspec.json.encode(verb), copies)
        except ValueError as error:
            del self._calls[packet_id]
            close_all(copies)
            raise Invalid(f"the request is too large for the root helper: {error}") from error
        except OSError as error:
            self._lost(channel, error)
        else:
            self._watch(channel)
        try:
            packet = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                close_all(future.result().fds)  # it came in the very moment of the cancellation
            raise
        told = msgspec.json.decode(packet.payload, type=Answer)
        if told.failure is not None:
            close_all(packet.fds)
            raise to_error(told.failure)
        answer = msgspec.json.decode(told.answer, type=answer_type(type(verb)))
        return answer, list(packet.fds)  # type: ignore[return-value]

    async def close(self) -> None:
        """End the connection; calls in flight fail with Unavailable."""
        if self._channel is not None:
            self._lost(self._channel, None)

    async def _connected(self) -> Channel:
        async with self._connecting:
            if self._channel is None:
                self._channel = await self._connect()
                loop = asyncio.get_running_loop()
                loop.add_reader(self._channel.fileno(), self._readable, self._channel)
            return self._channel

    async def _connect(self) -> Channel:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, os.fspath(self._path))
            except OSError as error:
                sock.close()
                if loop.time() >= deadline:
                    raise Unavailable(
                        f"the root helper does not answer at {self._path}: {error.strerror}",
                        hint=HINT,
                        code="helper.gone",
                    ) from error
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return Channel(sock)

    def _readable(self, channel: Channel) -> None:
        try:
            while (packet := channel.receive()) is not None:
                future = self._calls.pop(packet.id, None)
                if future is None or future.done():
                    close_all(packet.fds)
                else:
                    future.set_result(packet)
        except (EOFError, BrokenPacket, OSError) as error:
            self._lost(channel, error)

    def _writable(self, channel: Channel) -> None:
        try:
            channel.flush()
        except OSError as error:
            self._lost(channel, error)
        else:
            self._watch(channel)

    def _watch(self, channel: Channel) -> None:
        loop = asyncio.get_running_loop()
        if channel.pending:
            loop.add_writer(channel.fileno(), self._writable, channel)
        else:
            loop.remove_writer(channel.fileno())

    def _lost(self, channel: Channel, error: BaseException | None) -> None:
        if self._channel is not channel:
            return
        self._channel = None
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ValueError):
            loop.remove_reader(channel.fileno())
            loop.remove_writer(channel.fileno())
        channel.close()
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                reason = f": {error}" if error is not None and str(error) else ""
                future.set_exception(
                    Unavailable(f"the root helper went away{reason}", hint=HINT, code="helper.gone")
                )
