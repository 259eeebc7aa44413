"""The guests that run right now, each with its keeper connection and its further processes.

Nothing here is the truth: all of it is rebuilt from the keepers when the daemon starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wirt.engine.protocol import Engine, Exit, Handle
from wirt.errors import Conflict, Exhausted, NotFound, Unavailable
from wirt.guest.keeper import KeeperLink, Record
from wirt.host.roster import require_running
from wirt.layout import Layout
from wirt.model.guest import ExecSpec, Guest, Isolation

ANSWER_SECONDS = 5.0
"""How long a keeper may take to answer before it counts as slow."""

MOST_EXECS = 4096
"""Further processes of one guest that are remembered: running, ended lately, never started."""

FORGET_EXECS_AFTER = 300.0
"""Seconds that an ended further process can still be inspected."""


@dataclass(slots=True, kw_only=True)
class Exec:
    """A further process of a guest. ``failure``: why it could not be run. ``check``: it checks
    the guest's health, and nobody waits for it."""

    id: str
    guest_id: str
    spec: ExecSpec
    pid: int = 0
    started: bool = False
    code: int | None = None
    failure: str = ""
    check: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Live:
    """One run of a guest, from its start to its end; the next one is another value.

    ``over``: its end was passed on. ``ended``: all that follows from its end is done.
    """

    guest_id: str
    keeper: KeeperLink
    handle: Handle
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit | None = None
    over: bool = False


Ended = Callable[[Live], None]
"""Called once when a guest's main process ended: ``exit`` says how, or is None when its keeper
went without a word."""


class Running:
    """Connects to keepers, remembers live guests, and passes on their endings."""

    def __init__(self, layout: Layout, engines: Mapping[Isolation, Engine]) -> None:
        self._layout = layout
        self._engines = engines
        self._live: dict[str, Live] = {}
        self._execs: dict[str, Exec] = {}
        self._ending: set[str] = set()
        """Guests that ended, of which the roster may not know yet."""
        self.on_ended: Ended = _nobody_listens
        self.on_joined: Callable[[], None] = _nobody_waits
        """Called when a guest runs, or its keeper was found again."""

    async def connect(self, guest: Guest, *, timeout: float = ANSWER_SECONDS) -> Live:
        """Connect to the guest's keeper. Raises Unavailable."""
        guest_id = guest.id
        keeper = await KeeperLink.connect(
            self._layout.keeper_socket(guest_id),
            on_event=lambda record: self._event(guest_id, record),
            on_closed=lambda: self._closed(guest_id),
            timeout=timeout,
        )
        handle = self._engines[guest.spec.isolation].handle(guest, keeper)
        live = Live(guest_id=guest_id, keeper=keeper, handle=handle)
        self._live[guest_id] = live
        self._ending.discard(guest_id)
        self.on_joined()
        for exec_id in keeper.hello.get("execs", []):
            if exec_id not in self._execs:  # begun by an earlier daemon
                spec = ExecSpec(command=("?",))
                process = Exec(id=exec_id, guest_id=guest_id, spec=spec, started=True)
                self._execs[exec_id] = process
        return live

    def get(self, guest_id: str) -> Live | None:
        """The live guest, or None."""
        return self._live.get(guest_id)

    def ids(self) -> tuple[str, ...]:
        """Ids of all live guests."""
        return tuple(self._live)

    def require(self, guest: Guest, *, paused_too: bool = False) -> Live:
        """The live guest. Raises Conflict when it does not run, Unavailable when it was lost."""
        require_running(guest, paused_too=paused_too)
        live = self._live.get(guest.id)
        if guest.id in self._ending or (live is not None and live.over):
            raise Conflict(
                f"guest {guest.name!r} is just ending",
                hint=f"'wirt wait {guest.name}' tells when it has",
                code="guest.not-running",
            )
        if live is None:
            raise Unavailable(
                f"the keeper of guest {guest.name!r} does not answer",
                hint=f"'wirt stop {guest.name}' puts it right",
            )
        return live

    async def drop(self, guest_id: str) -> Live | None:
        """Forget a live guest and close its keeper connection; its further processes are over."""
        live = self._live.pop(guest_id, None)
        if live is not None:
            if live.exit is not None:
                self._ending.add(guest_id)
            live.handle.close()
            await live.keeper.close()
        for process in self.execs_of(guest_id):
            if not process.started:
                del self._execs[process.id]  # it can never be started any more
            elif process.code is None:
                self.exec_ended(process, 137)
        return live

    # --- further processes

    def add_exec(self, process: Exec) -> None:
        """Remember a further process. Raises Exhausted when its guest has too many."""
        self._forget_old_execs()
        if len(self.execs_of(process.guest_id)) >= MOST_EXECS:
            raise Exhausted(
                f"this guest has {MOST_EXECS} further processes already",
                hint="those that ended are forgotten after some minutes",
                code="exec.too-many",
            )
        self._execs[process.id] = process

    def exec(self, text: str) -> Exec:
        """The further process with this id or unambiguous prefix. Raises NotFound."""
        if text in self._execs:
            return self._execs[text]
        matches = [known for known in self._execs if text and known.startswith(text)]
        if len(matches) != 1:
            raise NotFound(f"no such exec: {text[:128]}", code="exec.not-found")
        return self._execs[matches[0]]

    def execs_of(self, guest_id: str) -> list[Exec]:
        """The further processes of one guest."""
        return [process for process in self._execs.values() if process.guest_id == guest_id]

    def settled(self, guest_id: str) -> None:
        """The roster knows of a guest's end by now, or could not be told."""
        self._ending.discard(guest_id)

    def forget_execs(self, guest_id: str) -> None:
        """Forget a removed guest's further processes."""
        for process in self.execs_of(guest_id):
            del self._execs[process.id]

    def _forget_old_execs(self) -> None:
        limit = time.monotonic() - FORGET_EXECS_AFTER
        for process in tuple(self._execs.values()):
            if process.code is not None and process.ended_at < limit:
                del self._execs[process.id]

    def exec_ended(self, process: Exec, code: int) -> None:
        """A further process ended, or could not be run."""
        process.code = code
        process.ended_at = time.monotonic()
        process.ended.set()

    # --- what keepers say

    def _event(self, guest_id: str, record: Record) -> None:
        if record.get("event") != ["exit"]:
            return
        target = record.get("target", ["main"])[0]
        if target == "main":
            live = self._live.get(guest_id)
            if live is not None and not live.over:
                live.exit = parse_exit(record)
                self._over(live)
            return
        process = self._execs.get(target)
        if process is not None and process.guest_id == guest_id:
            self.exec_ended(process, parse_exit(record).code)

    def _closed(self, guest_id: str) -> None:
        live = self._live.get(guest_id)
        if live is not None and not live.over:
            self._over(live)

    def _over(self, live: Live) -> None:
        live.over = True
        self.on_ended(live)


def _nobody_waits() -> None:
    """Until the governor is there."""


def _nobody_listens(live: Live) -> None:
    raise AssertionError("Running.on_ended is set by the wiring")


def parse_exit(record: Record) -> Exit:
    """An exit event or exit record of a keeper as a value; hostile figures become code 255."""

    def figure(key: str, default: int) -> int:
        text = record.get(key, [str(default)])[0]
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default

    return Exit(
        code=figure("code", 255),
        signal=figure("signal", 0),
        oom_killed=record.get("oom", ["0"])[0] == "1",
        time=figure("time", 0) or time.time_ns(),
        error=record.get("error", [""])[0],
    )


def already_running(guest: Guest) -> Conflict:
    """The error for a second start."""
    return Conflict(f"guest {guest.name!r} runs already", code="guest.running")
