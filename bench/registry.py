"""The registry beside Debian's docker-registry: blobs pushed and pulled by eight clients."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from measure import Row, Samples, in_turn, pss
from peers import LAB, ROOT, Peer, wait_until
from rows import quietly

CLIENTS = 8
OURS, THEIRS = "127.0.0.1:5055", "127.0.0.1:5056"
SAMPLE_SECONDS = 0.05
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
        with docker_registry(inside, wanted=with_other):
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
    seen: list[float] = [pss(wirt.daemons())]
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_SECONDS):
            seen.append(pss(wirt.daemons()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        seconds(inside, OURS, "pull", 100_000_000, CLIENTS)
    finally:
        over.set()
        watcher.join()
    samples: Samples = {"wirt": [max(seen)]}
    return Row(
        key="registry-memory", title="daemons' PSS, 8 clients push and pull 100 MB", unit="MB",
        samples=samples, against="", must=150, aim=100, note=f"the most of {len(seen)} readings",
    )  # fmt: skip


@contextmanager
def docker_registry(inside: Sequence[str], *, wanted: bool) -> Iterator[None]:
    """Debian's docker-registry in the same network, with a fresh folder."""
    if not wanted:
        yield
        return
    lab = LAB / "docker-registry"
    shutil.rmtree(lab, ignore_errors=True)
    lab.mkdir(parents=True)
    settings = lab / "config.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        "storage:\n"
        f"  filesystem: {{rootdirectory: {lab}/data}}\n"
        "  cache: {blobdescriptor: inmemory}\n"
        f'http: {{addr: "{THEIRS}"}}\n'
    )
    with (lab / "log").open("wb") as log:
        server = subprocess.Popen(
            [*inside, "docker-registry", "serve", str(settings)], stdout=log, stderr=log
        )
    try:
        ready = [*inside, "curl", "-sf", f"http://{THEIRS}/v2/"]
        wait_until(
            lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0,
            f"docker-registry, see {lab}/log",
        )
        yield
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(lab / "data", ignore_errors=True)
