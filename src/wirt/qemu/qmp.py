"""A machine's QMP monitor: few verbs, each with a deadline.

QEMU serves one connection at a time, so a monitor is opened for one question and closed again.
The answers come from a process that a guest may have taken over: only their shape is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, QMPClient, QMPError
from qemu.qmp.qmp_client import NegotiationError

from wirt.errors import Unavailable
from wirt.qemu.device import balloon, disk, more

SECONDS = 5.0
_AGAIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A balloon's figures (``stat-free-memory``...) in bytes, without those that the guest did not
    give. ``at``: when it gave them, Unix seconds; 0: never."""

    at: float = 0
    said: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that a machine was started with, that were plugged in since, and that its balloon
    leaves it of both, which is the guest's word."""

    start: int
    plugged: int
    left: int

    @property
    def whole(self) -> int:
        """All that it has."""
        return self.start + self.plugged


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Bytes plugged in, and that can be."""

    size: int = 0
    most: int = 0


class Monitor:
    """An open monitor."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client

    async def stop(self) -> None:
        """Stop the virtual CPUs."""
        await self.execute("stop")

    async def cont(self) -> None:
        """Let them go on."""
        await self.execute("cont")

    async def status(self) -> str:
        """QEMU's run state: ``running``, ``paused``, ``shutdown``..."""
        answer = await self.execute("query-status")
        return str(answer.get("status", "")) if isinstance(answer, dict) else ""

    async def memory(self) -> Memory:
        """What the guest has, and may use now."""
        sizes = await self.execute("query-memory-size-summary")
        balloon_leaves = _number(await self.execute("query-balloon"), "actual")
        plugged = _number(sizes, "plugged-memory")
        return Memory(
            start=_number(sizes, "base-memory"), plugged=plugged, left=balloon_leaves + plugged
        )

    async def leave(self, size: int) -> None:
        """Ask the balloon to leave the guest ``size`` bytes; it does so as far as it can. What was
        plugged in does not count for QEMU, so that much stays at least."""
        now = await self.memory()
        await self.execute("balloon", {"value": max(min(size, now.whole) - now.plugged, 1 << 20)})

    async def extra(self) -> Extra:
        """The memory that can be plugged in; none for a machine that cannot grow."""
        for device in _list(await self.execute("query-memory-devices")):
            data = device.get("data")
            if device.get("type") == "virtio-mem" and isinstance(data, dict):
                return Extra(size=_number(data, "size"), most=_number(data, "max-size"))
        return Extra()

    async def set_extra(self, size: int) -> None:
        """Ask the guest to use ``size`` bytes of it, a multiple of 2 MiB."""
        await self._set(more.PATH, "requested-size", size)

    async def processors(self) -> tuple[int, list[dict[str, object]]]:
        """How many processors there are, and the places for further ones, as what to add there."""
        try:
            slots = _list(await self.execute("query-hotpluggable-cpus"))
        except Unavailable:  # a board that has none, or a monitor that does not answer again
            return len(_list(await self.execute("query-cpus-fast"))), []
        free = [slot for slot in slots if "qom-path" not in slot]
        places = [_place(slot) for slot in free]
        return len(slots) - len(free), sorted(places, key=lambda place: str(place["id"]))

    async def add_processor(self, place: dict[str, object]) -> None:
        """Plug one in, at a place of :meth:`processors`."""
        await self.execute("device_add", place)

    async def limit_disks(self, rate: int) -> None:
        """See :func:`wirt.qemu.device.disk.throttle`."""
        await self._set(disk.PATH, "limits", disk.limits(rate))

    async def disk_limits(self) -> dict[str, int]:
        """The throttle's limits that are set, by QEMU's names."""
        answer = await self.execute("qom-get", {"path": disk.PATH, "property": "limits"})
        known = answer if isinstance(answer, dict) else {}
        return {k: v for k, v in known.items() if isinstance(v, int) and v and "length" not in k}

    async def _set(self, path: str, name: str, value: object) -> None:
        await self.execute("qom-set", {"path": path, "property": name, "value": value})

    async def figures(self) -> Figures:
        """What the guest last said of its memory."""
        answer = await self.execute("qom-get", {"path": balloon.PATH, "property": "guest-stats"})
        stats = answer.get("stats") if isinstance(answer, dict) else None
        if not isinstance(stats, dict):
            return Figures()
        known = {k: v for k, v in stats.items() if isinstance(v, int)}
        said = {str(k): v for k, v in known.items() if 0 <= v < 2**63}
        return Figures(at=answer.get("last-update") or 0, said=said)

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> Any:
        """Any command's answer. Raises Unavailable when QEMU refuses or is silent for 5 s."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._client.execute(command, arguments)
        except (QMPError, OSError, TimeoutError, EOFError) as error:
            raise Unavailable(
                f"the machine's monitor did not carry out {command}: {error or 'no answer'}"
            ) from error


@contextlib.asynccontextmanager
async def open_monitor(path: Path) -> AsyncIterator[Monitor]:
    """Connect to the socket ``qmp.sock`` of a guest. Raises Unavailable within 5 s."""
    try:
        async with asyncio.timeout(SECONDS):
            client = await _connect(path)
    except (QMPError, OSError, TimeoutError, EOFError) as error:
        raise Unavailable("the machine's monitor does not answer") from error
    try:
        yield Monitor(client)
    finally:
        with contextlib.suppress(QMPError, OSError, TimeoutError, EOFError):
            async with asyncio.timeout(SECONDS):
                await client.disconnect()


async def _connect(path: Path) -> QMPClient:
    """A client that has agreed with QEMU. An event that comes before QEMU's answer (the balloon
    has moved) is taken for that by the library: then once more, as often as there is time."""
    while True:
        client = QMPClient("wirt")
        try:
            await client.connect(str(path))
        except ConnectError as error:
            if not isinstance(error.exc, NegotiationError):
                raise
            await asyncio.sleep(_AGAIN)
            continue
        return client


def _number(answer: object, key: str) -> int:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, int):
        raise Unavailable(f"the machine's monitor gave no {key}")
    return value


def _list(answer: object) -> list[dict[str, Any]]:
    rows = answer if isinstance(answer, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _place(slot: dict[str, Any]) -> dict[str, object]:
    """``device_add``'s arguments for a free slot."""
    where = {str(key): value for key, value in slot.get("props", {}).items()}
    number = "-".join(f"{where.get(part, 0):04}" for part in ("socket-id", "core-id", "thread-id"))
    return {"driver": str(slot.get("type")), "id": f"cpu-{number}", **where}
