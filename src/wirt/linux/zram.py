"""Compressed memory as swap: zram devices of this host, whose they are and what is in them.

A device has no owner. Whoever makes swap of one signs its header (``union swap_header`` in
``linux/swap.h``) with a UUID, by which it is found again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirt.linux import libc, procfs

CONTROL: Final = Path("/sys/class/zram-control")
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_MAGIC: Final = b"SWAPSPACE2"
_HEADER: Final = struct.Struct("=III16s16s")
_HEADER_AT: Final = 1024
_PREFER: Final = 0x8000
"""SWAP_FLAG_PREFER: the low bits are a priority."""
_PATIENCE: Final = 3.0
"""Seconds for which a device may be busy: programs that look for file systems, and others that look
for swap of their own, open each device for a moment."""


@dataclass(frozen=True, slots=True)
class Device:
    """``/dev/zram<number>``."""

    number: int

    @property
    def path(self) -> Path:
        """Its node."""
        return Path(f"/dev/zram{self.number}")

    @property
    def sys(self) -> Path:
        """Its attributes."""
        return Path(f"/sys/block/zram{self.number}")

    @property
    def size(self) -> int:
        """Bytes that it shows; 0 when nobody has set it up, or it is gone."""
        return self._numbers("disksize")[0]

    @property
    def stored(self) -> tuple[int, int]:
        """Bytes that were written into it, and bytes of memory that they take."""
        numbers = self._numbers("mm_stat")
        return numbers[0], numbers[2] if len(numbers) > 2 else 0

    def _numbers(self, name: str) -> list[int]:
        try:
            return [int(word) for word in (self.sys / name).read_text().split()] or [0]
        except (OSError, ValueError):
            return [0]

    def owner(self) -> uuid.UUID | None:
        """Who has signed its header; None when nobody has, or it is not set up."""
        try:
            with self.path.open("rb") as file:
                page = file.read(_PAGE)
        except OSError:
            return None
        if len(page) < _PAGE or page[-len(_MAGIC) :] != _MAGIC:
            return None
        return uuid.UUID(bytes=_HEADER.unpack_from(page, _HEADER_AT)[3])

    def claim(self, size: int) -> None:
        """Set it up with ``size`` bytes. Raises OSError (EBUSY) when somebody else has."""
        (self.sys / "disksize").write_text(str(size))

    def sign(self, owner: uuid.UUID, label: str) -> None:
        """Write a header for swap. ``label``: for people, cut to 15 bytes. Raises OSError."""
        name = label.encode()[:15]
        page = bytearray(_PAGE)
        _HEADER.pack_into(page, _HEADER_AT, 1, self.size // _PAGE - 1, 0, owner.bytes, name)
        page[-len(_MAGIC) :] = _MAGIC
        fd = os.open(self.path, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
        try:
            os.pwrite(fd, page, 0)
            os.fsync(fd)
        finally:
            os.close(fd)

    @property
    def swapping(self) -> bool:
        """Whether the kernel swaps to it."""
        return used(self) is not None

    def on(self, priority: int) -> None:
        """Swap to it, before swaps of lower priority. Raises OSError."""
        libc.swapon(self.path, _PREFER | priority)

    def off(self) -> None:
        """Take back what is in it, which takes its time. Raises OSError (ENOMEM: it does not fit
        into memory)."""
        libc.swapoff(self.path)

    def clear(self) -> None:
        """Give back its memory: nobody has set it up then. Raises OSError (EBUSY: in use, and not
        only for a moment)."""
        _patiently(self.sys / "reset", "1")

    def remove(self) -> None:
        """Let the kernel forget it. Raises OSError as :meth:`clear`."""
        _patiently(CONTROL / "hot_remove", str(self.number))


def _patiently(file: Path, text: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            file.write_text(text)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)  # noqa: TID251 - nothing tells of the last close
        else:
            return


def devices() -> list[Device]:
    """All there are, by number."""
    names = (re.fullmatch(r"zram(\d+)", path.name) for path in Path("/sys/block").iterdir())
    return [Device(n) for n in sorted(int(name[1]) for name in names if name is not None)]


def next_number() -> int:
    """What :func:`add` will make, unless somebody else adds one meanwhile: the kernel gives the
    lowest number that is free."""
    taken = {device.number for device in devices()}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def add() -> Device:
    """One more. Raises OSError (ENOENT: this kernel has no zram, or it is not loaded)."""
    return Device(int((CONTROL / "hot_add").read_text()))


def used(device: Device) -> int | None:
    """Bytes that are swapped out to it; None when it is no swap.

    Of its path the last part counts: /dev may be another mount for whoever swapped to it.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (procfs.PROC / "swaps").read_text().splitlines()[1:]:
            words = line.split()
            if words and words[0].rpartition("/")[2] == device.path.name:
                return int(words[3]) * 1024
    return None
