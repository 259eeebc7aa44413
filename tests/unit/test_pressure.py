"""Triggers of pressure: what is heard, and when nothing is heard any more."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from waiting import eventually
from wirt.linux import pressure
from wirt.linux.ear import Ear


def urgent_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection over which priority data can be sent, as a trigger's event is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        return sender, server.accept()[0]


def test_priority_data_is_heard_until_the_end() -> None:
    async def story() -> None:
        sender, receiver = urgent_pair()
        heard: list[bool] = []
        with sender:
            ear = Ear(receiver.detach(), lambda: heard.append(True))
            sender.send(b"plain")
            sender.send(b"!", socket.MSG_OOB)
            await eventually(lambda: bool(heard), "it is heard")
            ear.close()
            ear.close()

    asyncio.run(story())


def test_a_group_that_is_gone_is_left_alone() -> None:
    """The kernel says so for ever: whoever did not let go would burn a processor."""

    async def story() -> None:
        receiver, sender = os.pipe()
        os.close(receiver)  # the other end of a broken pipe has an error, for ever
        heard: list[bool] = []
        Ear(sender, lambda: heard.append(True))

        def closed() -> bool:
            try:
                os.fstat(sender)
            except OSError:
                return True
            return False

        await eventually(closed, "its descriptor is closed")
        assert heard == []

    asyncio.run(story())


def test_what_is_no_such_file_is_an_error_and_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        pressure.trigger(tmp_path / "memory.pressure")
    with pytest.raises(OSError, match="Input/output error"):
        pressure.trigger(Path("/proc/self/mem"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
