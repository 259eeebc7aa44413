"""The async client's guests and their further processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from wirt.aio import shielded
from wirt.client.aio.answers import (
    Created,
    Ended,
    Identity,
    Inspection,
    Output,
    Processes,
    Sample,
    Summary,
    Warned,
)
from wirt.client.aio.stream import Stream
from wirt.client.aio.transport import Query, Transport
from wirt.client.wire import quote
from wirt.errors import WirtError
from wirt.model.guest import ExecSpec, GuestClass, GuestSpec, Isolation, RestartPolicy
from wirt.model.idle import IdleWish
from wirt.model.network import PortMap
from wirt.model.resources import Resources


def _at(guest: str, verb: str = "") -> str:
    return f"/v1/guests/{quote(guest)}{verb}"


class Guests:
    """Guests by name, id or beginning of an id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, spec: GuestSpec, *, name: str | None = None) -> Created:
        """Make a guest without starting it."""
        query = [("name", name)]
        return await self._transport.call("POST", "/v1/guests", Created, query=query, body=spec)

    async def start(self, guest: str) -> bool:
        """Start it; False when it runs already."""
        return await self._verb(guest, "start") != 304

    async def stop(self, guest: str, *, timeout: int | None = None) -> bool:
        """Ask it to stop, after ``timeout`` seconds kill it; False when it did not run."""
        return await self._verb(guest, "stop", [("timeout", timeout)]) != 304

    async def restart(self, guest: str, *, timeout: int | None = None) -> None:
        """Stop and start it."""
        await self._verb(guest, "restart", [("timeout", timeout)])

    async def kill(self, guest: str, *, signal: str = "KILL") -> None:
        """Send it a signal."""
        await self._verb(guest, "kill", [("signal", signal)])

    async def pause(self, guest: str) -> None:
        """Freeze all its processes."""
        await self._verb(guest, "pause")

    async def unpause(self, guest: str) -> None:
        """Let it go on."""
        await self._verb(guest, "unpause")

    async def rename(self, guest: str, name: str) -> None:
        """Give it another name."""
        await self._verb(guest, "rename", [("name", name)])

    async def _verb(self, guest: str, verb: str, query: Query = ()) -> int:
        return await self._transport.do("POST", _at(guest, f"/{verb}"), query=query)

    async def remove(self, guest: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; ``volumes``: its anonymous volumes too."""
        query = [("force", force or None), ("volumes", volumes or None)]
        await self._transport.do("DELETE", _at(guest), query=query)

    async def update(
        self,
        guest: str,
        *,
        resources: Resources | None = None,
        restart: RestartPolicy | None = None,
        group: str | None = None,
        guest_class: GuestClass | None = None,
        oom_rank: int | None = None,
        idle: IdleWish | None = None,
    ) -> tuple[str, ...]:
        """Change what is not None, running or not; the answer are warnings."""
        wish = {
            "resources": resources,
            "restart": restart,
            "group": group,
            "guest_class": guest_class,
            "oom_rank": oom_rank,
            "idle": idle,
        }
        body = {name: value for name, value in wish.items() if value is not None}
        done = await self._transport.call("POST", _at(guest, "/update"), Warned, body=body)
        return done.warnings

    async def list(self, *, all: bool = False, filters: Sequence[str] = ()) -> tuple[Summary, ...]:
        """Running guests, or ``all``; ``filters`` are ``key=value``."""
        query = [("all", all or None), *(("filter", one) for one in filters)]
        return await self._transport.call("GET", "/v1/guests", tuple[Summary, ...], query=query)

    async def inspect(self, guest: str) -> Inspection:
        """Everything about it."""
        return await self._transport.call("GET", _at(guest), Inspection)

    async def wait(self, guest: str, *, condition: str = "not-running") -> Ended:
        """Wait for ``not-running``, ``next-exit`` or ``removed``."""
        query = [("condition", condition)]
        return await self._transport.call("POST", _at(guest, "/wait"), Ended, query=query)

    async def attach(
        self, guest: str, *, tty: bool = False, stdin: bool = False, output: bool = True
    ) -> Stream:
        """Join its streams; do it before the start to miss nothing. ``tty`` as in its spec."""
        query = [("stdin", stdin), ("stdout", output), ("stderr", output)]
        return await self._transport.stream(_at(guest, "/attach"), query=query, tty=tty)

    def logs(
        self, guest: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        """What it wrote, as it comes: docker's frames, or raw bytes with a terminal."""
        query = [("follow", follow), ("tail", tail), ("timestamps", timestamps)]
        return self._transport.chunks("GET", _at(guest, "/logs"), query=query)

    async def stats(self, guest: str) -> Sample:
        """What it uses now."""
        return await self._transport.call("GET", _at(guest, "/stats"), Sample)

    async def top(self, guest: str, *, ps_args: str = "") -> Processes:
        """Its processes."""
        query = [("ps_args", ps_args or None)]
        return await self._transport.call("GET", _at(guest, "/top"), Processes, query=query)

    async def ports(self, guest: str) -> tuple[PortMap, ...]:
        """What is really published."""
        return await self._transport.call("GET", _at(guest, "/port"), tuple[PortMap, ...])

    async def exec(self, guest: str, spec: ExecSpec, *, feed: bytes = b"") -> Output:
        """Run a further process to its end; ``feed`` is its input when ``spec.stdin``."""
        execs = Execs(self._transport)
        process = await execs.create(guest, spec)
        async with await execs.start(process, tty=spec.tty) as stream:
            stdout, stderr = await _converse(stream, feed if spec.stdin else None)
        ended = await execs.wait(process)
        return Output(code=ended.code, stdout=stdout, stderr=stderr)

    async def run(
        self,
        image: str,
        *command: str,
        isolation: Isolation = Isolation.CONTAINER,
        feed: bytes | None = None,
        **more: Any,
    ) -> Output:
        """Run a command in a guest of its own. ``more``: further fields of GuestSpec."""
        spec = GuestSpec(
            image=image,
            command=command or None,
            isolation=isolation,
            stdin_open=feed is not None,
            stdin_once=feed is not None,
            remove_on_exit=True,
            **more,
        )
        guest = (await self.create(spec)).id
        query = [("condition", "removed")]
        try:
            async with (
                await self.attach(guest, tty=spec.tty, stdin=feed is not None) as stream,
                self._transport.begin("POST", _at(guest, "/wait"), query=query) as waiting,
            ):
                await self.start(guest)
                stdout, stderr = await _converse(stream, feed)
                ended = msgspec.json.decode(await waiting.read(), type=Ended)
        except BaseException:
            await shielded(self._forget(guest))
            raise
        return Output(code=ended.code, stdout=stdout, stderr=stderr)

    async def _forget(self, guest: str) -> None:
        with contextlib.suppress(WirtError):
            await self.remove(guest, force=True, volumes=True)


class Execs:
    """Further processes by id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, guest: str, spec: ExecSpec) -> str:
        """Make a further process without running it; its id."""
        made = await self._transport.call("POST", _at(guest, "/exec"), Identity, body=spec)
        return made.id

    async def start(self, process: str, *, tty: bool = False) -> Stream:
        """Run it with its streams joined. ``tty`` as in its spec."""
        return await self._transport.stream(f"/v1/exec/{quote(process)}/start", tty=tty)

    async def detach(self, process: str) -> None:
        """Run it in the background."""
        where = f"/v1/exec/{quote(process)}/start"
        await self._transport.do("POST", where, query=[("detach", True)])

    async def wait(self, process: str) -> Ended:
        """How it ended."""
        return await self._transport.call("POST", f"/v1/exec/{quote(process)}/wait", Ended)


async def _converse(stream: Stream, feed: bytes | None) -> tuple[bytes, bytes]:
    """Send all input while reading all output, so that neither waits for the other."""

    async def send() -> None:
        if feed is not None:
            try:
                await stream.write(feed)
                stream.end_input()
            except OSError:
                return  # it takes no more input; its output and code count

    _, output = await asyncio.gather(send(), stream.collect())
    return output
