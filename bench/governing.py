"""What the governor itself takes of the processor: a decision, and the watching of fifty guests."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

from measure import Row
from peers import ROOT, Peer
from rows import idle, quietly

sys.path.insert(0, str(ROOT / "src"))

from wirt.bench.watch import spent
from wirt.governor.decide import State, decide
from wirt.governor.estimate import Tuning
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Claim, Group, Member, Resource

MIB = 1 << 20
THOUSAND = 1000
DEPARTMENTS = 20
FIFTY = 50
POOL = "192m"
"""A pool of so much is divided whatever its guests use."""
WATCHED = 10
"""Seconds of each sample, and before the first one."""


def decision(peers: Sequence[Peer], rounds: int) -> Row:
    """Processor time of one tick's decision about 1,000 guests in 20 groups, memory being short."""
    del peers
    chance = random.Random(1)
    root, state, taken, loops = _departments(chance), State(), [], []
    for number in range(-3, rounds):
        tick = Tick(seconds=1.0, guests=_seen(chance), free=1 << 34, pressure=0.0)
        began = time.process_time()
        state = decide(
            state, tick, root, capacity=128 * 1024 * MIB, reserve=0, tuning=Tuning(),
            processors=64_000,
        ).state  # fmt: skip
        if number >= 0:
            taken.append((time.process_time() - began) * 1e3)
            loops.append(_loop())
    return Row(
        key="decision", title="processor time of a decision about 1,000 guests", unit="ms",
        samples={"wirt": taken}, against="", must=20, aim=10,
        note="20 groups, all guests changed in each tick, a third reads memory again; a million "
        f"turns of an empty loop took {statistics.median(loops):.3g} ms meanwhile",
    )  # fmt: skip


def _loop() -> float:
    """How fast the processor is at the moment: milliseconds of a million turns."""
    began = time.process_time()
    for _ in range(1_000_000):
        pass
    return (time.process_time() - began) * 1e3


def _departments(chance: random.Random) -> Group:
    def guest(number: int) -> Member:
        memory = Claim(
            reservation=chance.choice((0, 16, 64)) * MIB, limit=512 * MIB,
            shares=chance.choice((500, 1000, 4000)),
        )  # fmt: skip
        return Member(name=f"g{number}", claims={Resource.MEMORY: memory})

    each = THOUSAND // DEPARTMENTS
    return Group(
        name="",
        children=tuple(
            Group(
                name=f"d{first}", expandable=True,
                children=tuple(guest(number) for number in range(first, first + each)),
            )
            for first in range(0, THOUSAND, each)
        ),
    )  # fmt: skip


def _seen(chance: random.Random) -> dict[str, Seen]:
    return {
        f"g{number}": Seen(
            cpu=chance.randrange(50), cpu_wait=chance.randrange(20),
            memory=chance.randrange(20, 300) * MIB, memory_limit=300 * MIB,
            anon=chance.randrange(20) * MIB, refaults=chance.choice((0.0, 0.0, 500.0)),
            disk=0, quiet=0.0,
        )
        for number in range(THOUSAND)
    }  # fmt: skip


def fifty(peers: Sequence[Peer], rounds: int) -> Row:
    """Processor time of daemon and helper while 50 containers sleep and memory is divided."""
    samples = {}
    for peer in peers:
        if peer.name != "wirt":
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as policy, idle(peer, FIFTY):
            policy.write(f'tick = 1.0\n[pool]\nmemory = "{POOL}"\n')
            policy.flush()
            quietly(peer, "governor", "policy", "set", policy.name)
            try:
                time.sleep(WATCHED)
                samples[peer.name] = [_part(peer.daemons()) for _ in range(rounds)]
            finally:
                quietly(peer, "governor", "policy", "unset")
    return Row(
        key="governed", title="processor time of daemon and helper, 50 containers, ticks of 1 s",
        unit="% of a core", samples=samples, against="", must=1, aim=0.5,
        note=f"the containers sleep, in a pool of {POOL}; {WATCHED} s a sample",
    )  # fmt: skip


def _part(pids: Sequence[int]) -> float:
    before, began = _used(pids), time.monotonic()
    time.sleep(WATCHED)
    return (_used(pids) - before) / (time.monotonic() - began) * 100


def _used(pids: Sequence[int]) -> float:
    return sum(map(spent, pids))
