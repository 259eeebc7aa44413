"""The reverter: every step of a longer operation pushes its inverse; success forgets them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

from wirt.aio import shielded
from wirt.errors import Timeout
from wirt.privileged.faults import fault

log = logging.getLogger("wirt.undo")

DEADLINE = 90.0
"""Seconds; more than the patience with the helper (:mod:`wirt.host.insist`)."""

Step = Callable[[], Awaitable[object]]


class Undo:
    """``async with Undo() as undo:`` runs the pushed inverses, newest first, unless ``keep()``.

    An inverse that fails is logged and the others still run; the original error goes on.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Step]] = []

    def push(self, what: str, step: Step) -> None:
        """Remember how to undo what is done next; ``what`` names it in logs and fault tests."""
        self._steps.append((what, step))
        fault(f"host.{what}")

    def keep(self) -> None:
        """The operation succeeded: undo nothing."""
        self._steps.clear()

    async def __aenter__(self) -> Undo:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._steps:
            try:
                await shielded(self._run(), deadline=DEADLINE)
            except Timeout:  # must not hide what went wrong, least of all a cancellation
                log.exception("could not undo in time")

    async def _run(self) -> None:
        while self._steps:
            what, step = self._steps.pop()
            try:
                await step()
            except Exception:
                log.exception("could not undo: %s", what)
