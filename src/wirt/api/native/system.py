"""``/v1/ping version info doctor``: the daemon about itself and its host."""

from __future__ import annotations

import asyncio
import os
import platform

import msgspec
from aiohttp import web

import wirt
from wirt.api.http.body import answer
from wirt.api.http.operation import operation
from wirt.host.doctor import Doctor
from wirt.host.roster import Roster
from wirt.host.symptoms import Report
from wirt.layout import Layout


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    pid: int
    version: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of the parts."""

    version: str
    api: str
    python: str
    kernel: str


class DaemonInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's own facts. ``uid``: whom it runs as."""

    pid: int
    uid: int
    name: str
    state: str
    run: str


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What ``wirt info`` shows. ``memory``: bytes of the host."""

    version: str
    daemon: DaemonInfo
    guests: dict[str, int]
    kernel: str
    cpus: int
    memory: int
    hostname: str


class SystemRoutes:
    """Handlers about the daemon itself."""

    def __init__(self, *, layout: Layout, roster: Roster, doctor: Doctor) -> None:
        self._layout = layout
        self._roster = roster
        self._doctor = doctor

    def routes(self) -> list[web.RouteDef]:
        """What these handlers answer."""
        return [
            web.get("/v1/ping", self.ping),
            web.get("/v1/version", self.version, allow_head=False),
            web.get("/v1/info", self.info, allow_head=False),
            web.get("/v1/doctor", self.doctor, allow_head=False),
        ]

    @operation("Whether the daemon answers", answer=Pong)
    async def ping(self, request: web.Request) -> web.StreamResponse:
        return answer(Pong(pid=os.getpid(), version=wirt.__version__))

    @operation("Versions of the parts", answer=Version)
    async def version(self, request: web.Request) -> web.StreamResponse:
        return answer(
            Version(
                version=wirt.__version__,
                api="v1",
                python=platform.python_version(),
                kernel=platform.release(),
            )
        )

    @operation("The daemon and its host", answer=Info)
    async def info(self, request: web.Request) -> web.StreamResponse:
        states: dict[str, int] = {"total": 0}
        for guest in self._roster.all():
            states["total"] += 1
            state = guest.status.state.value
            states[state] = states.get(state, 0) + 1
        return answer(
            Info(
                version=wirt.__version__,
                daemon=DaemonInfo(
                    pid=os.getpid(),
                    uid=os.getuid(),
                    name=self._layout.name,
                    state=str(self._layout.state),
                    run=str(self._layout.run),
                ),
                guests=states,
                kernel=platform.release(),
                cpus=os.cpu_count() or 1,
                memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                hostname=platform.node(),
            )
        )

    @operation("What this host can do for each kind of guest, and the cures", answer=Report)
    async def doctor(self, request: web.Request) -> web.StreamResponse:
        return answer(await asyncio.to_thread(self._doctor.report))
