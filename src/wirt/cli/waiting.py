"""Waiting for a guest's end, also across a restart of the daemon."""

from __future__ import annotations

import select
import time

from wirt.cli.output import say
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
    """One pending ``wait`` on a connection of its own; opened before the guest starts."""

    def __init__(self, daemon: Daemon, guest: str, *, condition: str) -> None:
        self._daemon = daemon
        self._guest = guest
        self._removes = condition == "removed"
        self._since = time.time_ns()
        self._connection = daemon.connection()
        self._answer: Response | None = None
        self._ask(condition)

    def _ask(self, condition: str) -> None:
        where = target(f"/v1/guests/{quote(self._guest)}/wait", [("condition", condition)])
        self._connection.send("POST", where)

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

    def result(self) -> int:
        """The guest's exit code. Raises WirtError when nobody can tell it."""
        from_here: float | None = None
        while True:
            try:
                told = decode(self._head().read())
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

    def _again(self) -> None:
        """Connect anew and ask again; the guest may have ended meanwhile."""
        self._connection.close()
        select.select([], [], [], _STEP)
        self._connection = Connection(self._daemon.path)
        try:
            self._ask("not-running")
        except OSError:
            self._connection.close()  # not yet back: result() tries again

    def _remembered(self, error: Exception) -> int | None:
        """The code that the event of its end tells, for a guest that was removed meanwhile."""
        from wirt.errors import NotFound

        if not isinstance(error, NotFound) or not self._removes:
            return None
        where = target("/v1/events", [("since", self._since), ("until", time.time_ns())])
        code = None
        for line in self._daemon.request("GET", where).lines():
            event = decode(line)
            if event.get("action") == "die" and event.get("subject") == self._guest:
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
