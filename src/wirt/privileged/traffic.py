"""Traffic control by rtnetlink: queues, classes and filters (tc(8), linux/pkt_sched.h, pkt_cls.h).

Only what shaping needs: the token buckets of HTB (tc-htb(8)) on an intermediate device, and on a
guest's card the two hooks of ``clsact`` that send its frames through that device (tc-mirred(8)).
Rates are bits a second. Functions raise OSError naming what was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from wirt.model.resources import LEAST_NET_LIMIT
from wirt.privileged.links import check_name
from wirt.privileged.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    attribute,
    attributes,
    nested,
)

_NEWQDISC: Final = 36
_DELQDISC: Final = 37
_NEWTCLASS: Final = 40
_DELTCLASS: Final = 41
_GETTCLASS: Final = 42
_NEWTFILTER: Final = 44
_DELTFILTER: Final = 45

_TC: Final = struct.Struct("=BxxxiIII")

_KIND: Final = 1
_OPTIONS: Final = 2
_ROOT: Final = 0xFFFFFFFF
_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
INGRESS: Final = 0xFFFFFFF2
"""The hook for what comes from the guest."""
EGRESS: Final = 0xFFFFFFF3
"""The hook for what goes to the guest."""
_ALL: Final = 0x0003
"""ETH_P_ALL."""

_HTB_PARMS: Final = 1
_HTB_INIT: Final = 2
_HTB_RATE64: Final = 6
_HTB_CEIL64: Final = 7
_HTB_VERSION: Final = 3
_HTB_GLOBAL: Final = struct.Struct("=IIIII")
_RATE: Final = struct.Struct("=BBHhHI")
_HTB_CLASS: Final = struct.Struct("=12s12sIIIII")
_ETHERNET: Final = 1
_TICK: Final = 64
"""Nanoseconds (``PSCHED_SHIFT``)."""

_U32_CLASS: Final = 1
_U32_SELECTOR: Final = 5
_U32_ACTION: Final = 7
_U32_DEVICE: Final = 8
_EVERYTHING: Final = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
"""A selector with one key whose mask is empty."""
_MIRRED_PARMS: Final = 2
_MIRRED: Final = struct.Struct("=IIiiiiI")
_REDIRECT: Final = 1
_STOLEN: Final = 4

MAJOR: Final = 1 << 16
"""Handle of the only queue with classes; a class is ``MAJOR | number``."""
LEAST_RATE: Final = LEAST_NET_LIMIT
"""Bits a second that a class is promised at least, since HTB wants a rate."""
MOST_RATE: Final = 1_000_000_000_000
_FRAME: Final = 64 * 1024
"""Bytes of the largest frame: what segmentation offload hands on in one piece."""
_BURST: Final = 2 * _FRAME
_MTU: Final = 1_600
_QUANTUM: Final = (2_000, 64 * _FRAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """A bucket. ``number`` and ``parent``: 1 to 65535, parent 0 at the top. ``rate``: what it has
    for sure; ``ceiling``: what it may have with what others leave; both in bits a second.
    ``quantum``: bytes that it sends in its turn while it borrows."""

    number: int
    parent: int
    rate: int
    ceiling: int
    quantum: int


def quanta(shares: Sequence[int]) -> list[int]:
    """The quantum of each of some siblings with so many shares (1 to 10000): in proportion, the
    smallest one a whole frame, since a smaller one than its frames gives a class more than its
    part. Beyond 1:64 the smallest ones shrink."""
    low, high = _QUANTUM
    unit = min(_FRAME / min(shares), high / max(shares)) if shares else 0.0
    return [max(round(unit * share), low) for share in shares]


def add_buckets(netlink: Netlink, *, device: int) -> bool:
    """Give a device the queue that classes hang in; what no filter names passes freely. False when
    it has it already."""
    options = attribute(_HTB_INIT, _HTB_GLOBAL.pack(_HTB_VERSION, 10, 0, 0, 0))
    body = _message(device, MAJOR, _ROOT, 0, "htb", options)
    asked = f"add token buckets to interface {device}"
    try:
        netlink.request(_NEWQDISC, body, asked=asked, flags=NLM_F_CREATE | NLM_F_EXCL)
    except FileExistsError:
        return False
    return True


def set_class(netlink: Netlink, *, device: int, wish: Class) -> None:
    """Make a class, or change it. Its parent must be there. At the top there is nobody to borrow
    from, so the ceiling is the rate."""
    sure = wish.rate if wish.parent else wish.ceiling
    rate = min(max(sure, LEAST_RATE), MOST_RATE) // 8
    ceiling = max(min(wish.ceiling, MOST_RATE) // 8, rate)
    parameters = _HTB_CLASS.pack(
        _rate(rate), _rate(ceiling), _burst(rate, _MTU if wish.parent else _BURST),
        _burst(ceiling, _BURST), wish.quantum, 0, 0,
    )  # fmt: skip
    options = attribute(_HTB_PARMS, parameters)
    options += attribute(_HTB_RATE64, struct.pack("=Q", rate))
    options += attribute(_HTB_CEIL64, struct.pack("=Q", ceiling))
    parent = MAJOR | wish.parent if wish.parent else MAJOR
    body = _message(device, MAJOR | wish.number, parent, 0, "htb", options)
    asked = f"set class {wish.number} of interface {device}"
    netlink.request(_NEWTCLASS, body, asked=asked, flags=NLM_F_CREATE)


def delete_class(netlink: Netlink, *, device: int, number: int) -> None:
    """Remove a class that no filter and no class needs. Idempotent."""
    body = _TC.pack(socket.AF_UNSPEC, device, MAJOR | number, 0, 0)
    asked = f"delete class {number} of interface {device}"
    with _gone():
        netlink.request(_DELTCLASS, body, asked=asked)


def classes(netlink: Netlink, *, device: int) -> dict[int, int]:
    """The parent (0 at the top) of each class of a device, by its number."""
    body = _TC.pack(socket.AF_UNSPEC, device, 0, 0, 0)
    found = {}
    for answer in netlink.dump(_GETTCLASS, body, asked=f"list classes of interface {device}"):
        _, _, handle, parent, _ = _TC.unpack_from(answer)
        if dict(attributes(answer[_TC.size :])).get(_KIND) == b"htb\0":
            found[handle & 0xFFFF] = 0 if parent in {_ROOT, MAJOR} else parent & 0xFFFF
    return found


def set_filter(netlink: Netlink, *, device: int, card: str, number: int, priority: int) -> None:
    """Put what was redirected from ``card`` into class ``number``. ``priority``: 1 to 65535, the
    filter's own, by which it is found again."""
    options = attribute(_U32_CLASS, MAJOR | number) + attribute(_U32_SELECTOR, _EVERYTHING)
    options += attribute(_U32_DEVICE, check_name(card))
    delete_filter(netlink, device=device, priority=priority)
    body = _message(device, 0, MAJOR, _priority(priority), "u32", options)
    asked = f"lead frames of {card} into class {number}"
    netlink.request(_NEWTFILTER, body, asked=asked, flags=NLM_F_CREATE | NLM_F_EXCL)


def delete_filter(netlink: Netlink, *, device: int, priority: int) -> None:
    """Remove the filter of this priority. Idempotent."""
    _drop_filter(netlink, device, MAJOR, priority)


def redirect(netlink: Netlink, *, card: int, hook: int, device: int) -> None:
    """Send a card's frames of one direction (INGRESS, EGRESS) through another device."""
    body = _message(card, _CLSACT_HANDLE, _CLSACT, 0, "clsact", b"")
    with contextlib.suppress(FileExistsError):
        netlink.request(
            _NEWQDISC, body, asked=f"add hooks to interface {card}",
            flags=NLM_F_CREATE | NLM_F_EXCL,
        )  # fmt: skip
    parameters = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT, device)
    action = nested(
        1,
        attribute(_KIND, "mirred"),
        nested(_OPTIONS, attribute(_MIRRED_PARMS, parameters)),
    )
    options = attribute(_U32_SELECTOR, _EVERYTHING) + nested(_U32_ACTION, action)
    _drop_filter(netlink, card, hook, 1)
    body = _message(card, 0, hook, _priority(1), "u32", options)
    asked = f"redirect frames of interface {card} to {device}"
    netlink.request(_NEWTFILTER, body, asked=asked, flags=NLM_F_CREATE | NLM_F_REPLACE)


def release(netlink: Netlink, *, card: int) -> None:
    """Redirect nothing any more. Idempotent."""
    body = _TC.pack(socket.AF_UNSPEC, card, _CLSACT_HANDLE, _CLSACT, 0)
    with _gone():
        netlink.request(_DELQDISC, body, asked=f"remove hooks of interface {card}")


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """What shall be removed may not be there."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EINVAL}:
            raise


def _drop_filter(netlink: Netlink, device: int, parent: int, number: int) -> None:
    body = _TC.pack(socket.AF_UNSPEC, device, 0, parent, _priority(number))
    with _gone():
        netlink.request(_DELTFILTER, body, asked=f"delete filter {number} of {device}")


def _message(device: int, handle: int, parent: int, info: int, kind: str, options: bytes) -> bytes:
    body = _TC.pack(socket.AF_UNSPEC, device, handle, parent, info) + attribute(_KIND, kind)
    return body + (attribute(_OPTIONS, options) if options else b"")


def _priority(number: int) -> int:
    return number << 16 | socket.htons(_ALL)


def _rate(octets: int) -> bytes:
    """A ``tc_ratespec``; what does not fit into 32 bits is told by RATE64 and CEIL64."""
    return _RATE.pack(0, _ETHERNET, 0, -1, 0, min(octets, 2**32 - 1))


def _burst(octets: int, least: int) -> int:
    """How long a full bucket takes to fill, in the kernel's ticks: 10 ms, or as long as ``least``
    bytes take."""
    size = max(octets // 100, least)
    return min(size * 10**9 // octets // _TICK, 2**32 - 1)
