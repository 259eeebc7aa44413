"""A host made of dictionaries: keepers, run directories, rows, and everybody who dies at random.

Nothing in it waits for real. What a daemon asks of it goes through a :class:`Life`; once that is
over, whatever the daemon still tries has no effect and no answer, as after ``kill -9``.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wirt.errors import Exhausted, Invalid, Unavailable
from wirt.governor.admission import Host
from wirt.governor.tree import Resource
from wirt.guest.frame import encode_record
from wirt.guest.keeper import Record
from wirt.layout import Layout
from wirt.model.event import Event
from wirt.model.group import GuestGroup
from wirt.model.guest import Guest
from wirt.model.resources import Resources
from wirt.privileged import protocol as p
from wirt.state.guests import name_taken

STARTED = 10**18


class Life:
    """Of one daemon: its calls take a while, and may be its last."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.over = False
        self._never: list[asyncio.Future[None]] = []  # or else tasks are collected while they wait

    async def breathe(self) -> None:
        """Take some turns of the loop, sometimes some time; for ever when life is over."""
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        if self.rng.random() < 0.2:
            await asyncio.sleep(self.rng.random() * 0.3)
        if self.over:
            self._never.append(asyncio.get_running_loop().create_future())
            await self._never[-1]


@dataclass(eq=False)
class FakeKeeper:
    """A keeper's process: alive as long as it is in the world."""

    guest_id: str
    state: str = "waiting"
    links: list[FakeLink] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    limited: list[Resources] = field(default_factory=list)
    frozen: bool = False
    stopped: bool = False


@dataclass(eq=False)
class World:
    """What survives a daemon. ``glitch``: how often the helper dies before or after a verb."""

    layout: Layout
    rng: random.Random
    glitch: float = 0.0
    refusal: float = 0.0
    keepers: dict[str, FakeKeeper] = field(default_factory=dict)
    rows: dict[str, Guest] = field(default_factory=dict)
    state: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    groups: dict[str, GuestGroup] = field(default_factory=dict)
    capacity: FakeCapacity = field(default_factory=lambda: FakeCapacity())
    full: bool = False
    gives_up: bool = False
    trusted: int = 0

    def run_dir(self, guest_id: str) -> Path:
        return self.layout.guest_run(guest_id)

    def run_dirs(self) -> set[str]:
        folder = self.layout.run / "g"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    # --- what happens to guests

    def exits(self, guest_id: str, code: int, *, error: str = "") -> None:
        """The main process ends: record, event, then the keeper goes too."""
        keeper = self.keepers.get(guest_id)
        if keeper is None or (keeper.state != "running" and not error):
            return
        told = {"code": str(code), "signal": "0", "oom": "0", "time": str(STARTED + 10**9)}
        if error:
            told["error"] = error
        (self.run_dir(guest_id) / "exit").write_bytes(encode_record(list(told.items())))
        if not error:
            for link in keeper.links:
                link.says(
                    {"event": ["exit"], "target": ["main"], **{k: [v] for k, v in told.items()}}
                )
        self.loses(guest_id)

    def loses(self, guest_id: str) -> None:
        """The keeper is gone, with its streams and without a word."""
        keeper = self.keepers.pop(guest_id, None)
        if keeper is None:
            return
        for stream in keeper.streams:
            os.close(stream)
        for link in tuple(keeper.links):
            link.ends()

    def releases(self, guest_id: str) -> None:
        self.loses(guest_id)
        shutil.rmtree(self.run_dir(guest_id), ignore_errors=True)


class FakeLink:
    """A daemon's connection to a keeper."""

    def __init__(
        self,
        keeper: FakeKeeper,
        on_event: Callable[[Record], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.keeper = keeper
        self.hello: Record = {"id": [keeper.guest_id], "state": [keeper.state]}
        if keeper.state == "running":
            self.hello |= {"pid": ["77"], "started": [str(STARTED)]}
        self._on_event, self._on_closed = on_event, on_closed
        self.closed = False
        keeper.links.append(self)

    def says(self, record: Record) -> None:
        asyncio.get_running_loop().call_soon(self._on_event, record)

    def ends(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._on_closed)

    async def close(self) -> None:
        self.closed = True
        if self in self.keeper.links:
            self.keeper.links.remove(self)


@dataclass
class FakeHandle:
    """The guest behind a link."""

    world: World
    life: Life
    link: FakeLink

    def _keeper(self) -> FakeKeeper:
        if self.link.closed:
            raise Unavailable("the keeper ended the connection")
        return self.link.keeper

    async def attach(self, descriptor: int, **_: Any) -> None:
        copy = os.dup(descriptor)
        try:
            await self.life.breathe()
            self._keeper().streams.append(copy)
        except BaseException:
            os.close(copy)
            raise

    async def start(self) -> tuple[int, int]:
        await self.life.breathe()
        keeper = self._keeper()
        if self.world.rng.random() < self.world.refusal:
            self.world.exits(keeper.guest_id, 127, error="no such program")
            await self.life.breathe()
            raise Invalid("no such program", exit=127)
        keeper.state = "running"
        if self.world.rng.random() < 0.3:
            self.world.exits(keeper.guest_id, 3)
        await self.life.breathe()
        return 77, STARTED

    async def signal(self, number: int, *, target: str = "main") -> None:
        await self.life.breathe()
        guest_id = self._keeper().guest_id
        if self.world.rng.random() < 0.7:
            self.world.exits(guest_id, 128 + number)
        await self.life.breathe()

    async def limit(self, resources: Resources) -> None:
        await self.life.breathe()
        self._keeper().limited.append(resources)
        await self.life.breathe()

    async def freeze(self, frozen: bool) -> None:
        await self.life.breathe()
        self._keeper().frozen = frozen
        await self.life.breathe()

    def close(self) -> None:
        """There is no other connection."""


@dataclass
class FakeHelper:
    """The root helper, which may be gone before or after it did something."""

    world: World
    life: Life

    async def call(self, verb: p.Verb[Any], fds: Sequence[int] = ()) -> tuple[Any, list[int]]:
        await self.life.breathe()
        if self.world.rng.random() < self.world.glitch:
            raise Unavailable("the root helper went away")
        answer = self._carry_out(verb)
        await self.life.breathe()
        if self.world.rng.random() < self.world.glitch:
            if isinstance(verb, p.LaunchGuest) and self.world.rng.random() < 0.5:
                self.world.loses(verb.id)  # it was no keeper yet, and died with the helper
            raise Unavailable("the root helper went away")
        return answer, []

    def _carry_out(self, verb: p.Verb[Any]) -> Any:
        world = self.world
        if isinstance(verb, p.LaunchGuest):
            return self._launch(verb)
        if isinstance(verb, p.KillGuest):
            if verb.keeper:
                world.loses(verb.id)
            world.exits(verb.id, 137)
        elif isinstance(verb, p.ReleaseGuest):
            world.releases(verb.id)
        elif isinstance(verb, p.ForgetGuest):
            world.releases(verb.id)
            world.state.discard(verb.id)
        elif isinstance(verb, p.Sweep):
            for guest_id in world.run_dirs() - set(verb.running):
                world.releases(guest_id)
            world.state &= set(verb.guests)
            return p.Swept(removed=())
        return p.Done()

    def _launch(self, verb: p.LaunchGuest) -> p.Launched:
        if verb.id in self.world.keepers:
            raise AssertionError("launched while its keeper lives")
        if self.world.rng.random() < self.world.refusal:
            raise Exhausted("no room")
        self.world.releases(verb.id)
        self.world.run_dir(verb.id).mkdir(parents=True)
        self.world.state.add(verb.id)
        self.world.keepers[verb.id] = FakeKeeper(verb.id)
        return p.Launched(keeper_pid=66, keeper_start=1)


@dataclass
class FakeCapacity:
    """Millicores and bytes that may be promised; nothing is kept back."""

    cpu: int = 10**6
    memory: int = 1 << 50
    divided = frozenset({Resource.CPU, Resource.MEMORY})
    limited = frozenset({Resource.DISK})
    weighed: frozenset[Resource] = frozenset()

    def host(self) -> Host:
        capacity = {Resource.CPU: self.cpu, Resource.MEMORY: self.memory}
        return Host(capacity=capacity, reserve={})


@dataclass
class FakeGroups:
    """The rows of groups."""

    world: World
    life: Life

    async def all(self) -> list[GuestGroup]:
        return list(self.world.groups.values())

    async def put(self, group: GuestGroup) -> None:
        await self.life.breathe()
        self.world.groups[group.path] = group
        await self.life.breathe()

    async def remove(self, path: str) -> None:
        await self.life.breathe()
        self.world.groups.pop(path, None)
        await self.life.breathe()


@dataclass
class FakeTable:
    """The rows of guests."""

    world: World
    life: Life

    async def all(self) -> list[Guest]:
        return list(self.world.rows.values())

    async def add(self, guest: Guest) -> None:
        await self._write(guest)

    async def save(self, guest: Guest) -> None:
        await self._write(guest)

    async def remove(self, guest_id: str) -> None:
        await self.life.breathe()
        self.world.rows.pop(guest_id, None)
        await self.life.breathe()

    async def _write(self, guest: Guest) -> None:
        await self.life.breathe()
        if self.world.full:
            raise Exhausted("the disk that holds wirt's state is full")
        for other in self.world.rows.values():
            if other.name == guest.name and other.id != guest.id:
                raise name_taken(guest.name, other.id)
        self.world.rows[guest.id] = guest
        await self.life.breathe()


class FakeEvents:
    """Events that nobody keeps."""

    async def last(self) -> int:
        return 0

    async def add(self, events: list[Event]) -> None:
        await asyncio.sleep(0)

    async def between(self, since: int, until: int) -> list[Event]:
        return []
