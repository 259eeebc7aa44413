"""The daemon's life: become unprivileged, put the world right, answer, end.

There is no orderly shutdown that start-up could not replace: SIGTERM only stops answering. Guests
go on, held by their keepers.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from wirt.daemon.account import become
from wirt.daemon.config import Config, parse
from wirt.daemon.wiring import Daemon
from wirt.errors import Conflict, WirtError

log = logging.getLogger("wirt.daemon")

BACKLOG = 512
SOCKET_MODE = 0o660


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT; returns the exit code."""
    config = parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
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
    listener = listen(config.layout.socket)
    daemon = Daemon(config)
    await daemon.open()
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


def listen(path: Path) -> socket.socket:
    """Bind the API socket. Raises Conflict when another daemon answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(os.fspath(path)) == 0:
            raise Conflict(
                f"another wirtd answers on {path}",
                hint="stop that one first, or use another --name",
                code="daemon.running",
            )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        if error.errno == errno.ENOENT:
            raise WirtError(
                f"there is no directory {path.parent}", hint="start the helper first"
            ) from error
        raise
    path.chmod(SOCKET_MODE)
    return listener
