"""Being told of pressure: triggers of the kernel's pressure stall information (accounting/psi.rst).

A trigger lives as long as the descriptor that it was written to. Whoever has that descriptor can
wait for it and can do nothing else with it: it takes one trigger, and the file's figures are
public.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

STALL: Final = 150_000
WINDOWS: Final = (1_000_000, 2_000_000)
"""Microseconds: it is told, once in a window at most, that something stood still for so long. The
second is for who lacks CAP_SYS_RESOURCE, root in some containers: windows are whole times 2 s
then."""


def trigger(file: Path) -> int:
    """Have the kernel tell when somebody in a group (``memory.pressure``) or on the whole host
    (``/proc/pressure/memory``) stands still for want of it; a descriptor, the caller's to close.

    Raises OSError where the kernel does not measure it or refuses, FileNotFoundError when the group
    is gone.
    """
    fd = os.open(file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            os.write(fd, _wish(WINDOWS[0]))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.write(fd, _wish(WINDOWS[1]))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _wish(window: int) -> bytes:
    return b"some %d %d\0" % (STALL, window)
