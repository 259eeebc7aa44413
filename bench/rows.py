"""The rows of the table of promises; each takes the running peers and gives its samples."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from measure import Row, Samples, command, in_turn, pss, timed
from peers import Peer

IDLE = ("sleep", "86400")
MEGABYTES = 100
LINE = "y" * 79
WRITER = ("sh", "-c", f"yes {LINE} | head -c {MEGABYTES * 1_000_000}")


def run(peer: Peer, *words: str) -> float:
    """Milliseconds of one client command."""
    return command(peer.cli(*words), peer.environment())


def quietly(peer: Peer, *words: str) -> None:
    """A client command whose time does not count."""
    subprocess.run(
        peer.cli(*words), env=dict(peer.environment()), check=True, capture_output=True, timeout=600
    )


@contextmanager
def idle(peer: Peer, count: int) -> Iterator[list[str]]:
    """That many containers that sleep; started eight at a time."""
    names = [f"idle-{number}" for number in range(count)]

    def start(name: str) -> None:
        quietly(peer, "run", "-d", "--name", name, "busybox", *IDLE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, names))
    try:
        yield names
    finally:
        quietly(peer, *peer.removal, *names)


def each(peers: Sequence[Peer], action: Callable[[Peer], float]) -> dict[str, Callable[[], float]]:
    return {peer.name: (lambda p=peer: action(p)) for peer in peers}  # type: ignore[misc]


def run_rm(peers: Sequence[Peer], rounds: int) -> Row:
    samples = in_turn(
        each(peers, lambda p: run(p, "run", "--rm", "busybox", "true")), rounds=rounds, warm=3
    )
    return Row(
        key="run-rm", title="`run --rm busybox true`, bridge, default seccomp", unit="ms",
        samples=samples, against="docker", must=1 / 4, aim=1 / 8,
    )  # fmt: skip


def api_life(peers: Sequence[Peer], rounds: int) -> Row:
    apis = {peer.name: api for peer in peers if (api := peer.api()) is not None}
    actions = {name: (lambda a=api: timed(a.life)) for name, api in apis.items()}
    return Row(
        key="api", title="API: create, start, wait, delete", unit="ms",
        samples=in_turn(actions, rounds=rounds, warm=3), against="docker", must=1 / 5, aim=1 / 10,
    )  # fmt: skip


def exec_true(peers: Sequence[Peer], rounds: int) -> Row:
    for peer in peers:
        quietly(peer, "run", "-d", "--name", "exec-me", "busybox", *IDLE)
    samples = in_turn(
        each(peers, lambda p: run(p, "exec", "exec-me", "true")), rounds=rounds, warm=3
    )
    for peer in peers:
        quietly(peer, *peer.removal, "exec-me")
    return Row(
        key="exec", title="`exec true`", unit="ms", samples=samples, against="docker", must=1 / 2,
        aim=1 / 4,
    )  # fmt: skip


def fifty(peers: Sequence[Peer], rounds: int) -> Row:
    def start_all(peer: Peer) -> float:
        names = [f"many-{number}" for number in range(50)]

        def start(name: str) -> float:
            return run(peer, "run", "-d", "--name", name, "busybox", *IDLE)

        with ThreadPoolExecutor(8) as pool:
            took = timed(lambda: list(pool.map(start, names)))
        quietly(peer, *peer.removal, *names)
        return took / 1e3

    return Row(
        key="fifty", title="50 x `run -d`, 8 at a time", unit="s",
        samples=in_turn(each(peers, start_all), rounds=rounds, warm=0),
        against="docker", must=1 / 3, aim=1 / 6, note=f"{rounds} rounds of 50",
    )  # fmt: skip


def idle_cost(peers: Sequence[Peer], rounds: int) -> Row:
    """PSS of keepers, shims or conmons, divided by the number of containers."""
    samples = {}
    for peer in peers:
        with idle(peer, 20):
            each_one = [pss([pid]) for pid in peer.companions()]
            samples[peer.name] = [sum(each_one) / 20] * min(rounds, 1)
    return Row(
        key="idle", title="PSS beside each idle container (of 20)", unit="MB", samples=samples,
        against="", must=1.0, aim=0.5, note="one reading over 20 containers",
    )  # fmt: skip


def daemon_fresh(peers: Sequence[Peer], rounds: int) -> Row:
    """To be measured first, right after the start."""
    samples = {p.name: [pss(p.daemons())] * min(rounds, 1) for p in peers if p.daemons()}
    return Row(
        key="daemon-fresh", title="daemons' PSS, fresh", unit="MB", samples=samples, against="",
        must=80, aim=60, note="wirtd and helper; dockerd and containerd",
    )  # fmt: skip


def two_hundred(peers: Sequence[Peer], rounds: int) -> list[Row]:
    """Memory of the daemons and the time of a list with 200 idle containers, one wedged."""
    memory: Samples = {}
    listing: Samples = {}
    for peer in peers:
        api = peer.api()
        if api is None:
            continue
        with idle(peer, 200):
            memory[peer.name] = [pss(peer.daemons())]
            wedged = peer.companions()[0]
            os.kill(wedged, signal.SIGSTOP)
            try:
                actions = {peer.name: lambda a=api: timed(lambda: a.call("list"))}
                listing |= in_turn(actions, rounds=rounds, warm=3)
            finally:
                os.kill(wedged, signal.SIGCONT)
    return [
        Row(
            key="daemon-200", title="daemons' PSS with 200 idle containers", unit="MB",
            samples=memory, against="", must=120, aim=80, note="shims and keepers not included",
        ),
        Row(
            key="list-200", title="list of 200 guests at the API, one of them wedged", unit="ms",
            samples=listing, against="", must=50, aim=10, note="its keeper or shim is stopped",
        ),
    ]  # fmt: skip


def insist_on_all(peer: Peer, *words: str) -> None:
    """Raise RuntimeError unless the command writes all the megabytes to standard output."""
    with subprocess.Popen(
        peer.cli(*words), env=dict(peer.environment()), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        size = 0
        while chunk := process.stdout.read(1 << 20):
            size += len(chunk)
    if size != MEGABYTES * 1_000_000:
        raise RuntimeError(f"{peer.name} {words[0]} wrote {size} bytes")


def logs(peers: Sequence[Peer], rounds: int) -> Row:
    for peer in peers:
        quietly(peer, "run", "--name", "talker", "busybox", *WRITER)
        insist_on_all(peer, "logs", "talker")
    samples = in_turn(each(peers, lambda p: run(p, "logs", "talker") / 1e3), rounds=rounds)
    for peer in peers:
        quietly(peer, *peer.removal, "talker")
    return Row(
        key="logs", title=f"`logs` of {MEGABYTES} MB", unit="s", samples=samples, against="docker",
        must=1 / 4, aim=1 / 8, note="aim: 1 s",
    )  # fmt: skip


def attached(peers: Sequence[Peer], rounds: int) -> Row:
    for peer in peers:
        insist_on_all(peer, "run", "--rm", "busybox", *WRITER)
    samples = in_turn(
        each(peers, lambda p: run(p, "run", "--rm", "busybox", *WRITER) / 1e3), rounds=rounds
    )
    return Row(
        key="attached", title=f"`run --rm` with {MEGABYTES} MB of attached output", unit="s",
        samples=samples, against="podman", must=1.0, aim=0.6, note="aim: 1 s",
    )  # fmt: skip
