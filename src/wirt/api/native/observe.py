"""Figures and events: stats, top, events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from wirt.api.http.body import answer, flag, number
from wirt.api.http.lines import NDJSON, begin, send_lines
from wirt.api.http.operation import operation
from wirt.errors import Invalid
from wirt.host.events import Bus, Lagged
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.stats import Sample, Stats
from wirt.model.event import Event

LATEST = 2**63 - 1


class TopTable(msgspec.Struct, frozen=True, kw_only=True):
    """Titles and rows of processes."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """A line saying that events were lost for this reader."""

    lagged: int


class ObserveRoutes:
    """Handlers of figures and events."""

    def __init__(self, *, roster: Roster, running: Running, stats: Stats, bus: Bus) -> None:
        self._roster = roster
        self._running = running
        self._stats = stats
        self._bus = bus

    def routes(self) -> list[web.RouteDef]:
        """What these handlers answer."""
        return [
            web.get("/v1/guests/{guest}/stats", self.stats_of, allow_head=False),
            web.get("/v1/stats", self.stats, allow_head=False),
            web.get("/v1/guests/{guest}/top", self.top, allow_head=False),
            web.get("/v1/events", self.events, allow_head=False),
        ]

    @operation("What one guest uses", query=("stream",), answer=Sample)
    async def stats_of(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        self._running.require(guest, paused_too=True)
        if not flag(request, "stream"):
            return answer((await self._stats.pair([guest]))[0])

        async def lines() -> AsyncIterator[object]:
            async for samples in self._stats.stream([guest]):
                yield samples[0]

        return await send_lines(request, lines())

    @operation("What all running guests use", query=("stream",), answer=list[Sample])
    async def stats(self, request: web.Request) -> web.StreamResponse:
        if not flag(request, "stream"):
            return answer(await self._stats.pair(None))
        return await send_lines(request, self._stats.stream(None))

    @operation("The processes of a guest", query=("ps_args",), answer=TopTable, wakes=True)
    async def top(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        titles, rows = await self._stats.top(guest, request.query.get("ps_args", ""))
        return answer(TopTable(titles=tuple(titles), processes=tuple(map(tuple, rows))))

    @operation(
        "What has happened and happens",
        query=("since", "until", "follow", "filter"),
        answer=Event,
        lines=True,
    )
    async def events(self, request: web.Request) -> web.StreamResponse:
        since = number(request, "since", 0, low=0, high=LATEST)
        until = number(request, "until", 0, low=0, high=LATEST)
        follow = flag(request, "follow", until == 0)
        wanted = EventFilter.parse(request.query.getall("filter", []))
        with self._bus.listener() as listener:
            response = await begin(request, NDJSON)
            last = 0
            if since or not follow:
                for event in await self._bus.history(since, until or LATEST):
                    last = event.sequence
                    if wanted.matches(event):
                        await response.write(msgspec.json.encode(event) + b"\n")
            if follow:
                async for item in listener:
                    if isinstance(item, Lagged):
                        await response.write(msgspec.json.encode(Lag(lagged=item.missed)) + b"\n")
                    elif until and item.time >= until:
                        break
                    elif item.sequence > last and wanted.matches(item):
                        await response.write(msgspec.json.encode(item) + b"\n")
        await response.write_eof()
        return response


class EventFilter:
    """``type=``, ``event=``, ``guest=``, ``image=``, ``label=``...: same key "or", keys "and"."""

    KEYS = frozenset({"type", "event", "guest", "image", "network", "volume"})

    def __init__(self, wanted: dict[str, set[str]]) -> None:
        self._wanted = wanted

    @classmethod
    def parse(cls, texts: list[str]) -> EventFilter:
        """From ``key=value`` texts. Raises Invalid for an unknown key."""
        wanted: dict[str, set[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if key not in cls.KEYS or not equals:
                raise Invalid(
                    f"invalid filter {text[:80]!r}",
                    hint=f"write KEY=VALUE with one of the keys {', '.join(sorted(cls.KEYS))}",
                )
            wanted.setdefault(key, set()).add(value)
        return cls(wanted)

    def matches(self, event: Event) -> bool:
        """Whether an event fulfils every key."""
        return all(self._has(event, key, values) for key, values in self._wanted.items())

    @staticmethod
    def _has(event: Event, key: str, values: set[str]) -> bool:
        if key == "type":
            return event.type in values
        if key == "event":
            return event.action in values or event.action.partition(":")[0] in values
        if key == "image" and event.attributes.get("image") in values:
            return True
        names = {event.subject, event.subject[:12], event.attributes.get("name", "")}
        return event.type == key and bool(names & values)
