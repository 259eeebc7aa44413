"""Attached streams: what ``run``, ``start -a``, ``attach`` and ``exec`` share."""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import Unwritable, say
from wirt.cli.pump import Pump
from wirt.cli.signals import Ended, Signals
from wirt.cli.waiting import Waiter
from wirt.client.daemon import unreachable
from wirt.client.wire import Connection, Lost, quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from wirt.client.daemon import Daemon

DEFAULT_KEYS = b"\x10\x11"
"""ctrl-p, ctrl-q."""


class Streams:
    """Which of a guest's streams to join, and how. ``keys``: docker's text for the detach keys."""

    __slots__ = ("keys", "stderr", "stdin", "stdout", "tty")

    def __init__(
        self,
        *,
        tty: bool,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        keys: str = "",
    ) -> None:
        self.tty = tty
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.keys = keys

    def key_bytes(self) -> bytes:
        """What the user types to leave; empty where nothing is typed into a terminal."""
        if not (self.tty and self.stdin):
            return b""
        if not self.keys:
            return DEFAULT_KEYS
        from wirt.cli.terminal import detach_keys

        return detach_keys(self.keys)

    def check(self) -> None:
        """Refuse wrong detach keys, and a terminal without one here. Raises Invalid."""
        if self.keys:
            from wirt.cli.terminal import detach_keys

            detach_keys(self.keys)
        if self.tty and self.stdin and not posix.isatty(0):
            raise misuse(
                "standard input is not a terminal", hint="leave out -t (or -i) when input is a pipe"
            )

    def attach_target(self, guest: str) -> str:
        """The route that joins them."""
        return target(
            f"/v1/guests/{quote(guest)}/attach",
            [
                ("stdin", self.stdin),
                ("stdout", self.stdout),
                ("stderr", self.stderr),
                ("detach_keys", self.keys or None),
            ],
        )

    def raw(self) -> AbstractContextManager[object]:
        """Raw mode of our terminal while entered, when the guest's terminal takes our input."""
        if self.tty and self.stdin and posix.isatty(0):
            from wirt.cli.terminal import Raw

            return Raw(0)
        return _Nothing()


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def ask(daemon: Daemon, where: str) -> Connection:
    """Send the request for a stream; :func:`join` takes its answer."""
    connection = daemon.connection()
    try:
        connection.send("POST", where, kind="upgrade")
    except OSError as error:
        raise unreachable(daemon.path, error) from error
    return connection


def join(connection: Connection, streams: Streams) -> Pump:
    """The pump of a stream that was asked for. Raises the daemon's problem."""
    try:
        answer = connection.receive()
        if answer.status >= 400:
            raise answer.problem()
        if answer.status != 101:
            raise Lost(f"it answered {answer.status} where a stream was asked for")
    except (OSError, Lost, ValueError) as error:
        raise unreachable(connection.path, error) from error
    sock, rest = connection.give()
    return Pump(sock, rest, tty=streams.tty, stdin=streams.stdin, keys=streams.key_bytes())


def flow(pump: Pump, signals: Signals, path: str) -> None:
    """Run the pump; a stream that is no stream is the daemon's fault."""
    try:
        pump.run(signals.wake)
    except (BrokenPipeError, Unwritable):
        raise
    except (OSError, ValueError) as error:
        raise unreachable(path, Lost(str(error))) from error


def terminal_fd() -> int | None:
    """The descriptor whose size the guest's terminal shall have."""
    return next((fd for fd in (1, 0, 2) if posix.isatty(fd)), None)


def attended(
    daemon: Daemon, guest: str, streams: Streams, *, condition: str, proxy: bool, start: bool
) -> int:
    """Attach, wait, perhaps start, pump, and return the exit code: 0 after the detach keys.

    Attach and wait are in place before the start, so neither a byte nor the end can be missed.
    """
    stream = ask(daemon, streams.attach_target(guest))
    waiter = Waiter.of_guest(daemon, guest, condition=condition)
    pump = join(stream, streams)
    waiter.ready()
    try:
        with Signals() as signals, streams.raw():
            if proxy:
                signals.proxy(daemon.path, guest, tty=streams.tty, started=not start)
            if start:
                daemon.call("POST", f"/v1/guests/{quote(guest)}/start")
                signals.started()
            follow(signals, streams, path=daemon.path, where=f"/v1/guests/{quote(guest)}/resize")
            flow(pump, signals, daemon.path)
            if not (pump.detached and _runs(daemon, guest)):
                return waiter.result(signals.wake)
    except Ended as ended:
        return 128 + ended.number
    finally:
        waiter.close()
    say("read the detach keys; the guest goes on")
    return 0


def follow(signals: Signals, streams: Streams, *, path: str, where: str) -> None:
    """Pass on the size of our terminal, now and when it changes."""
    fd = terminal_fd() if streams.tty else None
    if fd is not None:
        signals.follow_size(path, where, fd)


def _runs(daemon: Daemon, guest: str) -> bool:
    from wirt.errors import WirtError

    try:
        told = daemon.call("GET", f"/v1/guests/{quote(guest)}")
    except WirtError:
        return False
    return state_of(told) in {"running", "paused"}


def state_of(told: dict[str, object]) -> str:
    """The state in an inspect object."""
    status = told.get("status")
    if isinstance(status, dict):
        return str(status.get("state", ""))
    return str(told.get("state", ""))


def executed(daemon: Daemon, path: str, streams: Streams) -> int:
    """Start the further process at ``path``, pump its streams, and return its exit code.

    0 after the detach keys. Signals end this client alone, as with docker.
    """
    stream = ask(daemon, f"{path}/start")
    try:
        with Signals() as signals, streams.raw():
            pump = join(stream, streams)
            follow(signals, streams, path=daemon.path, where=f"{path}/resize")
            flow(pump, signals, daemon.path)
            if pump.detached:
                return 0
            waiter = Waiter(daemon, f"{path}/wait", later=f"{path}/wait", patient=True)
            try:
                return waiter.result(signals.wake)
            finally:
                waiter.close()
    except Ended as ended:
        return 128 + ended.number
