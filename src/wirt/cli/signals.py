"""Signals while a guest is attached: passed on to it, and the terminal's size follows.

The work is done in Python's own signal handlers, which run between bytecodes: each on a connection
of its own, so they disturb nothing under way. A signal that comes just before a blocking call does
not interrupt it, so whoever blocks here polls ``wake`` too (signal.set_wakeup_fd).
"""

from __future__ import annotations

import posix

from wirt.client.wire import Connection, Lost, quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any
else:
    import _signal  # signal itself costs 3 ms of enum

PROXIED = {
    _signal.SIGHUP: "HUP",
    _signal.SIGINT: "INT",
    _signal.SIGQUIT: "QUIT",
    _signal.SIGUSR1: "USR1",
    _signal.SIGUSR2: "USR2",
    _signal.SIGALRM: "ALRM",
    _signal.SIGTERM: "TERM",
}
"""What is passed on; stopping and continuing ourselves stays with the shell's job control."""
ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
PATIENCE = 5.0
"""Seconds that a daemon may take to pass a signal on."""


class Ended(BaseException):
    """A signal ends this client: unwind (so the terminal is restored), then exit 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """While entered: ends the client orderly, or after :meth:`proxy` passes signals to a guest."""

    def __init__(self) -> None:
        self._old: dict[int, Any] = {}
        self._path = ""
        self._guest = ""
        self._names: dict[int, str] = {}
        self._early: list[str] | None = None
        self.wake = -1

    def __enter__(self) -> Signals:
        self.wake, self._write = posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in ENDING:
            self._set(number, self._end)
        return self

    def __exit__(self, *error: object) -> None:
        for number, old in self._old.items():
            _signal.signal(number, old)
        self._old.clear()
        _signal.set_wakeup_fd(-1)
        posix.close(self.wake)
        posix.close(self._write)

    def _set(self, number: int, action: Callable[[int, FrameType | None], None]) -> None:
        old = _signal.signal(number, action)
        self._old.setdefault(number, old)

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    def proxy(self, path: str, guest: str, *, tty: bool, started: bool) -> None:
        """From now on pass signals to ``guest``; until :meth:`started` they are kept.

        With a terminal a hang-up is ours alone: closing a window must not end the guest.
        """
        self._path, self._guest = path, guest
        self._names = {n: name for n, name in PROXIED.items() if not (tty and name == "HUP")}
        self._early = None if started else []
        for number in self._names:
            self._set(number, self._pass_on)

    def started(self) -> None:
        """The guest runs: deliver what came before."""
        early, self._early = self._early or [], None
        for name in early:
            self._kill(name)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        name = self._names[number]
        if self._early is None:
            self._kill(name)
        else:
            self._early.append(name)

    def _kill(self, name: str) -> None:
        post(self._path, target(f"/v1/guests/{quote(self._guest)}/kill", [("signal", name)]))

    def follow_size(self, path: str, where: str, fd: int) -> None:
        """Tell the size of the terminal ``fd`` now and at every change. ``where``: resize route."""
        from wirt.cli.terminal import size

        def tell(number: int, frame: FrameType | None) -> None:
            rows, columns = size(fd)
            if rows and columns:
                post(path, target(where, [("rows", rows), ("columns", columns)]))

        self._set(_signal.SIGWINCH, tell)
        tell(_signal.SIGWINCH, None)


def drain(wake: int) -> None:
    """Empty the pipe that woke us; the handlers have run or run next."""
    try:
        while len(posix.read(wake, 512)) == 512:
            pass
    except BlockingIOError:
        return


def post(path: str, where: str) -> None:
    """Send a request whose failure nobody could act on: the guest may just have ended."""
    connection = Connection(path)
    try:
        connection.open().settimeout(PATIENCE)
        connection.request("POST", where).read()
    except (OSError, Lost, ValueError):
        pass
    finally:
        connection.close()
