"""Packets between daemon and helper: JSON with descriptors over a unix stream socket.

A packet is ``u32 length, u32 id`` (big endian), then ``length`` bytes. Its descriptors travel as
SCM_RIGHTS with its first byte, so a reader that asks for exactly the header gets exactly its
descriptors: the kernel never reads past bytes that carry some (unix(7)).
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

MAX_PAYLOAD = 8 * 1024 * 1024
MAX_DESCRIPTORS = 16

_HEADER = struct.Struct("!II")
_FD_SIZE = array.array("i").itemsize
_CHUNK = 256 * 1024


class BrokenPacket(Exception):
    """The other side broke the framing; the connection is of no further use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One whole packet. Whoever receives it owns ``fds``."""

    id: int
    payload: bytes
    fds: tuple[int, ...] = ()


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors; one that is closed already is none of our business."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


class Channel:
    """One end of a connection: whole packets in and out of a non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._head = bytearray()
        self._body = bytearray()
        self._fds: list[int] = []
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, -1 when closed."""
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """Whether there is output that the socket has not taken yet."""
        return bool(self._out)

    def send(self, packet_id: int, payload: bytes, fds: Sequence[int] = ()) -> None:
        """Queue a packet, owning ``fds`` from now on (closed once sent), and try to send.

        Raises ValueError beyond :data:`MAX_PAYLOAD` or :data:`MAX_DESCRIPTORS`, OSError when the
        other side is gone.
        """
        if len(payload) > MAX_PAYLOAD or len(fds) > MAX_DESCRIPTORS:
            raise ValueError(f"packet of {len(payload)} bytes, {len(fds)} descriptors")
        data = _HEADER.pack(len(payload), packet_id) + payload
        self._out.append((memoryview(data), tuple(fds)))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            close_all(fds)
            if sent == len(data):
                self._out.popleft()
            else:
                self._out[0] = (data[sent:], ())

    def receive(self) -> Packet | None:
        """The next whole packet, or None when more bytes must come first.

        Raises EOFError at the end of the stream, :class:`BrokenPacket` for bad framing.
        """
        if len(self._head) < _HEADER.size:
            if not self._read_header():
                return None
            if _HEADER.unpack(self._head)[0] > MAX_PAYLOAD:
                raise BrokenPacket(f"a packet of {_HEADER.unpack(self._head)[0]} bytes")
        length, packet_id = _HEADER.unpack(self._head)
        while len(self._body) < length:
            try:
                chunk = self._sock.recv(min(length - len(self._body), _CHUNK))
            except BlockingIOError:
                return None
            if not chunk:
                raise EOFError
            self._body += chunk
        packet = Packet(id=packet_id, payload=bytes(self._body), fds=tuple(self._fds))
        self._head, self._body, self._fds = bytearray(), bytearray(), []
        return packet

    def _read_header(self) -> bool:
        while len(self._head) < _HEADER.size:
            try:
                data, control, flags, _ = self._sock.recvmsg(
                    _HEADER.size - len(self._head),
                    socket.CMSG_SPACE(MAX_DESCRIPTORS * _FD_SIZE),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return False
            for level, kind, raw in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(raw[: len(raw) - len(raw) % _FD_SIZE])
                    self._fds.extend(numbers)
            if flags & socket.MSG_CTRUNC or len(self._fds) > MAX_DESCRIPTORS:
                raise BrokenPacket("too many descriptors")
            if not data:
                raise EOFError
            self._head += data
        return True

    def close(self) -> None:
        """Close the socket and every descriptor that waits here."""
        close_all(self._fds)
        self._fds = []
        for _, fds in self._out:
            close_all(fds)
        self._out.clear()
        self._sock.close()
