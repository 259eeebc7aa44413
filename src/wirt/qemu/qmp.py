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

from qemu.qmp import QMPClient, QMPError

from wirt.errors import Unavailable
from wirt.qemu.device import balloon

SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A balloon's figures (``stat-free-memory``...) in bytes, without those that the guest did not
    give. ``at``: when it gave them, Unix seconds; 0: never."""

    at: float = 0
    said: Mapping[str, int] = field(default_factory=dict)


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

    async def size(self) -> int:
        """Bytes of memory that the machine has: those of its start and those plugged in since."""
        answer = await self.execute("query-memory-size-summary")
        return _number(answer, "base-memory") + _number(answer, "plugged-memory")

    async def memory(self) -> int:
        """Bytes that the guest may use now: its size less what the balloon holds. The balloon's
        part is the guest's word."""
        answer = await self.execute("query-balloon")
        return _number(answer, "actual")

    async def set_memory(self, size: int) -> None:
        """Ask the balloon to leave the guest ``size`` bytes; it does so as far as it can."""
        await self.execute("balloon", {"value": size})

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
    client = QMPClient("wirt")
    try:
        async with asyncio.timeout(SECONDS):
            await client.connect(str(path))
    except (QMPError, OSError, TimeoutError, EOFError) as error:
        raise Unavailable("the machine's monitor does not answer") from error
    try:
        yield Monitor(client)
    finally:
        with contextlib.suppress(QMPError, OSError, TimeoutError, EOFError):
            async with asyncio.timeout(SECONDS):
                await client.disconnect()


def _number(answer: object, key: str) -> int:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, int):
        raise Unavailable(f"the machine's monitor gave no {key}")
    return value
