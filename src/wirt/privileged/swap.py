"""Compressed memory as swap of this instance: made, found again after a kill, and taken away.

The device is signed with a UUID made of the instance's name, so nobody else's is ever touched.
Before it is signed and after it is cleared a device is nobody's; which one that is, and how large,
is written down before, in ``<run>/zram``; before one is added, the number that the kernel will give
it. It is given up only while nothing was written to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wirt.errors import Conflict, Unsupported
from wirt.layout import Layout
from wirt.linux import zram
from wirt.linux.zram import Device
from wirt.model.units import format_size
from wirt.privileged.faults import fault

FILE: Final = "zram"
PRIORITY: Final = 100
"""Before swap on disks, whose priorities are negative unless somebody chose otherwise."""
_SPACE: Final = uuid.UUID("1f6a3e0c-5f0e-4d0b-9b35-7c2f8f0f9a51")
_RECORD: Final = 48
"""Bytes of what is written down, in one write."""


def owner(layout: Layout) -> uuid.UUID:
    """What the instance signs its device with."""
    return uuid.uuid5(_SPACE, layout.name)


def provide(layout: Layout, size: int) -> int | None:
    """Have ``size`` bytes of swap, or none with 0; the device's number. Idempotent: whatever a
    killed call has left is used, or taken away.

    Raises Unsupported (no zram), Conflict (what is swapped out does not fit into memory).
    """
    size -= size % os.sysconf("SC_PAGESIZE")
    with _record(layout) as record:
        _give_up(record)
        fitting = None
        for device in _own(layout):
            if fitting is None and size and device.size == size:
                fitting = device
            else:
                _take_away(device, record)
        if not size:
            return None
        if fitting is None:
            fitting = _make(layout, record, size)
        if not fitting.swapping:
            fitting.on(PRIORITY)
        return fitting.number


def _own(layout: Layout) -> list[Device]:
    return [one for one in zram.devices() if one.size and one.owner() == owner(layout)]


def _make(layout: Layout, record: int, size: int) -> Device:
    for _ in range(8):  # somebody else may take the one that we have found
        device = _free(record)
        _write(record, f"{device.number} {size}")
        fault("swap.recorded")
        try:
            device.claim(size)
        except OSError as error:
            if error.errno in {errno.EBUSY, errno.ENOENT, errno.ENODEV}:  # set up, or removed
                continue
            raise _refused(size, error) from error
        fault("swap.claimed")
        device.sign(owner(layout), layout.name)
        fault("swap.signed")
        _write(record, "")
        return device
    raise Conflict("every zram device is taken", hint="see zramctl", code="swap.taken")


def _free(record: int) -> Device:
    """One that nobody has set up: left by a kill, or a new one. Never the first, which is there
    from the start and which others name in their settings."""
    for device in zram.devices():
        if device.number and not device.size:
            return device
    _write(record, f"{zram.next_number()} 0")
    try:
        device = zram.add()
    except OSError as error:
        raise Unsupported(
            f"this host cannot make compressed swap: {zram.CONTROL}/hot_add: "
            f"{os.strerror(error.errno or 0)}",
            hint="load the module with 'modprobe zram' (Debian: in linux-image-amd64), "
            "or leave out pool.zram",
            code="swap.zram",
        ) from error
    fault("swap.added")
    return device


def _refused(size: int, error: OSError) -> Conflict:
    why = os.strerror(error.errno or 0)
    compressor = "load what zram compresses with, as 'modprobe lzo-rle'"
    return Conflict(
        f"the kernel refuses compressed swap of {format_size(size)}: {why}",
        hint=compressor if error.errno == errno.EINVAL else "give a smaller pool.zram",
        code="swap.size",
    )


def _take_away(device: Device, record: int) -> None:
    if (used := zram.used(device)) is not None:
        try:
            device.off()
        except OSError as error:
            raise Conflict(
                f"{format_size(used)} in the compressed swap cannot come back: "
                f"{os.strerror(error.errno or 0)}",
                hint="stop guests that are swapped out first: see 'wirt governor status'",
                code="swap.used",
            ) from error
    fault("swap.off")
    _write(record, f"{device.number} 0")  # once cleared it is signed no more
    with _unopened(device):
        device.clear()
        fault("swap.cleared")
        device.remove()
    _write(record, "")


def _give_up(record: int) -> None:
    """What was set up and not signed, or cleared and not removed, unless somebody has written to
    it meanwhile."""
    number, _, size = os.pread(record, _RECORD, 0).decode("ascii", "replace").partition(" ")
    if number.isdecimal() and size.strip().isdecimal():
        device = Device(int(number))
        untouched = device.size == int(size) and device.stored[0] == 0 and not device.swapping
        if untouched or device.size == 0:
            _forget(device)
        _write(record, "")


def _forget(device: Device) -> None:
    with _unopened(device):
        if device.size:
            device.clear()
        if device.sys.exists():
            device.remove()


@contextmanager
def _unopened(device: Device) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise Conflict(
            f"{device.path}, which is to go, is kept open by another program",
            hint=f"'fuser -v {device.path}' tells which one; end it, or try again",
            code="swap.busy",
        ) from error


@contextmanager
def _record(layout: Layout) -> Iterator[int]:
    """The file, ours alone meanwhile: the kernel lets go of it with the process."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(layout.run / FILE, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _write(record: int, text: str) -> None:
    os.pwrite(record, text.ljust(_RECORD).encode(), 0)
