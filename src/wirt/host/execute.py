"""Further processes in a running guest: make, start, resize, look at."""

from __future__ import annotations

import os

from wirt.errors import Conflict, Internal, Invalid, WirtError
from wirt.host.create import MAX_ARGUMENT_BYTES, MAX_ENV_BYTES
from wirt.host.events import Bus
from wirt.host.roster import Roster
from wirt.host.running import Exec, Running
from wirt.model.guest import ExecSpec, Guest
from wirt.model.names import new_id
from wirt.model.terminal import parse_detach_keys

LARGEST_TERMINAL = 65535


class Execute:
    """The ``exec`` verb."""

    def __init__(self, *, roster: Roster, running: Running, bus: Bus) -> None:
        self._roster = roster
        self._running = running
        self._bus = bus

    def create(self, guest: Guest, spec: ExecSpec) -> Exec:
        """Make a further process; it runs at :meth:`start`. Raises Conflict, Invalid."""
        self._running.require(guest)
        check_exec(spec)
        process = Exec(id=new_id(), guest_id=guest.id, spec=spec)
        self._running.add_exec(process)
        self._publish(guest, "exec_create", process)
        return process

    def startable(self, exec_id: str) -> Exec:
        """The process if it can be started now; checked before the connection is hijacked."""
        process = self._running.exec(exec_id)
        if process.started:
            raise Conflict(f"exec {process.id[:12]} was started before", code="exec.started")
        self._running.require(self._roster.get(process.guest_id))
        return process

    async def start(self, process: Exec, descriptor: int | None) -> None:
        """Run it with ``descriptor`` (a stream socket, closed here in any case) as its streams.

        Raises an error with ``facts["exit"]`` when it cannot be run; the process then counts as
        ended with that code.
        """
        try:
            self.startable(process.id)  # again: somebody else may have started it meanwhile
            guest = self._roster.get(process.guest_id)
            process.started = True
            await self._run(process, guest, descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        self._publish(guest, "exec_start", process)

    async def _run(self, process: Exec, guest: Guest, descriptor: int | None) -> None:
        try:
            live = self._running.require(guest)
            process.pid = await live.handle.execute(process.id, process.spec, descriptor)
        except Exception as error:
            known = error if isinstance(error, WirtError) else Internal(f"internal error: {error}")
            if process.code is None:
                process.failure = known.message
                self._running.exec_ended(process, int(known.facts.get("exit", 126)))
            raise

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Tell a running process the size of its terminal."""
        process = self._running.exec(exec_id)
        guest = self._roster.get(process.guest_id)
        if not process.started or process.code is not None:
            raise Conflict(f"exec {process.id[:12]} is not running", code="exec.not-running")
        live = self._running.require(guest, paused_too=True)
        await live.handle.resize(rows, columns, target=process.id)

    def find(self, exec_id: str) -> Exec:
        """The process with this id. Raises NotFound."""
        return self._running.exec(exec_id)

    def _publish(self, guest: Guest, action: str, process: Exec) -> None:
        self._bus.publish(
            "guest",
            f"{action}: {' '.join(process.spec.command)[:200]}",
            guest.id,
            name=guest.name,
            image=guest.spec.image,
            execID=process.id,
        )


def check_exec(spec: ExecSpec) -> None:
    """Raise Invalid for an impossible further process. Pure."""
    if not spec.command or not spec.command[0]:
        raise Invalid("no command to execute", hint="write the command after the guest's name")
    words = (*spec.command, *spec.env, spec.user, spec.working_dir)
    if any("\0" in word for word in words):
        raise Invalid("the command, environment, user or directory contains a NUL byte")
    if sum(map(len, spec.command)) > MAX_ARGUMENT_BYTES or sum(map(len, spec.env)) > MAX_ENV_BYTES:
        raise Invalid("the command or its environment is too long")
    for entry in spec.env:
        if not entry.partition("=")[0] or "=" not in entry:
            raise Invalid(f"invalid environment entry {entry[:60]!r}", hint="write NAME=value")
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise Invalid(
            f"working directory {spec.working_dir[:80]!r} is not absolute",
            hint="write a path that begins with /",
        )
    if not (0 <= spec.rows <= LARGEST_TERMINAL and 0 <= spec.columns <= LARGEST_TERMINAL):
        raise Invalid("the terminal's size is out of range")
    parse_detach_keys(spec.detach_keys)
