#!/usr/bin/env python3
"""Two checkouts in turn: did a change make wirt faster, whatever else the machine does?

    bench/compare.py OTHER [--rounds 40] [--only run,api,exec,many] [--pause 0.3]

OTHER is a checkout in which ``make setup`` has run. The sides take turns in going first, since the
kernel clears up behind whoever went before. A clone of this very commit as OTHER shows how much two
equal sides differ: no smaller difference means anything. To judge one change, let OTHER be this
commit without it: an older one lacks everybody's work.

Prints minimum and median of every step of a guest's life in milliseconds, for both and their ratio,
and the CPU time per round of the daemon and of the helper with all that ended below it.
``--pause``: seconds before each sample. Without one the kernel's grace periods (RCU) are not seen:
who moves a process to another control group waits for one, unless another has just been waited for.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from measure import command, pss

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

from live import apart  # noqa: E402 - found by the line above

LIFE = (
    ("create", "POST", "/v1/guests"),
    ("start", "POST", "/v1/guests/{}/start"),
    ("wait", "POST", "/v1/guests/{}/wait?condition=not-running"),
    ("delete", "DELETE", "/v1/guests/{}"),
)
WISH = json.dumps({"image": "busybox", "command": ["true"]}).encode()


@dataclass(frozen=True, kw_only=True)
class Side:
    """A running instance of one checkout."""

    checkout: Path
    run: Path
    name: str
    taken: dict[str, list[float]] = field(default_factory=dict)

    def client(self, *words: str) -> float:
        """Milliseconds of one command of its client."""
        environment = {"WIRT_HOST": f"unix://{self.run}/wirt.sock", "PATH": os.environ["PATH"]}
        return command([str(self.checkout / "bin/wirt"), *words], environment)

    def link(self) -> http.client.HTTPConnection:
        """A kept-alive connection to its API."""
        made = http.client.HTTPConnection("localhost")
        made.sock = socket.socket(socket.AF_UNIX)
        made.sock.connect(str(self.run / "wirt.sock"))
        return made

    def note(self, step: str, took: float) -> None:
        """Remember a sample."""
        self.taken.setdefault(step, []).append(took)

    def cpu(self) -> dict[str, float]:
        """Milliseconds of CPU that helper (with all that ended below it) and daemon took so far."""
        taken = {}
        for module, pid in self.daemons().items():
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            taken[module] = sum(map(int, stat[11:15])) * 1e3 / os.sysconf("SC_CLK_TCK")
        return taken

    def daemons(self) -> dict[str, int]:
        """Pids of its helper and its daemon, by module; not of the helper's children."""
        return {module: _eldest(pids) for module, pids in self.processes().items()}

    def processes(self) -> dict[str, list[int]]:
        """The same with the helper's children, which have its command line."""
        found: dict[str, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.name.encode() in argv and argv[1] == b"-m":
                module, pid = argv[2].decode(), int(entry.name)
                found.setdefault(module, []).append(pid)
        return found


def _eldest(pids: Sequence[int]) -> int:
    """The one that started first."""

    def started(pid: int) -> int:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # a child that has ended meanwhile
            return 1 << 62
        return int(stat.rpartition(")")[2].split()[19])

    return min(pids, key=started)


@contextmanager
def running(checkout: Path, number: int) -> Iterator[Side]:
    """An instance of a checkout in namespaces of its own, with the busybox image."""
    name = f"cmp{os.getpid() % 100000}{'ab'[number]}"
    state, run = Path("/var/tmp") / name, Path("/run") / name
    who = ["--name", name, "--state", str(state), "--run", str(run)]
    tool = [str(checkout / ".venv/bin/python"), str(checkout / "tools/instance.py")]
    environment = {**os.environ, "WIRT_HOST": f"unix://{run}/wirt.sock"}
    with apart() as enter:
        try:
            subprocess.run(
                [*enter, *tool, "up", *who, "--no-images"], check=True, stdout=subprocess.DEVNULL
            )
            subprocess.run(
                [str(checkout / "tools/images"), "busybox:latest"],
                check=True, env=environment, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            yield Side(checkout=checkout, run=run, name=name)
        finally:
            subprocess.run([*enter, *tool, "down", *who], check=False, stdout=subprocess.DEVNULL)
            subprocess.run(["rm", "-rf", str(state)], check=False)


def api(side: Side) -> None:
    """Create, start, wait, delete on one connection, each timed."""
    link, guest, whole = side.link(), "", 0.0
    for step, verb, where in LIFE:
        began = time.perf_counter_ns()
        body = WISH if step == "create" else None
        link.request(verb, where.format(guest), body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        content = answer.read()
        took = (time.perf_counter_ns() - began) / 1e6
        if answer.status >= 400:
            raise RuntimeError(f"{step}: {answer.status} {content.decode()}")
        if step == "create":
            guest = json.loads(content)["id"]
        side.note(f"api {step}", took)
        whole += took
    side.note("api life", whole)
    link.close()


def run(side: Side) -> None:
    """``run --rm``, and with it the client's own start."""
    side.note("run --rm true", side.client("run", "--rm", "busybox", "true"))
    side.note("ps (no guest)", side.client("ps"))


def execute(side: Side) -> None:
    """A further process in a guest that was started before the first round."""
    if not side.taken.get("exec true"):
        side.client("run", "-d", "--name", "calm", "busybox", "sleep", "86400")
    side.note("exec true", side.client("exec", "calm", "true"))


def many(side: Side) -> None:
    """50 x ``run -d``, eight at a time; rm -f of all of them."""
    from concurrent.futures import ThreadPoolExecutor

    names = [f"many-{number}" for number in range(50)]
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: side.client("run", "-d", "--name", n, "busybox", "sleep", "86400"), names
            )
        )
    side.note("50 x run -d", (time.perf_counter() - began) * 1e3)
    side.note("rm -f of 50", side.client("rm", "-f", *names))


def microvm(side: Side) -> None:
    """A cold microVM."""
    side.note("microvm run --rm", side.client("run", "--rm", "--as", "microvm", "busybox", "true"))


def memory(side: Side) -> None:
    """What helper and daemon weigh, in MB."""
    side.note("daemons' PSS (MB)", pss(chain.from_iterable(side.processes().values())))


MEASURES: dict[str, Callable[[Side], None]] = {
    "memory": memory, "run": run, "api": api, "exec": execute, "many": many, "microvm": microvm,
}  # fmt: skip


def table(sides: Sequence[Side]) -> None:
    """Print every step of both sides."""
    head = "".join(f"{s.checkout.name:>12} min{'median':>9}" for s in sides)
    print(f"{'':24}{head}   ratio of minima, medians")
    for step in sides[0].taken:
        both = [side.taken[step] for side in sides]
        cells = "".join(f"{min(t):16.1f}{statistics.median(t):9.1f}" for t in both)
        low = min(both[-1]) / (min(both[0]) or 1)
        middle = statistics.median(both[-1]) / (statistics.median(both[0]) or 1)
        print(f"{step:24}{cells}   {low:6.2f} {middle:6.2f}   ({len(both[0])})")


def main() -> int:
    parser = argparse.ArgumentParser(description="two checkouts in turn")
    parser.add_argument("other", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="memory,run,api,exec")
    parser.add_argument("--pause", type=float, default=0.3)
    args = parser.parse_args()
    with ExitStack() as stack:
        places = [args.other.resolve(), ROOT]
        sides = [stack.enter_context(running(place, n)) for n, place in enumerate(places)]
        for word in args.only.split(","):
            before = [side.cpu() for side in sides]
            for number in range(args.rounds):
                for side in sides if number % 2 else sides[::-1]:
                    time.sleep(args.pause)
                    MEASURES[word](side)
            for side, had in zip(sides, before, strict=True):
                for module, spent in side.cpu().items():
                    side.note(f"{word}: CPU {module[5:]}", (spent - had[module]) / args.rounds)
        table(sides)
    return 0


if __name__ == "__main__":
    sys.exit(main())
