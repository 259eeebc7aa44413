"""What a forked child of the helper does first and last, and who may ask for one."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import NoReturn, Protocol

from wirt.linux import libc

log = logging.getLogger("wirt.privileged")


class Ear(Protocol):
    """Something that the kernel tells by itself, as who watches it hears."""

    def fileno(self) -> int:
        """For poll(2)."""
        ...

    def heard(self) -> Callable[[], None] | None:
        """Take what there is; what is to be done about it, in a child, or None."""
        ...


def run(work: Callable[[], None], *, parent: int, keep: tuple[int, ...] = ()) -> NoReturn:
    """Do ``work`` in a child just forked by ``parent``, and end without any of the helper's
    clean-up. It dies with the helper and has no descriptors of it but ``keep``."""
    status = 1
    try:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.close_except(keep)
        work()
        status = 0
    except BaseException as error:
        log.error("a child failed", exc_info=error)
    finally:
        os._exit(status)
