"""Rtnetlink: messages, attributes and one socket; the operations are in ``links.py``.

Only what wirt needs, by plain sockets and ``struct`` (netlink(7), rtnetlink(7), linux/if_link.h).
A refusal of the kernel is an :class:`OSError` with its errno; the text says what was asked for
and, where the kernel explains itself (extended acknowledgement), why.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_BUFFER: Final = 1 << 18
_TRIES: Final = 20


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """One attribute, padded to four bytes: text gets its NUL, an ``int`` is a native ``u32``."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(inner))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of every whole attribute; a truncated one ends the walk."""
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size or at + length > len(data):
            return
        yield kind & _TYPE_MASK, data[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


class Netlink:
    """A netlink socket of the network namespace that the calling thread is in when it is made.

    The socket stays in that namespace: one opened before ``unshare`` still works on the host.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, kind: int, body: bytes, *, asked: str, flags: int = 0) -> None:
        """Send one message and wait for its acknowledgement.

        ``asked`` names in a few words what is wanted (``"add bridge wirt0"``). Raises OSError.
        """
        self._send(kind, body, flags | NLM_F_ACK)
        for got, _, payload in self._receive():
            if got == NLMSG_ERROR:
                return _acknowledge(payload, asked)
        raise OSError(errno.EPROTO, f"{asked}: no acknowledgement from the kernel")

    def get(self, kind: int, body: bytes, *, asked: str) -> bytes:
        """The body of the one message that answers a request. Raises OSError."""
        self._send(kind, body, 0)
        for got, _, payload in self._receive():
            if got != NLMSG_ERROR:
                return payload
            _acknowledge(payload, asked)
        raise OSError(errno.EPROTO, f"{asked}: no answer from the kernel")

    def dump(self, kind: int, body: bytes, *, asked: str) -> list[bytes]:
        """The bodies of all messages that answer a dump request. Raises OSError.

        A dump during which the table changed is begun anew.
        """
        for _ in range(_TRIES):
            found, whole = self._dump(kind, body, asked)
            if whole:
                return found
        raise OSError(errno.EAGAIN, f"{asked}: the table kept changing")

    def _dump(self, kind: int, body: bytes, asked: str) -> tuple[list[bytes], bool]:
        self._send(kind, body, NLM_F_DUMP)
        found: list[bytes] = []
        whole = True
        while True:
            for got, flags, payload in self._receive():
                whole = whole and not flags & NLM_F_DUMP_INTR
                if got == NLMSG_ERROR:
                    _acknowledge(payload, asked)
                elif got == NLMSG_DONE:
                    return found, whole
                else:
                    found.append(payload)

    def _send(self, kind: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        self._socket.send(
            HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0)
            + body
        )

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and body of each message of one datagram that answers the last request."""
        data, _, state, _ = self._socket.recvmsg(_BUFFER)
        if state & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "an answer of the kernel was cut off")
        at = 0
        while at + HEADER.size <= len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
            if length < HEADER.size:
                return
            if sequence == self._sequence:
                yield kind, flags, _body(kind, flags, data[at + HEADER.size : at + length])
            at += (length + 3) & ~3


def _body(kind: int, flags: int, payload: bytes) -> bytes:
    """The body; of an acknowledgement the error number and the kernel's sentence."""
    if kind != NLMSG_ERROR:
        return payload
    words = b""
    if flags & _NLM_F_ACK_TLVS and flags & _NLM_F_CAPPED:
        for key, value in attributes(payload[_ERRNO.size + HEADER.size :]):
            if key == _NLMSGERR_ATTR_MSG:
                words = value.rstrip(b"\0")
    return payload[: _ERRNO.size] + words


def _acknowledge(payload: bytes, asked: str) -> None:
    (number,) = _ERRNO.unpack_from(payload)
    if number:
        words = payload[_ERRNO.size :].decode(errors="replace")
        reason = os.strerror(-number) + (f" ({words})" if words else "")
        raise OSError(-number, f"{asked}: {reason}")
