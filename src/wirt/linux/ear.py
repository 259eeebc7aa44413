"""Waiting for a trigger of pressure (see :mod:`wirt.linux.pressure`) in a loop of asyncio's."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable


class Ear:
    """Calls ``heard`` whenever a trigger fires, until it is closed or the trigger's group is gone.
    The descriptor is the ear's from now on.

    A trigger is *priority* data, which asyncio does not wait for; an epoll that does is readable as
    others are.
    """

    def __init__(self, fd: int, heard: Callable[[], None]) -> None:
        self._fd = fd
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._poll.register(fd, select.EPOLLPRI)
        self._loop.add_reader(self._poll.fileno(), self._ready)

    def _ready(self) -> None:
        # A trigger's event is gone once anybody has asked for it, and the loop has, to see whether
        # the epoll is readable: there need be nothing left in it.
        lasting = [events for _, events in self._poll.poll(0)]
        if any(events & (select.EPOLLERR | select.EPOLLHUP) for events in lasting):
            self.close()  # it would be said for ever
        else:
            self._heard()

    def close(self) -> None:
        """Listen no more."""
        if not self._poll.closed:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            os.close(self._fd)
