"""Packet sockets that hear only what a small program of the kernel's lets through (packet(7),
networking/filter.rst).

Nothing is sent by them, and of a frame no more than its first bytes is taken.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

_ALL: Final = 0x0003
_SO_ATTACH_FILTER: Final = 26
_SO_TIMESTAMPNS: Final = 35
_MOST: Final = 64
"""Bytes of a frame that are taken: none of what it carries is looked at."""
_LOAD_WORD, _LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06
_ARP: Final = 0x0806
_REQUEST: Final = 1
_STAMP: Final = struct.Struct("@qq")

Step = tuple[int, int, int, int]
"""Code, steps to jump when true, when false, operand."""


def for_card(mac: bytes, asked_for: bytes | None) -> list[Step]:
    """A program that lets through frames to this card, but those of ARP: kernels make sure of each
    other's addresses by themselves, some seconds after there was anything to say.

    ``mac``: 6 bytes. ``asked_for``: 4 bytes, an IPv4 address; questions who has it are let through.
    """
    arp, take, drop = 6, 10, 11
    return [
        (_LOAD_HALF, 0, 0, 12),
        (_JUMP_EQUAL, (drop if asked_for is None else arp) - 2, 0, _ARP),
        (_LOAD_WORD, 0, 0, 0),
        (_JUMP_EQUAL, 0, drop - 4, int.from_bytes(mac[:4])),
        (_LOAD_HALF, 0, 0, 4),
        (_JUMP_EQUAL, take - 6, drop - 6, int.from_bytes(mac[4:])),
        (_LOAD_HALF, 0, 0, 20),
        (_JUMP_EQUAL, 0, drop - 8, _REQUEST),
        (_LOAD_WORD, 0, 0, 38),
        (_JUMP_EQUAL, take - 10, drop - 10, int.from_bytes(asked_for or bytes(4))),
        (_RETURN, 0, 0, _MOST),
        (_RETURN, 0, 0, 0),
    ]


def listen(interface: str, program: Sequence[Step]) -> socket.socket:
    """Hear what goes through an interface, either way, as far as the program lets it through.

    Raises OSError. The caller closes it.
    """
    steps = b"".join(struct.pack("=HBBI", *step) for step in program)
    room = ctypes.create_string_buffer(steps, len(steps))
    about = struct.pack("@HP", len(program), ctypes.addressof(room))
    heard = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
    )
    try:
        heard.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, about)
        heard.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        heard.bind((interface, _ALL))  # without a protocol it heard nothing until now
    except BaseException:
        heard.close()
        raise
    return heard


def came_at(heard: socket.socket) -> int:
    """When the next frame came: Unix nanoseconds, 0 when the kernel does not say.

    Raises OSError: BlockingIOError when there is none, ENETDOWN when the interface is gone.
    """
    _, beside, _, _ = heard.recvmsg(_MOST, socket.CMSG_SPACE(_STAMP.size))
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack(data)
            return int(seconds * 10**9 + nanoseconds)
    return 0
