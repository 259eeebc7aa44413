"""The governor's dead man's switch: without a sign of life the helper writes a safe plan.

A guest that waits at a limit for somebody to raise it would wait for ever. So the daemon says
beforehand what each guest may have without a governor, and the helper gives it that when the
daemon has been silent for :data:`SILENCE` seconds. The plan is in ``<run>/governed.json``, for the
helper may be killed, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Final

import msgspec

from wirt.layout import Layout
from wirt.linux import disks, libc
from wirt.linux.cgroup import Cgroups, Mode
from wirt.privileged import facts, governing
from wirt.privileged.holds import Safe

log = logging.getLogger("wirt.privileged")

FILE: Final = "governed.json"
SILENCE: Final = 10.0
"""Seconds without a sign of life."""
LOST: Final = 4.0
"""Seconds after a connection ended: a daemon that is only started again is back before."""
TRIES: Final = 3
"""How often the plan is written while nobody governs."""
_DECODER = msgspec.json.Decoder(tuple[Safe, ...])


class Deadman:
    """A timer that the governor winds up again and again."""

    def __init__(self, layout: Layout, cgroups: Cgroups) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._path = layout.run / FILE
        self._timer = libc.timerfd_create()
        self._plan = self._read()
        self._tries = 0
        self._wind(SILENCE)

    def fileno(self) -> int:
        """For poll(2)."""
        return self._timer

    def beat(self, plan: tuple[Safe, ...] | None) -> None:
        """The governor lives; ``plan``: another one from now on, None for the same."""
        if plan is not None and plan != self._plan:
            facts.replace(self._path, msgspec.json.encode(plan))
            self._plan = plan
        self._tries = 0
        self._wind(SILENCE)

    def allowed(self, guest_id: str, memory: int) -> None:
        """Its user allows a guest another number of bytes, -1: any. The daemon may be gone before
        it has told another plan, and what the plan says is written over what the user said."""
        name = "line" if self._cgroups.mode is Mode.V2 else "limit"
        plan = tuple(
            msgspec.structs.replace(safe, **{name: memory})
            if safe.id == guest_id and getattr(safe, name) is not None
            else safe
            for safe in self._plan
        )
        if plan != self._plan:
            facts.replace(self._path, msgspec.json.encode(plan))
            self._plan = plan

    def lost(self) -> None:
        """A connection ended; it may have been the governor's."""
        if self._tries == 0:
            self._wind(LOST)

    def heard(self) -> Callable[[], None] | None:
        """The time is over: what is to be done, in a child."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._timer, 8)
        if not self._plan:
            return None
        self._tries += 1
        log.warning("the governor is silent: %d guests get their safe plan", len(self._plan))
        if self._tries < TRIES:  # a write may fail, or a child that squeezes be under way
            self._wind(SILENCE)
        return self._restore

    def _restore(self) -> None:
        devices = disks.under(self._layout.on_disks)
        for safe in self._plan:
            path = self._layout.cgroup(safe.id)
            governing.release(self._cgroups, path, safe, disks=devices)
        governing.protect(self._cgroups, f"/{self._layout.name}")

    def _wind(self, seconds: float) -> None:
        libc.timerfd_settime(self._timer, seconds if self._plan else 0)

    def _read(self) -> tuple[Safe, ...]:
        try:
            return _DECODER.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return ()
