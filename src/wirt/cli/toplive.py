"""``wirt top`` without a guest: the governor's ticks as they come, and what is typed meanwhile."""

from __future__ import annotations

import posix
import select
import signal
import time
from collections.abc import Iterator

from wirt.cli import toprows
from wirt.cli.flags import Call
from wirt.cli.keys import Keys
from wirt.cli.output import STDOUT, cell, out, visible
from wirt.cli.signals import Signals, drain
from wirt.cli.terminal import Raw, size
from wirt.cli.whywords import lines as why_lines
from wirt.client.daemon import unreachable
from wirt.client.fastjson import encode
from wirt.client.wire import Connection, Lost, quote, target
from wirt.errors import WirtError
from wirt.governor.journal import Frame
from wirt.governor.trace import Record, Scene, decode
from wirt.governor.tree import Resource

LONGEST = 7 * 86_400
PATIENCE = 2.0
"""Seconds without a tick after which the governor is asked how it is doing."""
BOOST = {"cpu": 4000, "memory": 4000}
BOOST_SECONDS = 600
SETTLED = 0.1
"""Seconds without a tick after which the last one is the newest."""
WHY = 20
KEYS = (
    "q quit  j/k choose  b boost 10 min  p pause  w why  t tree  {sorts}",
    "q quit  j/k choose  b boost  p pause  w why  t tree  {keys} sort",
    "q quit j/k b p w t {keys}",
)
"""What can be typed, the longest first."""
HIDE, SHOW, CLEAR, REST = "\x1b[?25l", "\x1b[?25h", "\x1b[H\x1b[J", "\x1b[K"
STEPS = {"j": 1, "k": -1, "J": 10, "K": -10}
NOBODY = frozenset({"idle", "off"})
"""States of the governor in which there is nothing to show."""


class Feed:
    """The trace from now on, record by record."""

    def __init__(self, call: Call) -> None:
        self.connection: Connection = call.daemon.connection()
        self._path = call.daemon.path
        since = time.time_ns() - 3 * 10**9
        where = target("/v1/governor/trace", [("since", since), ("seconds", LONGEST)])
        try:
            answer = self.connection.request("GET", where)
            if answer.status >= 400:
                raise answer.problem()
        except (OSError, Lost) as error:
            raise unreachable(self._path, error) from error
        self._waiting: list[bytes] = []
        self._records = decode(self._lines(answer.chunks()))

    @property
    def ready(self) -> bool:
        """Whether more has come already, of which poll(2) would not tell."""
        return bool(self._waiting) or self.connection.has_more

    def _lines(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        try:
            for chunk in chunks:
                *self._waiting, rest = (rest + chunk).split(b"\n")
                while self._waiting:
                    yield self._waiting.pop(0)
        except (OSError, Lost) as error:
            raise unreachable(self._path, error) from error

    def next(self) -> Record | None:
        """The next one, waited for; None at the end."""
        return next(self._records, None)


def plain(call: Call, *, once: bool) -> int:
    """Tables below each other (or one JSON object a tick), without any control sequence."""
    feed = Feed(call)
    try:
        return _newest(call, feed) if once else _each(call, feed)
    finally:
        feed.connection.close()


def _each(call: Call, feed: Feed) -> int:
    scene: Scene | None = None
    while (record := feed.next()) is not None:
        if isinstance(record, Scene):
            scene = record
        elif isinstance(record, Frame) and scene is not None:
            _print(call, scene, record)
    return 0


def _newest(call: Call, feed: Feed) -> int:
    """The newest tick that has come, or the next one. What was before comes in pieces: who looks
    too soon sees a tick that is three seconds old."""
    now = time.time_ns()
    scene: Scene | None = None
    frame: Frame | None = None
    while (frame is None or frame.at < now) and _soon(
        feed, PATIENCE + 1 if frame is None else SETTLED
    ):
        record = feed.next()
        if record is None:
            break
        if isinstance(record, Scene):
            scene = record
        elif isinstance(record, Frame):
            frame = record
    if scene is not None and frame is not None:
        _print(call, scene, frame)
    elif call.on("json"):
        out(encode(toprows.nobody(time.time_ns())).decode() + "\n")
    else:
        out(toprows.headline(None, _state(call)) + "\n")
    return 0


def _print(call: Call, scene: Scene, frame: Frame) -> None:
    if call.on("json"):
        out(visible(encode(toprows.record(scene, frame)).decode()) + "\n")
        return
    key = call.text("sort") or "n"
    found = toprows.rows(scene, frame, key=key[:1], tree=call.on("tree"))
    memory = frame.capacity.get(Resource.MEMORY, 0)
    columns = size(STDOUT)[1]  # 0 of what is no terminal, where nothing is left out
    head = toprows.headline(frame, _state(call), columns)
    out("\n".join([head, *toprows.lines(found, columns=columns, capacity=memory)]) + "\n\n")


def _soon(feed: Feed, seconds: float) -> bool:
    if feed.ready:
        return True
    poll = select.poll()
    poll.register(feed.connection.open().fileno(), select.POLLIN)
    return bool(poll.poll(round(seconds * 1000)))


def _state(call: Call) -> str:
    return str(call.daemon.call("GET", "/v1/governor")["state"])


class Screen:
    """The whole terminal, until ``q``. What is typed acts on the chosen row."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._feed = Feed(call)
        self._scene: Scene | None = None
        self._frame: Frame | None = None
        self._state = _state(call)
        self._key = (call.text("sort") or "n")[:1]
        self._tree = call.on("tree")
        self._chosen = ""
        self._rows: list[toprows.Row] = []
        self._said = ""
        self._below: list[str] = []
        self._keys = Keys()
        self._drawn: tuple[tuple[int, int], list[str]] = ((0, 0), [])

    def run(self) -> int:
        """Until it is left, or the daemon goes."""
        with Signals() as signals, Raw(0):
            old = signal.signal(signal.SIGWINCH, lambda number, frame: None)
            out("\x1b[?1049h" + HIDE)
            try:
                return self._loop(signals.wake)
            finally:
                signal.signal(signal.SIGWINCH, old)
                self._feed.connection.close()
                out(SHOW + "\x1b[?1049l")

    def _loop(self, wake: int) -> int:
        poll = select.poll()
        daemon = self._feed.connection.open().fileno()
        for fd in (0, wake, daemon):
            poll.register(fd, select.POLLIN)
        if self._feed.ready and not self._take():
            return 0
        self._draw()
        while True:
            ready = {fd for fd, _ in poll.poll(round(PATIENCE * 1000))}
            if not ready:
                self._state = _state(self._call)
                if self._state in NOBODY:
                    self._frame = None  # what it shows is over
            if wake in ready:
                drain(wake)
            if daemon in ready and not self._take():
                return 0
            if 0 in ready:
                typed = posix.read(0, 64)
                if not typed or not self._type(typed):
                    return 0
            self._draw()

    def _take(self) -> bool:
        """Take all that has come; False at the end."""
        while True:
            record = self._feed.next()
            if record is None:
                return False
            if isinstance(record, Scene):
                self._scene = record
            elif isinstance(record, Frame):
                self._frame = record
            if not self._feed.ready:
                return True

    def _draw(self) -> None:
        height, width = size(STDOUT)
        height, width = height or 24, width or 80
        self._show(self._lines(height, width), (height, width))

    def _show(self, lines: list[str], window: tuple[int, int]) -> None:
        """Write what is not on the screen yet: a serial line carries some lines a second."""
        before, shown = self._drawn
        if before != window:
            out(CLEAR)
            shown = []
        shown = shown + [""] * (len(lines) - len(shown))
        lines = lines + [""] * (len(shown) - len(lines))
        pairs = zip(lines, shown, strict=True)
        out(
            "".join(
                f"\x1b[{number};1H{line}{REST}"
                for number, (line, old) in enumerate(pairs, 1)
                if line != old
            )
        )
        self._drawn = (window, lines)

    def _lines(self, height: int, width: int) -> list[str]:
        made = [toprows.headline(self._frame, self._state, width)]
        self._rows = self._rows if self._frame is not None else []
        if self._scene is not None and self._frame is not None:
            self._rows = toprows.rows(self._scene, self._frame, key=self._key, tree=self._tree)
            memory = self._frame.capacity.get(Resource.MEMORY, 0)
            table = toprows.lines(
                self._rows, columns=width, chosen=self._position(), capacity=memory
            )
            made += self._window(table, height - len(self._below) - 2)
        made += [line[:width] for line in self._below]
        return [*made[: height - 1], (self._said or _help(width))[:width]]

    def _window(self, table: list[str], room: int) -> list[str]:
        """The heading and the rows around the chosen one."""
        room = max(room, 2)
        if len(table) <= room:
            return table
        first = min(max(self._position() + 2 - room, 0), len(table) - room)
        return [table[0], *table[first + 1 : first + room]]

    def _position(self) -> int:
        found = [n for n, row in enumerate(self._rows) if _key(row) == self._chosen]
        return found[0] if found else 0

    def _type(self, typed: bytes) -> bool:
        """Act on keys; False to leave."""
        for key in self._keys.take(typed):
            self._said = ""
            if key in "q\x03\x04":
                return False
            if key in toprows.KEYS:
                self._key = key
                self._said = f"sorted by {toprows.KEYS[key][0]}"
            elif key == "t":
                self._tree = not self._tree
            elif key in STEPS and self._rows:
                step = STEPS[key]
                place = min(max(self._position() + step, 0), len(self._rows) - 1)
                self._chosen = _key(self._rows[place])
            elif key in "bpw":
                self._act(key)
            elif key == "\x1b":
                self._below = []
        return True

    def _act(self, key: str) -> None:
        row = self._rows[self._position()] if self._rows else None
        if row is None or not row.id:
            self._said = "choose a guest with j and k"
            return
        try:
            if key == "w":
                self._why(row)
            elif key == "b":
                self._boost(row)
            else:
                verb = "unpause" if row.state in {"paused", "sleeping"} else "pause"
                self._call.daemon.call("POST", f"/v1/guests/{quote(row.id)}/{verb}")
                told = {"pause": "is paused", "unpause": "goes on"}[verb]
                self._said = f"{cell(row.name)} {told}"
        except WirtError as error:
            self._said = cell(error.message)

    def _why(self, row: toprows.Row) -> None:
        if self._below:
            self._below = []
            return
        found = self._call.daemon.call("GET", f"/v1/governor/changes/{quote(row.id)}")
        told = why_lines(found[-WHY:]) or ["nothing was changed of late"]
        self._below = ["", f"{cell(row.name)}:", *told]

    def _boost(self, row: toprows.Row) -> None:
        if row.boosted:
            self._call.daemon.call("DELETE", f"/v1/boosts/{quote(row.id)}")
            self._said = f"{cell(row.name)} is no longer boosted"
            return
        body = {"target": row.id, "seconds": BOOST_SECONDS, "gain": BOOST}
        self._call.daemon.call("POST", "/v1/boosts", body)
        self._said = f"{cell(row.name)} is boosted for 10 minutes"


def _help(width: int) -> str:
    """As much of what can be typed as there is room for."""
    sorts = " ".join(f"{key}:{what}" for key, (what, _) in toprows.KEYS.items())
    told = [one.format(sorts=sorts, keys="".join(toprows.KEYS)) for one in KEYS]
    return next((one for one in told if len(one) <= width), told[-1])


def _key(row: toprows.Row) -> str:
    return row.id or f"group {row.name}"
