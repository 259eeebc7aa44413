"""``/v1/guests/{guest}/start`` and the like: the verbs that move a guest through its states."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import number
from wirt.api.http.lines import NDJSON, begin
from wirt.api.http.operation import operation
from wirt.errors import Conflict, Invalid
from wirt.host.launch import Launch
from wirt.host.process import parse_signal
from wirt.host.roster import Roster
from wirt.host.stop import LONGEST_STOP, Signals, Stop
from wirt.host.waits import Condition, Waits

DEADLINE = 600.0


class Waited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one object of a wait's answer."""

    code: int
    error: str = ""


class LifeRoutes:
    """Handlers of the verbs of life."""

    def __init__(
        self, *, roster: Roster, launch: Launch, stop: Stop, signals: Signals, waits: Waits
    ) -> None:
        self._roster = roster
        self._launch = launch
        self._stop = stop
        self._signals = signals
        self._waits = waits

    def routes(self) -> list[web.RouteDef]:
        """What these verbs answer."""
        at = "/v1/guests/{guest}"
        return [
            web.post(f"{at}/start", self.start),
            web.post(f"{at}/stop", self.stop),
            web.post(f"{at}/restart", self.restart),
            web.post(f"{at}/kill", self.kill),
            web.post(f"{at}/pause", self.pause),
            web.post(f"{at}/unpause", self.unpause),
            web.post(f"{at}/wait", self.wait),
        ]

    @operation("Start a guest; 304 when it runs already", status=204, wakes=True)
    async def start(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        try:
            await shielded(self._launch.start(guest), deadline=DEADLINE)
        except Conflict as error:
            if error.code != "guest.running":
                raise
            return web.Response(status=304)
        return web.Response(status=204)

    @operation("Stop a guest; 304 when it does not run", query=("timeout",), status=204, wakes=True)
    async def stop(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        timeout = _timeout(request)
        stopped = await shielded(self._stop.stop(guest, timeout), deadline=LONGEST_STOP + 120)
        return web.Response(status=204 if stopped else 304)

    @operation("Stop and start a guest", query=("timeout",), status=204, wakes=True)
    async def restart(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        timeout = _timeout(request)
        await shielded(self._stop.restart(guest, timeout), deadline=LONGEST_STOP + 120)
        return web.Response(status=204)

    @operation("Send a signal", query=("signal",), status=204, wakes=True)
    async def kill(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        signal = parse_signal(request.query.get("signal") or "KILL")
        await shielded(self._signals.kill(guest, signal))
        return web.Response(status=204)

    @operation("Freeze all processes", status=204)
    async def pause(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        await shielded(self._signals.pause(guest, True))
        return web.Response(status=204)

    @operation("Thaw all processes", status=204)
    async def unpause(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        await shielded(self._signals.pause(guest, False))
        return web.Response(status=204)

    @operation(
        "Wait for a condition; the headers come at once",
        query=("condition",),
        answer=Waited,
        lines=True,
    )
    async def wait(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        text = request.query.get("condition") or Condition.NOT_RUNNING.value
        try:
            condition = Condition(text)
        except ValueError:
            raise Invalid(
                f"unknown condition {text[:40]!r}",
                hint=f"one of {', '.join(c.value for c in Condition)}",
            ) from None
        with self._waits.expect(guest, condition) as future:
            response = await begin(request, NDJSON)
            outcome = await future
        waited = Waited(code=outcome.code, error=outcome.error)
        await response.write(msgspec.json.encode(waited) + b"\n")
        await response.write_eof()
        return response


def _timeout(request: web.Request) -> int | None:
    if not request.query.get("timeout"):
        return None
    return number(request, "timeout", 0, low=-1, high=LONGEST_STOP)
