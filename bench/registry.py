"""The registry beside Debian's docker-registry: blobs pushed and pulled by eight clients."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from measure import Row, in_turn, most_seen, pss
from peers import LAB, ROOT, Peer, wait_until
from rows import quietly

CLIENTS = 8
OURS, THEIRS = "127.0.0.1:5055", "127.0.0.1:5056"
LOADS = (
    ("push", "1 MB", 1_000_000, 200), ("pull", "1 MB", 1_000_000, 400),
    ("push", "100 MB", 100_000_000, 8), ("pull", "100 MB", 100_000_000, 16),
)  # fmt: skip


def blobs(peers: Sequence[Peer], rounds: int) -> list[Row]:
    """Four loads, and the memory of the daemons during the largest."""
    (wirt,) = (peer for peer in peers if peer.name == "wirt")
    with_other = len(peers) > 1
    inside = ("nsenter", "-t", str(wirt.daemons()[0]), "-n", "--")
    quietly(wirt, "registry", "serve", "--listen", OURS, "--anonymous", "all")
    try:
        with docker_registry(inside) if with_other else nullcontext():
            rows = [_row(inside, load, rounds, with_other=with_other) for load in LOADS]
            return [*rows, _memory(wirt, inside)]
    finally:
        quietly(wirt, "registry", "stop", OURS)
        quietly(wirt, "registry", "rm", "bench/blobs")
        quietly(wirt, "registry", "gc", "--grace", "0s")


def _row(
    inside: Sequence[str], load: tuple[str, str, int, int], rounds: int, *, with_other: bool
) -> Row:
    verb, size, number, count = load

    def spend(address: str) -> Callable[[], float]:
        return lambda: seconds(inside, address, verb, number, count)

    actions = {"wirt": spend(OURS)}
    if with_other:
        actions["docker-registry"] = spend(THEIRS)
    return Row(
        key=f"registry-{verb}-{size.replace(' ', '')}",
        title=f"registry: {verb} of {count} blobs of {size}, {CLIENTS} clients", unit="s",
        samples=in_turn(actions, rounds=rounds), against="docker-registry", must=1 / 0.7, aim=1,
    )  # fmt: skip


def seconds(inside: Sequence[str], address: str, verb: str, size: int, count: int) -> float:
    """What the clients took."""
    words = [address, verb, str(size), str(count), str(CLIENTS)]
    script = str(ROOT / "bench/registry_load.py")
    done = subprocess.run(
        [*inside, sys.executable, script, *words], check=True, capture_output=True, timeout=600
    )
    return float(done.stdout)


def _memory(wirt: Peer, inside: Sequence[str]) -> Row:
    """The most that is seen while eight clients push and pull 100 MB each."""
    found, count = most_seen(
        lambda: pss(wirt.daemons()), lambda: seconds(inside, OURS, "pull", 100_000_000, CLIENTS)
    )
    return Row(
        key="registry-memory", title="daemons' PSS, 8 clients push and pull 100 MB", unit="MB",
        samples={"wirt": [found]}, against="", must=150, aim=100,
        note=f"the most of {count} readings",
    )  # fmt: skip


@contextmanager
def docker_registry(
    inside: Sequence[str],
    *,
    address: str = THEIRS,
    lab: Path = LAB / "docker-registry",
    cache: bool = True,
) -> Iterator[None]:
    """Debian's docker-registry in this network, with a fresh folder. ``cache``: what it has seen;
    without it the folder may be emptied meanwhile."""
    shutil.rmtree(lab, ignore_errors=True)
    lab.mkdir(parents=True)
    settings = lab / "config.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        "storage:\n"
        f"  filesystem: {{rootdirectory: {lab}/data}}\n"
        f"{'  cache: {blobdescriptor: inmemory}' if cache else ''}\n"
        f'http: {{addr: "{address}"}}\n'
    )
    with (lab / "log").open("wb") as log:
        server = subprocess.Popen(
            [*inside, "docker-registry", "serve", str(settings)], stdout=log, stderr=log
        )
    try:
        ready = [*inside, "curl", "-sf", f"http://{address}/v2/"]
        wait_until(
            lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0,
            f"docker-registry, see {lab}/log",
        )
        yield
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(lab / "data", ignore_errors=True)
