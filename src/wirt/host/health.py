"""Health checks: a command run inside the guest from time to time, and what it says.

Docker's rules: failures in the start period do not count, a success ends it; ``retries`` failures
in a row make the guest unhealthy; output is kept to 4096 bytes.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.host.events import Bus
from wirt.host.roster import Roster
from wirt.host.running import Exec, Live, Running
from wirt.model.guest import ExecSpec, Guest, GuestState, GuestStatus, HealthCheck, HealthStatus
from wirt.model.names import new_id

MAX_OUTPUT = 4096
SECOND = 1_000_000_000


class Health:
    """Runs the health checks of running guests."""

    def __init__(self, *, roster: Roster, running: Running, bus: Bus, nursery: Nursery) -> None:
        self._roster = roster
        self._running = running
        self._bus = bus
        self._nursery = nursery

    def watch(self, guest: Guest) -> None:
        """Begin checking a guest that has just started (or was adopted), if it has a check."""
        check = guest.spec.health
        live = self._running.get(guest.id)
        if check is not None and live is not None:
            self._nursery.start(self._watch(live, check), name=f"health {guest.name}")

    async def _watch(self, live: Live, check: HealthCheck) -> None:
        status = HealthStatus()
        await self._store(live, status)
        began = time.monotonic_ns()
        starting = check.start_period > 0
        while self._running.get(live.guest_id) is live:
            pause = check.start_interval if starting else check.interval
            if await _ends_within(live, pause / SECOND):
                return
            if self._roster.get(live.guest_id).status.state is GuestState.PAUSED:
                continue
            code, output = await self._run(live, check)
            starting = starting and code != 0 and time.monotonic_ns() - began < check.start_period
            status = judge(status, check, code, output, forgiven=starting)
            await self._store(live, status)

    async def _store(self, live: Live, status: HealthStatus) -> None:
        before: list[HealthStatus | None] = []

        def put(known: GuestStatus) -> GuestStatus | None:
            if self._running.get(live.guest_id) is not live or live.exit is not None:
                return None  # it has ended meanwhile
            before.append(known.health)
            return replace(known, health=status)

        guest = await self._roster.revise(live.guest_id, put)
        if before and before[0] is not None and before[0].status != status.status:
            self._bus.publish(
                "guest",
                f"health_status: {status.status}",
                guest.id,
                name=guest.name,
                image=guest.spec.image,
            )

    async def _run(self, live: Live, check: HealthCheck) -> tuple[int, str]:
        """Exit code and output of one check; a check that takes too long counts as failed."""
        spec = ExecSpec(command=check_command(check))
        process = Exec(id=new_id(), guest_id=live.guest_id, spec=spec, started=True, check=True)
        self._running.add_exec(process)
        ours, theirs = socket.socketpair()
        try:
            with ours:
                ours.setblocking(False)
                try:
                    await live.handle.execute(process.id, spec, theirs.fileno())
                finally:
                    theirs.close()
                async with asyncio.timeout(check.timeout / SECOND):
                    output = await _read_output(ours)
                    await process.ended.wait()
            return process.code or 0, output
        except TimeoutError:
            await _kill(live, process)
            return -1, f"health check took longer than {check.timeout / SECOND:g} s"
        except (WirtError, OSError) as error:
            return -1, str(error)


async def _kill(live: Live, process: Exec) -> None:
    try:
        await live.handle.signal(9, target=process.id)
    except WirtError:
        return  # it ended in this very moment


async def _ends_within(live: Live, seconds: float) -> bool:
    try:
        await asyncio.wait_for(live.ended.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _read_output(stream: socket.socket) -> str:
    """The payloads of docker's stream frames, at most :data:`MAX_OUTPUT` bytes of them."""
    loop = asyncio.get_running_loop()
    raw = bytearray()
    while chunk := await loop.sock_recv(stream, 65536):
        if len(raw) < 2 * MAX_OUTPUT:
            raw += chunk
    output = bytearray()
    while len(raw) >= 8 and len(output) < MAX_OUTPUT:
        length = int.from_bytes(raw[4:8], "big")
        output += raw[8 : 8 + length]
        del raw[: 8 + length]
    return output[:MAX_OUTPUT].decode("utf-8", "replace")


def check_command(check: HealthCheck) -> tuple[str, ...]:
    """The command of docker's ``CMD`` or ``CMD-SHELL`` form."""
    if check.test[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", check.test[1] if len(check.test) > 1 else "true")
    return check.test[1:] if check.test[0] == "CMD" else check.test


def judge(
    before: HealthStatus, check: HealthCheck, code: int, output: str, *, forgiven: bool
) -> HealthStatus:
    """The status after one check. Pure. ``forgiven``: a failure that does not count yet."""
    if code == 0:
        return HealthStatus(status="healthy", exit_code=0, output=output)
    streak = before.failing_streak + (0 if forgiven else 1)
    failed = streak >= max(1, check.retries)
    return HealthStatus(
        status="unhealthy" if failed else before.status,
        failing_streak=streak,
        exit_code=code,
        output=output,
    )
