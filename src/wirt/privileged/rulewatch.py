"""Hears it when somebody else takes the instance's nftables table or its rules away.

``nft flush ruleset``, as firewalls do when they are reloaded, removes every table of the host:
guests would be without names, ports and a way out, and networks no longer apart, until something
else changed. The kernel tells every transaction (linux/netfilter/nf_tables.h); only what removes
is looked at, and what we do ourselves always leaves a whole table, or none where none was.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from wirt.layout import Layout
from wirt.privileged import publish
from wirt.privileged.netlink import HEADER, attributes

log = logging.getLogger("wirt.privileged")

_NETFILTER: Final = 12
_GROUP_NFTABLES: Final = 7
_SUBSYSTEM: Final = 10
_FAMILY_INET: Final = 1
_NEWTABLE, _DELTABLE, _DELCHAIN, _DELRULE, _NEWGEN = 0, 2, 5, 8, 15
_TABLE_NAME: Final = 1
"""The attribute that names the table, in messages about tables, chains and rules alike."""
_GENERIC: Final = struct.Struct("=BBH")
_BUFFER: Final = 1 << 20

PAUSE_MS: Final = 100
"""Milliseconds before the table is put back: whoever reloads rules takes several steps, and two
programs that undo each other shall not keep a processor busy."""


class RuleWatch:
    """A socket that hears of all transactions in this network namespace."""

    def __init__(self, layout: Layout) -> None:
        """Raises OSError where the kernel has no nftables."""
        self._layout = layout
        self._before = self._there = True  # until we hear otherwise
        self._cut = False
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((0, 1 << (_GROUP_NFTABLES - 1)))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def heard(self) -> Callable[[], None] | None:
        """Take what the kernel has told; what is to be done about it, or None."""
        return self._repair if self.removed() else None

    def removed(self) -> bool:
        """Take what the kernel has told: whether the table or rules of it were removed."""
        found = False
        while True:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return found
            except OSError as error:  # ENOBUFS: some of it was lost, so anything may have been
                log.warning("transactions of nftables were not heard: %s", error.strerror)
                found = True
                continue
            for kind, family, body in _messages(data):
                found = self._judge(kind, family, body) or found

    def _judge(self, kind: int, family: int, body: bytes) -> bool:
        """Follow one message; whether a transaction ends with it that has removed something."""
        if kind == _NEWGEN:
            damaged = self._before and (self._cut or not self._there)
            self._before, self._cut = self._there, False
            return damaged
        if family != _FAMILY_INET or not self._is_ours(body):
            return False
        if kind == _NEWTABLE:
            self._there, self._cut = True, False  # made anew, with all of its rules
        elif kind == _DELTABLE:
            self._there = False
        elif kind in {_DELCHAIN, _DELRULE}:
            self._cut = True
        return False

    def _is_ours(self, body: bytes) -> bool:
        named = next((value for key, value in attributes(body) if key == _TABLE_NAME), b"")
        return named.rstrip(b"\0") == self._layout.nft_table.encode()

    def _repair(self) -> None:
        select.poll().poll(PAUSE_MS)
        log.warning("table %s was changed by somebody else: put back", self._layout.nft_table)
        with publish.locked(self._layout):
            publish.rebuild(self._layout)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, family and attributes of each message about nftables in a datagram."""
    at = 0
    while at + HEADER.size + _GENERIC.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, at)
        if length < HEADER.size + _GENERIC.size or at + length > len(data):
            return
        if kind >> 8 == _SUBSYSTEM:
            family, _, _ = _GENERIC.unpack_from(data, at + HEADER.size)
            body = data[at + HEADER.size + _GENERIC.size : at + length]
            yield kind & 0xFF, family, body
        at += (length + 3) & ~3
