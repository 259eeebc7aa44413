"""A client's SSH agent inside a step: a socket here, of which each connection is carried there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

from wirt.aio import beside
from wirt.errors import WirtError
from wirt.image.build.step import SshMount, Stream

_CHUNK = 64 * 1024
_BACKLOG = 16


@contextlib.asynccontextmanager
async def listening(folder: Path, mounts: Sequence[SshMount]) -> AsyncIterator[dict[SshMount, str]]:
    """Names of sockets in ``folder``, one each, that lead to the mounts' agents for the block."""
    async with contextlib.AsyncExitStack() as stack:
        names: dict[SshMount, str] = {}
        for mount in mounts:
            name = f"{secrets.token_hex(16)}.sock"
            stack.callback((folder / name).unlink, missing_ok=True)
            server = await asyncio.start_unix_server(
                partial(carry, mount), sock=_bound(folder, name)
            )
            stack.callback(server.close)
            names[mount] = name
        yield names


def _bound(folder: Path, name: str) -> socket.socket:
    """A listening socket; the directory is reached by a descriptor, for paths may be too long."""
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"/proc/self/fd/{held}/{name}")
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(held)
    return listener


async def carry(
    mount: SshMount, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Bytes to the agent and back, until one side ends."""
    client: Stream = (reader, writer)
    try:
        agent = await mount.connect()
    except (WirtError, OSError):
        client[1].close()  # as if no agent were there
        return
    try:
        async with beside(_pump(client[0], agent[1])) as there:
            await _pump(agent[0], client[1])
            await there
    finally:
        for _, writer in (client, agent):
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
