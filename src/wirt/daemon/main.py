"""The daemon's life: become unprivileged, put the world right, answer, end.

There is no orderly shutdown that start-up could not replace: SIGTERM only stops answering. Guests
go on, held by their keepers.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from wirt.api.http.malformed import shorten_malformed
from wirt.daemon.account import become
from wirt.daemon.config import Config, parse
from wirt.daemon.wiring import Daemon
from wirt.errors import Conflict, NotFound, WirtError

log = logging.getLogger("wirt.daemon")

BACKLOG = 512
SOCKET_MODE = 0o660


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT; returns the exit code."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
    except WirtError as error:
        sys.stderr.write(f"wirtd: {error.message}{f' ({error.hint})' if error.hint else ''}\n")
        return 1
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    shorten_malformed()
    try:
        if config.user is not None:
            become(config.user)
        asyncio.run(serve(config))
    except WirtError as error:
        log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return 1
    return 0


async def serve(config: Config) -> None:
    """Put the world right, then answer requests until told to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    watch_children_by_pidfd()
    lock(config.layout.run)
    daemon = Daemon(config)
    await daemon.open()
    listener = listen(config.layout.socket)
    runner = web.AppRunner(
        daemon.application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        daemon.begin()
        log.info("wirtd answers on %s", config.layout.socket)
        await ended.wait()
    finally:
        await runner.cleanup()
        await daemon.close()


def watch_children_by_pidfd() -> None:
    """Before 3.12 asyncio makes a thread for every child unless told otherwise."""
    if sys.version_info < (3, 12):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.get_event_loop_policy().set_child_watcher(watcher)


def lock(directory: Path) -> int:
    """Hold the instance's lock for as long as we live. Raises Conflict when another does."""
    try:
        descriptor = os.open(directory / "wirtd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no directory {directory}", hint="start the helper first"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict(
            f"another wirtd runs in {directory}",
            hint="stop that one first, or use another --name",
            code="daemon.running",
        ) from error
    return descriptor


def listen(path: Path) -> socket.socket:
    """Bind the API socket; the lock is ours, so a socket that is there is a dead daemon's."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    path.chmod(SOCKET_MODE)
    return listener
