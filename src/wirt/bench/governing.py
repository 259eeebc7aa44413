"""The instance's governor as the benchmark uses it: given the host for one policy, off for others.

What it saw is read back from its frames: a promise of processor time is broken while a guest that
never rests gets less than was promised to it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wirt.bench.workload import Pool
from wirt.client.daemon import Daemon
from wirt.client.wire import target
from wirt.errors import NotFound, Unsupported

TICK = 0.2
"""Seconds; three minutes of office time where a day takes 96 s."""
READ = 65536
"""Bytes of one read of the simulated disk, which counts reads where the governor counts bytes."""
WINDOW = 1.0
"""Seconds over which a promise of processor time is judged."""
_RESTLESS = 0.95
_SLACK = 0.9


def rule(daemon: Daemon, pool: Pool) -> None:
    """Let the governor divide ``pool``. Raises Unsupported when there is none."""
    policy = {
        "mode": "on",
        "tick": TICK,
        "pool": {"cpu": pool.cpus, "memory": pool.memory, "disk": pool.reads * READ},
    }
    try:
        daemon.call("PUT", "/v1/governor/policy", policy)
        daemon.call("POST", "/v1/governor/resume")
    except NotFound:
        raise Unsupported(
            "this wirt has no governor", hint="choose others with --policy oracle,static,linux"
        ) from None


def rest(daemon: Daemon) -> None:
    """Let it leave every guest as it is."""
    with contextlib.suppress(NotFound):  # there is none
        daemon.call("PUT", "/v1/governor/policy", {"mode": "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one guest had in one tick. ``at``: seconds since the asked-for moment. ``used``,
    ``waited``: millicores; ``memory``, ``limit``: bytes, a machine's as its guest has them."""

    at: float
    seconds: float
    used: int | None
    waited: int | None
    memory: int | None
    limit: int | None


def moments(daemon: Daemon, since: int) -> dict[str, list[Moment]]:
    """What the governor saw since Unix nanoseconds, by guest id."""
    made: dict[str, list[Moment]] = {}
    where = target("/v1/governor/frames", [("since", since)])
    for line in daemon.request("GET", where).lines():
        for guest, moment in _of_frame(json.loads(line), since).items():
            made.setdefault(guest, []).append(moment)
    return made


def trace(daemon: Daemon, since: int) -> Iterator[bytes]:
    """What it saw and did since Unix nanoseconds, as lines for ``wirt replay``."""
    answer = daemon.request("GET", target("/v1/governor/trace", [("since", since)]))
    return (line + b"\n" for line in answer.lines())


def _of_frame(frame: Mapping[str, Any], since: int) -> dict[str, Moment]:
    tick = frame["tick"]
    return {
        guest: Moment(
            at=(int(frame["at"]) - since) / 1e9, seconds=float(tick["seconds"]),
            used=seen.get("cpu"), waited=seen.get("cpu_wait"), memory=seen.get("memory"),
            limit=seen.get("memory_limit"),
        )
        for guest, seen in tick.get("guests", {}).items()
    }  # fmt: skip


def broken(seen: Sequence[Moment], *, millis: int, memory: int) -> float:
    """Seconds in which a guest was below what was promised: ``millis`` of a core, ``memory`` bytes.

    Of the processor, in windows of a second: it used less than was promised although it was
    running or waiting (almost) all the time.
    """
    below = sum(one.seconds for one in seen if one.limit is not None and one.limit < memory)
    window, used, waited = 0.0, 0.0, 0.0
    for one in seen:
        window += one.seconds
        used += (one.used or 0) * one.seconds
        waited += (one.waited or 0) * one.seconds
        if window < WINDOW:
            continue
        restless = used + waited >= _RESTLESS * 1000 * window
        if restless and used < _SLACK * millis * window:
            below += window
        window, used, waited = 0.0, 0.0, 0.0
    return below
