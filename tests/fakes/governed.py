"""A governor's trace as a daemon sends it: two guests in a group, one of them hungry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.daemon import Exchange, FakeDaemon
from wirt.governor.journal import Act, Change, Frame, Share
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.trace import Head, Label, Record, Scene, encode
from wirt.governor.tree import Claim, Group, Member, Resource

MIB = 1 << 20
SECOND = 10**9
TRACE = "GET /v1/governor/trace"
DC, MAIL = "d" * 64, "e" * 64
CHANGE: dict[str, Any] = {
    "at": 1_700_000_000 * SECOND, "guest": DC, "resource": "memory", "act": "shrink",
    "reason": "taxed", "before": 200 * MIB, "after": 140 * MIB, "effect": 140 * MIB, "failure": "",
    "inputs": {"memory": 120.0 * MIB, "refaults": 0.0, "calm": 9, "odd": 3.5},
}  # fmt: skip
HOSTILE = "ma\x1b]0;il\n=x"
ROOT = Group(
    name="",
    children=(
        Group(
            name="it",
            expandable=True,
            children=(
                Member(
                    name=DC,
                    claims={
                        Resource.CPU: Claim(reservation=100, shares=2000),
                        Resource.MEMORY: Claim(reservation=32 * MIB, limit=420 * MIB),
                    },
                ),
            ),
        ),
        Member(name=MAIL, claims={}),
    ),
)


def scene(at: int, *, boosts: dict[str, int] | None = None, paused: bool = False) -> Scene:
    """Who is there."""
    return Scene(
        at=at, root=ROOT, boosts=boosts or {},
        labels={
            DC: Label(name="dc", state="paused" if paused else "running"),
            MAIL: Label(name=HOSTILE, state="running"),
        },
    )  # fmt: skip


def frame(at: int, *, use: int = 281) -> Frame:
    """A tick of a host of one core and 512 MiB."""
    return Frame(
        at=at,
        tick=Tick(
            seconds=0.2, free=100 * MIB,
            guests={
                DC: Seen(cpu=710, cpu_wait=20, memory=use * MIB, memory_limit=339 * MIB,
                         refaults=410.0),
                MAIL: Seen(),
            },
        ),
        capacity={Resource.CPU: 1000, Resource.MEMORY: 512 * MIB},
        shares={
            DC: {
                Resource.CPU: Share(use=710, demand=730, entitled=666),
                Resource.MEMORY: Share(
                    use=use * MIB, demand=360 * MIB, entitled=339 * MIB, limit=339 * MIB
                ),
            },
            MAIL: {
                Resource.CPU: Share(use=40, demand=50, entitled=333),
                Resource.MEMORY: Share(entitled=64 * MIB),
            },
        },
        reasons={DC: Reason.HUNGRY, MAIL: Reason.BLIND},
        changes=(
            Change(
                at=at, guest=DC, resource=Resource.MEMORY, act=Act.PAUSE, reason=Reason.EMERGENCY
            ),
        ) if use > 300 else (),
    )  # fmt: skip


def trace(ticks: int = 5, *, before: int = 60) -> list[bytes]:
    """Lines of the last seconds."""
    begin = time.time_ns() - before * SECOND
    records: list[Record] = [
        Head(at=begin, reserve=0), scene(begin),
        *(frame(begin + number * SECOND, use=281 + 10 * number) for number in range(ticks)),
    ]  # fmt: skip
    return [encode(record) for record in records]


@contextmanager
def governing(path: Path) -> Iterator[FakeDaemon]:
    """A daemon whose governor governs, and has such a trace."""
    with FakeDaemon(path) as made:
        made.routes["GET /v1/governor"] = lambda x: x.answer({"state": "governing"})
        made.routes[TRACE] = lambda x: answer_trace(x, trace())
        yield made


def answer_trace(exchange: Exchange, lines: list[bytes]) -> None:
    """All of it at once."""
    exchange.begin()
    exchange.chunk(b"".join(lines))
    exchange.chunk(b"")
