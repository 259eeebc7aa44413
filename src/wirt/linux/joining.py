"""A process on its way into a control group."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Joining:
    """``join`` in a thread of its own, by which the whole process changes its group.

    The kernel lets a process change its group only after an RCU grace period, some 10 ms, unless
    another one did so a moment ago. That is as long as all the rest of a launch takes.
    """

    def __init__(self, join: Callable[[], None]) -> None:
        self._join = join
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="join", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._join()
        except OSError as error:
            self._error = error

    def wait(self) -> None:
        """Return when the whole process is in the group. Raises what ``join`` does."""
        self._thread.join()
        if self._error is not None:
            raise self._error
