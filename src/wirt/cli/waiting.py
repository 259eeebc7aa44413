"""Waiting for a guest's end, also across a restart of the daemon."""

from __future__ import annotations

import select
import time

from wirt.cli.output import say
from wirt.cli.signals import drain
from wirt.client.daemon import unreachable
from wirt.client.fastjson import decode
from wirt.client.wire import Connection, Lost, Response, quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wirt.client.daemon import Daemon
PATIENCE = 60.0
"""Seconds that a daemon may be away while it restarts."""
_STEP = 0.1


class Waiter:
    """One pending ``wait`` on a connection of its own; opened before the process starts.

    ``first`` is the route asked now, ``later`` the one after the daemon was away meanwhile.
    ``removed``: id of a guest that is removed at its end, so that nobody may be left to ask.
    ``patient``: what is waited for runs already, so the daemon may be away right now.
    """

    def __init__(
        self, daemon: Daemon, first: str, *, later: str, removed: str = "", patient: bool = False
    ) -> None:
        self._daemon = daemon
        self._later = later
        self._removed = removed
        self._since = time.time_ns()
        self._connection = Connection(daemon.path)
        self._answer: Response | None = None
        try:
            self._connection.send("POST", first)
        except OSError as error:
            self._connection.close()
            if not patient:
                raise unreachable(daemon.path, error) from error

    @classmethod
    def of_guest(cls, daemon: Daemon, guest: str, *, condition: str) -> Waiter:
        """Wait for a guest: ``not-running``, ``next-exit`` or ``removed``."""
        where = f"/v1/guests/{quote(guest)}/wait"
        return cls(
            daemon,
            target(where, [("condition", condition)]),
            later=target(where, [("condition", "not-running")]),
            removed=guest if condition == "removed" else "",
        )

    def ready(self) -> None:
        """Return when the daemon waits: its headers have come. Raises its problem."""
        try:
            self._head()
        except (OSError, Lost, ValueError) as error:
            raise unreachable(self._daemon.path, error) from error

    def _head(self) -> Response:
        if self._answer is None:
            answer = self._connection.receive()
            if answer.status >= 400:
                raise answer.problem()
            self._answer = answer
        return self._answer

    def result(self, wake: int = -1) -> int:
        """The guest's exit code. Raises WirtError when nobody can tell it.

        ``wake`` is readable when a signal came (:class:`~wirt.cli.signals.Signals`).
        """
        from_here: float | None = None
        while True:
            try:
                self._sleep(wake)
                answer = self._head()
                self._sleep(wake)
                told = decode(answer.read())
                return exit_code(told)
            except (OSError, Lost, ValueError) as error:
                self._answer = None
                if from_here is None:
                    from_here = time.monotonic()
                if time.monotonic() - from_here > PATIENCE:
                    raise unreachable(self._daemon.path, error) from error
            except Exception as error:
                known = self._remembered(error)
                if known is None:
                    raise
                return known
            self._again()

    def _sleep(self, wake: int) -> None:
        """Until there is something to read, running the handlers of signals that come."""
        if wake < 0 or self._connection.has_bytes or not self._connection.is_open:
            return
        poll = select.poll()
        poll.register(self._connection.open().fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        while [fd for fd, _ in poll.poll()] == [wake]:
            drain(wake)

    def _again(self) -> None:
        """Connect anew and ask again; the guest may have ended meanwhile."""
        self._connection.close()
        select.select([], [], [], _STEP)
        self._connection = Connection(self._daemon.path)
        try:
            self._connection.send("POST", self._later)
        except OSError:
            self._connection.close()  # not yet back: result() tries again

    def _remembered(self, error: Exception) -> int | None:
        """The code that the event of its end tells, for a guest that was removed meanwhile."""
        from wirt.errors import NotFound

        if not isinstance(error, NotFound) or not self._removed:
            return None
        where = target("/v1/events", [("since", self._since), ("until", time.time_ns())])
        code = None
        for line in self._daemon.request("GET", where).lines():
            event = decode(line)
            if event.get("action") == "die" and event.get("subject") == self._removed:
                code = int(event.get("attributes", {}).get("exitCode", 255))
        return code

    def close(self) -> None:
        """Stop waiting."""
        self._connection.close()


def exit_code(told: Any) -> int:
    """The code of a wait answer; what went wrong beside it is told on standard error."""
    code = int(told["code"]) & 0xFF
    if told.get("error"):
        say(f"wirt: {told['error']}")
        return code or 125
    return code
