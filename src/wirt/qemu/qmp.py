"""A machine's QMP monitor: few verbs, each with a deadline.

QEMU serves one connection at a time, so there is one for all who ask. It is made with the first
question and stays open: to open it costs more than what is asked. After anything that is not as it
should be it is closed, and the next question makes another one.
The answers come from a process that a guest may have taken over: only their shape is trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wirt.errors import Unavailable
from wirt.qemu.device import balloon, disk, more
from wirt.qemu.link import Link, Question

SECONDS = 5.0
"""For an answer, and for the connection when there is none yet."""
_LONGEST = 200
_SIZES: Question = ("query-memory-size-summary", {})
_BALLOON: Question = ("query-balloon", {})
_FIGURES: Question = ("qom-get", {"path": balloon.PATH, "property": "guest-stats"})


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
    """The monitor at the socket ``qmp.sock`` of a guest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    def close(self) -> None:
        """End the connection, for ever; whoever waits for an answer gets none."""
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()

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
        return _memory(*await self._ask(_SIZES, _BALLOON))

    async def told(self) -> tuple[Memory, Figures]:
        """:meth:`memory` and :meth:`figures` in one go: what is asked most often."""
        sizes, leaves, figures = await self._ask(_SIZES, _BALLOON, _FIGURES)
        return _memory(sizes, leaves), _figures(figures)

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
        return _figures(*await self._ask(_FIGURES))

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Any command's answer. Raises Unavailable when QEMU refuses or is silent for 5 s."""
        return (await self._ask((command, arguments or {})))[0]

    async def _ask(self, *questions: Question) -> Sequence[Any]:
        """All answers, or Unavailable."""
        try:
            async with asyncio.timeout(SECONDS):
                answers = await (await self._open()).ask(*questions)
        except (OSError, TimeoutError, EOFError) as error:
            self._hang_up()
            raise _refused(questions[0], str(error) or "no answer") from error
        for question, answer in zip(questions, answers, strict=True):
            if answer.error is not None:
                raise _refused(question, answer.error.desc)
        return [answer.value for answer in answers]

    async def _open(self) -> Link:
        async with self._opening:
            if self._closed:
                raise EOFError("the connection was closed")
            if self._link is None or self._link.closed:
                self._link = await Link.open(self._path)
            return self._link


def _refused(question: Question, why: str) -> Unavailable:
    plain = "".join(c if c.isprintable() else "?" for c in why[:_LONGEST])
    return Unavailable(f"the machine's monitor did not carry out {question[0]}: {plain}")


def _memory(sizes: object, leaves: object) -> Memory:
    plugged = _number(sizes, "plugged-memory")
    return Memory(
        start=_number(sizes, "base-memory"),
        plugged=plugged,
        left=_number(leaves, "actual") + plugged,
    )


def _figures(answer: object) -> Figures:
    stats = answer.get("stats") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(stats, dict):
        return Figures()
    known = {k: v for k, v in stats.items() if isinstance(v, int)}
    said = {str(k): v for k, v in known.items() if 0 <= v < 2**63}
    at = answer.get("last-update")
    return Figures(at=at if isinstance(at, int) else 0, said=said)


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
