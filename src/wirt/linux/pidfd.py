"""Processes held by descriptor, so that a reused pid is never mistaken for the one we knew."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal

from wirt.linux import procfs


def open_same(pid: int, start: int) -> int | None:
    """A pidfd of process ``pid`` if it still is the one that started at ``start`` (clock ticks
    since boot, field 22 of /proc/PID/stat), else None. The caller closes it."""
    try:
        fd = os.pidfd_open(pid)
    except (ValueError, OverflowError):
        return None
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.EINVAL}:
            return None
        raise
    # The descriptor is held now: if the start time fits, it fits to the process behind it.
    if procfs.start_time(pid) == start and not ended(fd):
        return fd
    os.close(fd)
    return None


def ended(fd: int) -> bool:
    """Whether the process behind a pidfd has ended (it may still wait to be reaped)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def wait(fd: int, timeout: float) -> bool:
    """Block until the process has ended, at most ``timeout`` seconds; whether it has."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def send(fd: int, number: int) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


async def wait_ended(fd: int) -> None:
    """Wait for the end of a process, any process, without a thread."""
    import asyncio  # the helper, which has no event loop, need not load it

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(fd)
        if not done.done():
            done.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await done
    finally:
        with contextlib.suppress(ValueError):
            loop.remove_reader(fd)
