"""Attach, terminal size, logs and further processes: everything with a guest's streams."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, flag, number, read
from wirt.api.http.hijack import hand_over, take_socket
from wirt.api.http.lines import NDJSON, begin, send_bytes
from wirt.api.http.operation import operation
from wirt.api.http.size import terminal_size
from wirt.host.attach import DEFAULT_DETACH_KEYS, Attach, Streams
from wirt.host.execute import Execute
from wirt.host.logs import Logs, LogWish
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.model.guest import ExecSpec
from wirt.model.terminal import parse_detach_keys

LARGEST_TAIL = 10**9
LATEST_TIME = 2**63 - 1


class ExecCreated(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of the creation of a further process."""

    id: str


class ExecStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a further process. ``code``: None while it runs or was never started."""

    id: str
    guest: str
    running: bool
    code: int | None
    pid: int
    command: tuple[str, ...]
    tty: bool


class ExecWaited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one object of a wait's answer; ``error``: why it could not be run."""

    code: int
    error: str = ""


class StreamRoutes:
    """Handlers of a guest's own streams."""

    def __init__(self, *, roster: Roster, running: Running, attach: Attach, logs: Logs) -> None:
        self._roster = roster
        self._running = running
        self._attach = attach
        self._logs = logs

    def routes(self) -> list[web.RouteDef]:
        """What these handlers answer."""
        at = "/v1/guests/{guest}"
        return [
            web.post(f"{at}/attach", self.attach),
            web.post(f"{at}/resize", self.resize),
            web.get(f"{at}/logs", self.logs, allow_head=False),
        ]

    @operation(
        "Join the streams (hijack)",
        query=("stdin", "stdout", "stderr", "detach_keys"),
        answer="application/vnd.docker.raw-stream",
        status=101,
        wakes=True,
    )
    async def attach(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        streams = Streams(
            stdin=flag(request, "stdin"),
            stdout=flag(request, "stdout"),
            stderr=flag(request, "stderr"),
            detach=parse_detach_keys(request.query.get("detach_keys") or DEFAULT_DETACH_KEYS),
        )
        self._attach.check(guest)
        descriptor = take_socket(request, tty=guest.spec.tty)
        return await hand_over(request, shielded(self._attach.attach(guest, descriptor, streams)))

    @operation("Tell the terminal's size", query=("rows", "columns"), status=204, wakes=True)
    async def resize(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        rows, columns = terminal_size(request)
        live = self._running.require(guest, paused_too=True)
        await live.handle.resize(rows, columns)
        return web.Response(status=204)

    @operation(
        "What the guest wrote",
        query=("stdout", "stderr", "follow", "tail", "since", "until", "timestamps"),
        answer="application/octet-stream",
    )
    async def logs(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        tail = request.query.get("tail") or "all"
        wish = LogWish(
            stdout=flag(request, "stdout", True),
            stderr=flag(request, "stderr", True),
            follow=flag(request, "follow"),
            timestamps=flag(request, "timestamps"),
            tail=None if tail == "all" else number(request, "tail", 0, low=0, high=LARGEST_TAIL),
            since=number(request, "since", 0, low=0, high=LATEST_TIME),
            until=number(request, "until", 0, low=0, high=LATEST_TIME),
        )
        return await send_bytes(request, self._logs.read(guest, wish))


class ExecRoutes:
    """Handlers of further processes."""

    def __init__(self, *, roster: Roster, execute: Execute) -> None:
        self._roster = roster
        self._execute = execute

    def routes(self) -> list[web.RouteDef]:
        """What these handlers answer."""
        return [
            web.post("/v1/guests/{guest}/exec", self.create),
            web.post("/v1/exec/{exec}/start", self.start),
            web.post("/v1/exec/{exec}/resize", self.resize),
            web.post("/v1/exec/{exec}/wait", self.wait),
            web.get("/v1/exec/{exec}", self.inspect, allow_head=False),
        ]

    @operation("Make a further process", body=ExecSpec, answer=ExecCreated, status=201, wakes=True)
    async def create(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        process = self._execute.create(guest, await read(request, ExecSpec))
        return answer(ExecCreated(id=process.id), status=201)

    @operation(
        "Run it (hijack)", query=("detach",), answer="application/vnd.docker.raw-stream", status=101
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        process = self._execute.startable(request.match_info["exec"])
        if flag(request, "detach"):
            await shielded(self._execute.start(process, None))
            return web.Response(status=204)
        descriptor = take_socket(request, tty=process.spec.tty)
        return await hand_over(request, shielded(self._execute.start(process, descriptor)))

    @operation("Tell the terminal's size", query=("rows", "columns"), status=204)
    async def resize(self, request: web.Request) -> web.StreamResponse:
        rows, columns = terminal_size(request)
        await self._execute.resize(request.match_info["exec"], rows, columns)
        return web.Response(status=204)

    @operation("Wait for its end; the headers come at once", answer=ExecWaited, lines=True)
    async def wait(self, request: web.Request) -> web.StreamResponse:
        process = self._execute.find(request.match_info["exec"])
        response = await begin(request, NDJSON)
        await process.ended.wait()
        body = ExecWaited(code=process.code or 0, error=process.failure)
        await response.write(msgspec.json.encode(body) + b"\n")
        await response.write_eof()
        return response

    @operation("What is known of it", answer=ExecStatus)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        process = self._execute.find(request.match_info["exec"])
        return answer(
            ExecStatus(
                id=process.id,
                guest=process.guest_id,
                running=process.started and process.code is None,
                code=process.code,
                pid=process.pid,
                command=process.spec.command,
                tty=process.spec.tty,
            )
        )
