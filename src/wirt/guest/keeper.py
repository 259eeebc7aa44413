"""The daemon's side of one keeper's control connection (``docs/reference/keeper-protocol.md``).

One connection per running guest, requests multiplexed by channel, events handed to one callback.
Nothing is awaited in between: a request is written at once, and the answer wakes its caller.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

from wirt.errors import (
    Conflict,
    Exhausted,
    Internal,
    Invalid,
    NotFound,
    Timeout,
    Unavailable,
    Unsupported,
    WirtError,
)
from wirt.guest.frame import (
    FrameParser,
    Malformed,
    Record,
    RecordParser,
    decode_record,
    encode_record,
    pairs_of,
    record_frames,
)

__all__ = ["KeeperLink", "Record", "Request"]

VERSION = "1"
SLOW = "keeper.slow"
"""Code of the error when a keeper is there but has not answered in time."""
_OK, _ERROR, _EVENT = 128, 129, 130
_PATH_MAX = 107
_READ = 256 * 1024

_KINDS: Mapping[int, type[WirtError]] = {
    errno.ENOENT: NotFound,
    errno.ESRCH: NotFound,
    errno.EEXIST: Conflict,
    errno.EBUSY: Conflict,
    errno.EALREADY: Conflict,
    errno.ENOTTY: Conflict,
    errno.EINVAL: Invalid,
    errno.ENOTDIR: Invalid,
    errno.EISDIR: Invalid,
    errno.ENAMETOOLONG: Invalid,
    errno.EOPNOTSUPP: Unsupported,
    errno.EPROTO: Unsupported,
    errno.EMFILE: Exhausted,
    errno.ENFILE: Exhausted,
    errno.ENOMEM: Exhausted,
    errno.ENOSPC: Exhausted,
    errno.EDQUOT: Exhausted,
    errno.EIO: Unavailable,
    errno.ETIMEDOUT: Timeout,
}


class Request(IntEnum):
    """Frame types of requests."""

    HELLO = 1
    ATTACH = 2
    START = 3
    SIGNAL = 4
    RESIZE = 5
    EXEC = 6
    AGENT = 7


def _number(record: Record, key: str) -> int:
    text = record.get(key, ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() else 0


def error_of(record: Record) -> WirtError:
    """The error that an ERROR record stands for: what could not be run is the caller's mistake
    (126, 127), everything else is named by its errno."""
    number, code = _number(record, "errno"), _number(record, "exit")
    kind = Invalid if code in (126, 127) else _KINDS.get(number, Internal)
    message = record.get("message", [""])[0] or "the keeper refused the request"
    error = kind(message, code="guest.cannot-run" if code else None)
    error.facts.update({name: n for name, n in (("errno", number), ("exit", code)) if n})
    return error


def _connect(path: Path) -> socket.socket:
    """A connected non-blocking socket. Raises OSError; BlockingIOError when the queue is full."""
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    directory = -1
    try:
        address = os.fspath(path)
        if len(os.fsencode(address)) > _PATH_MAX:
            directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{path.name}"
        conn.connect(address)
    except BaseException:
        conn.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    return conn


class KeeperLink:
    """A live control connection. All methods run on the event loop's thread.

    ``on_event`` and ``on_closed`` are called by the loop, in the order in which things came, so
    that an error in one of them hurts nothing here. ``on_closed`` is called once, after the last
    event, when the keeper ends the connection or breaks the protocol; it is not called after
    :meth:`close`. ``hello`` is the keeper's answer to HELLO.
    """

    hello: Record

    def __init__(
        self,
        conn: socket.socket,
        *,
        on_event: Callable[[Record], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.hello = {}
        self._conn = conn
        self._on_event = on_event
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._frames = FrameParser()
        self._records = RecordParser()
        self._out: deque[tuple[memoryview, int]] = deque()
        self._waiting: dict[int, asyncio.Future[Record]] = {}
        self._channel = 0
        self._loop.add_reader(conn.fileno(), self._readable)

    @classmethod
    async def connect(
        cls,
        path: Path,
        *,
        on_event: Callable[[Record], None],
        on_closed: Callable[[], None],
        timeout: float = 5.0,
    ) -> KeeperLink:
        """Connect and exchange HELLO within ``timeout`` seconds.

        Events may arrive before this returns. Raises :class:`~wirt.errors.Unavailable`, with the
        code :data:`SLOW` when somebody holds the socket and did not answer: a process that is gone
        refuses at once.
        """
        try:
            async with asyncio.timeout(timeout):
                conn = await cls._connected(path)
                link = cls(conn, on_event=on_event, on_closed=on_closed)
                try:
                    link.hello = await link.request(Request.HELLO, {})
                except BaseException:
                    await link.close()
                    raise
        except TimeoutError:
            raise Unavailable(f"the keeper at {path} does not answer", code=SLOW) from None
        except OSError as error:
            raise Unavailable(f"no keeper answers at {path}: {error.strerror}") from error
        if link.hello.get("version") != [VERSION]:
            await link.close()
            raise Unavailable(f"the keeper at {path} speaks another protocol version")
        return link

    @staticmethod
    async def _connected(path: Path) -> socket.socket:
        while True:
            try:
                return _connect(path)
            except BlockingIOError:
                # The keeper's queue of connections is full: nothing tells when it has room.
                await asyncio.sleep(0.01)

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._conn.fileno() < 0

    async def request(
        self,
        request: Request,
        record: Mapping[str, Sequence[str]],
        *,
        descriptor: int | None = None,
    ) -> Record:
        """Send a request and wait for its answer.

        ``descriptor`` stays the caller's, who may close it when this returns or raises. ERROR
        answers are raised as :class:`~wirt.errors.WirtError` kinds with ``facts["exit"]`` and
        ``facts["errno"]`` when the keeper sent them; a connection that ends before the answer is
        :class:`~wirt.errors.Unavailable`. Cancelling does not undo the request.
        """
        if self.closed:
            raise Unavailable("the keeper's connection is closed")
        try:
            data = encode_record(pairs_of(record))
        except ValueError as error:
            raise Invalid(f"this cannot be passed to a guest: {error}") from error
        self._channel = self._channel % 0xFFFF_FFFF + 1
        channel = self._channel
        answer: asyncio.Future[Record] = self._loop.create_future()
        self._waiting[channel] = answer
        try:
            # A copy: the caller may be cancelled and close its own before this one is sent.
            copy = -1 if descriptor is None else os.dup(descriptor)
            self._out.append((memoryview(record_frames(int(request), channel, data)), copy))
            self._flush()
            return await answer
        finally:
            self._waiting.pop(channel, None)

    async def close(self) -> None:
        """Close the connection; the guest is not touched. Idempotent."""
        self._drop()

    # --- the socket ---------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write until the socket is full. A descriptor goes with the first byte of its frame."""
        try:
            while self._out:
                data, descriptor = self._out[0]
                if descriptor >= 0:
                    sent = socket.send_fds(self._conn, [data], [descriptor], socket.MSG_NOSIGNAL)
                    os.close(descriptor)
                else:
                    sent = self._conn.send(data, socket.MSG_NOSIGNAL)
                if sent == len(data):
                    self._out.popleft()
                else:
                    self._out[0] = (data[sent:], -1)
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._conn.fileno(), self._flush)
            return
        except OSError:
            self._lost()
            return
        self._loop.remove_writer(self._conn.fileno())

    def _readable(self) -> None:
        try:
            data = self._conn.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            for frame in self._frames.feed(data):
                whole = self._records.add(frame)
                if whole is not None:
                    self._arrived(frame.type, frame.channel, decode_record(whole))
                if self.closed:
                    return
        except Malformed:
            self._lost()

    def _arrived(self, kind: int, channel: int, record: Record) -> None:
        if kind == _EVENT:
            self._loop.call_soon(self._on_event, record)
            return
        if kind not in (_OK, _ERROR):
            raise Malformed("an unknown kind of answer")
        answer = self._waiting.pop(channel, None)
        if answer is None or answer.done():
            return
        if kind == _OK:
            answer.set_result(record)
        else:
            answer.set_exception(error_of(record))

    def _lost(self) -> None:
        if not self.closed:
            self._drop()
            self._loop.call_soon(self._on_closed)

    def _drop(self) -> None:
        if self.closed:
            return
        self._loop.remove_reader(self._conn.fileno())
        self._loop.remove_writer(self._conn.fileno())
        self._conn.close()
        for _, descriptor in self._out:
            if descriptor >= 0:
                os.close(descriptor)
        self._out.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the keeper ended the connection"))
        self._waiting.clear()
