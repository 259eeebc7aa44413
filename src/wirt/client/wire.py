"""HTTP/1.1 over a unix socket, by hand: the client's hot path imports nothing but ``_socket``.

One :class:`Connection` carries one request at a time and is kept alive between requests. It decodes
chunked bodies, streams uploads, and gives its socket away after ``101 Upgrade`` (RFC 9112, RFC 9110
section 7.8). Errors of the daemon become the same :class:`~wirt.errors.WirtError` classes again.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wirt.errors import WirtError

MAX_HEAD = 65_536
"""Bytes of an answer's status line and headers."""
READ_SIZE = 262_144
MAX_PROBLEM = 1 << 20
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, *, keep: str = "") -> str:
    """Percent-encode (RFC 3986 section 2) everything but unreserved characters and ``keep``."""
    safe = _SAFE | frozenset(keep.encode())
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in data)


def target(path: str, query: Iterable[tuple[str, str | int | bool | None]] = ()) -> str:
    """``path?a=b`` of an already quoted path; pairs whose value is None are left out."""
    pairs = []
    for name, value in query:
        if value is None:
            continue
        text = ("1" if value else "0") if isinstance(value, bool) else str(value)
        pairs.append(f"{name}={quote(text)}")
    return f"{path}?{'&'.join(pairs)}" if pairs else path


class Lost(Exception):
    """The connection ended in the middle of something."""


class Response:
    """The head of an answer, and its body on demand. ``headers`` have lower-case names."""

    __slots__ = ("_connection", "_left", "_mode", "headers", "status")

    def __init__(
        self, connection: Connection, *, status: int, headers: dict[str, str], bodiless: bool
    ) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers
        self._left = 0
        if bodiless or status in {101, 204, 304}:
            self._mode = "none"
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._mode = "chunked"
        elif "content-length" in headers:
            self._mode = "length"
            self._left = int(headers["content-length"])
        else:
            self._mode = "close"

    def chunks(self) -> Iterator[bytes]:
        """The body's bytes as they come. Raises :class:`Lost` when it ends too early."""
        connection = self._connection
        if self._mode == "chunked":
            yield from self._chunked()
        elif self._mode == "length":
            while self._left:
                data = connection.take(self._left)
                self._left -= len(data)
                yield data
        elif self._mode == "close":
            while data := connection.take(READ_SIZE, end=True):
                yield data
            connection.close()
        self._mode = "none"

    def _chunked(self) -> Iterator[bytes]:
        connection = self._connection
        while True:
            line = connection.line()
            try:
                left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Lost(f"bad chunk size {line[:40]!r}") from None
            if left == 0:
                break
            while left:
                data = connection.take(left)
                left -= len(data)
                yield data
            if connection.line() != b"":
                raise Lost("a chunk is longer than it said")
        while connection.line() != b"":
            pass

    def read(self, limit: int = 1 << 30) -> bytes:
        """The whole body, at most ``limit`` bytes."""
        parts = []
        size = 0
        for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise Lost(f"the answer is longer than {limit} bytes")
        return b"".join(parts)

    def lines(self) -> Iterator[bytes]:
        """The body's non-empty lines as they come, without their ends."""
        rest = b""
        for part in self.chunks():
            rest += part
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if line := line.strip():
                    yield line
        if rest := rest.strip():
            yield rest

    def problem(self) -> WirtError:
        """The error that this answer tells of, as the class that the daemon raised."""
        return problem(self.status, self.read(MAX_PROBLEM))


class Connection:
    """One connection to the daemon's socket at ``path``; opened on first use."""

    __slots__ = ("_buffer", "_socket", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: _socket.socket | None = None
        self._buffer = b""

    def open(self) -> _socket.socket:
        """The connected socket. Raises OSError."""
        if self._socket is None:
            made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            try:
                made.connect(self.path)
            except OSError:
                made.close()
                raise
            self._socket = made
            self._buffer = b""
        return self._socket

    @property
    def is_open(self) -> bool:
        """Whether a request would go to a connection that was used before."""
        return self._socket is not None

    @property
    def has_bytes(self) -> bool:
        """Whether bytes of the answer are here already, so that poll(2) would not tell of them."""
        return bool(self._buffer)

    @property
    def has_more(self) -> bool:
        """As :attr:`has_bytes`, but the end of a chunk that was taken does not count."""
        return self._buffer not in {b"", b"\r", b"\r\n"}

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def give(self) -> tuple[_socket.socket, bytes]:
        """Give the socket away after an upgrade, with bytes already read behind the head."""
        taken, self._socket = self.open(), None
        rest, self._buffer = self._buffer, b""
        return taken, rest

    def send(self, method: str, where: str, *, body: bytes = b"", kind: str = "") -> None:
        """Send a request whole. ``kind``: content type, or ``upgrade`` to ask for a raw stream."""
        if kind == "upgrade":
            extra = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        else:
            extra = f"Content-Type: {kind}\r\n" if kind else ""
        head = f"{method} {where} HTTP/1.1\r\nHost: wirt\r\n{extra}Content-Length: {len(body)}\r\n"
        self.open().sendall(head.encode("ascii") + b"\r\n" + body, _socket.MSG_NOSIGNAL)

    def upload(self, method: str, where: str, parts: Iterable[bytes], *, kind: str) -> Response:
        """Send a body of unknown length chunk by chunk; an early answer ends it."""
        head = (
            f"{method} {where} HTTP/1.1\r\nHost: wirt\r\nContent-Type: {kind}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        sock = self.open()
        try:
            sock.sendall(head.encode("ascii"), _socket.MSG_NOSIGNAL)
            for part in parts:
                if part:
                    sock.sendall(b"%x\r\n" % len(part), _socket.MSG_NOSIGNAL | _socket.MSG_MORE)
                    sock.sendall(part, _socket.MSG_NOSIGNAL | _socket.MSG_MORE)
                    sock.sendall(b"\r\n", _socket.MSG_NOSIGNAL)
            sock.sendall(b"0\r\n\r\n", _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon said no before it had read everything: its answer is waiting
        return self.receive()

    def receive(self, *, head: bool = False) -> Response:
        """The answer's head; ``head``: the request was HEAD, so no body follows."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Lost("the answer's headers are too long")
            self._more()
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise Lost(f"this is no HTTP answer: {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Response(self, status=int(rest[:3]), headers=headers, bodiless=head)

    def request(self, method: str, where: str, *, body: bytes = b"", kind: str = "") -> Response:
        """Send and receive the head."""
        self.send(method, where, body=body, kind=kind)
        return self.receive(head=method == "HEAD")

    def take(self, most: int, *, end: bool = False) -> bytes:
        """At least one and at most ``most`` bytes; with ``end`` empty bytes at the stream's end."""
        if not self._buffer:
            if self._socket is None:
                raise Lost("the connection is closed")
            data = self._socket.recv(min(most, READ_SIZE))
            if not data and not end:
                raise Lost("the daemon closed the connection")
            return data
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        return data

    def line(self) -> bytes:
        """One line without its CR LF."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Lost("a line is too long")
            self._more()
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def _more(self) -> None:
        data = self._socket.recv(READ_SIZE) if self._socket is not None else b""
        if not data:
            raise Lost("the daemon closed the connection")
        self._buffer += data


_BY_STATUS = {400: "invalid", 403: "forbidden", 404: "not-found", 409: "conflict"}
"""Kinds of answers without a body: those to HEAD (RFC 9110 section 9.3.2)."""


def problem(status: int, body: bytes) -> WirtError:
    """The error of a problem answer; anything that is no problem JSON is an internal error."""
    from wirt.client.fastjson import decode
    from wirt.errors import BY_KIND, Internal, Kind

    try:
        told = decode(body)
        cls = BY_KIND[Kind(told["kind"])]
        facts = {k: v for k, v in told.get("facts", {}).items() if k.isidentifier()}
        error = cls(str(told["message"]), hint=told.get("hint"), code=told.get("code"), **facts)
        for note in told.get("notes", ()):
            error.add_note(str(note))
    except (ValueError, KeyError, TypeError, AttributeError):
        if not body and status in _BY_STATUS:
            return BY_KIND[Kind(_BY_STATUS[status])](f"the daemon answered {status}")
        return Internal(
            f"the daemon answered {status} without an explanation",
            hint="is this wirt's socket? see 'wirt info'",
        )
    return error
