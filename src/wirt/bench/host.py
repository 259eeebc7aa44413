"""The simulated host: an instance of its own on pinned processors, with its own memory and disk.

Everything is named after the instance, so that what a killed benchmark leaves is found and removed
by the next one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wirt.bench import disk
from wirt.bench.workload import Office
from wirt.client.daemon import Daemon
from wirt.errors import Exhausted, Forbidden, Unsupported
from wirt.layout import Layout
from wirt.linux import spawn
from wirt.linux.cgroup import Cgroups, Mode, write_file

WEIGHT_V1 = 102_400
"""A hundred times the normal one: whoever else runs on our processors hardly delays guests."""
WEIGHT_V2 = 10_000
_PERIOD = 100_000
_START = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running simulated host. ``pinned``: its processors. ``native``: where the load generator
    lies. ``storage``: the directory of its disk."""

    layout: Layout
    cgroups: Cgroups
    pinned: frozenset[int]
    native: Path
    storage: Path

    def daemon(self) -> Daemon:
        """Its API."""
        return Daemon(str(self.layout.socket))

    @property
    def group(self) -> str:
        """The control group of all its guests."""
        return f"/{self.layout.name}"

    def servants(self) -> list[int]:
        """Pids of its daemon and its helper with the loop that keeps them up."""
        return _named(self.layout.name)

    def others(self) -> list[int]:
        """Pids of what else belongs to it: the disk's daemon, and this process."""
        pidfile = self.storage / "storage.pid"
        return [os.getpid(), *([int(pidfile.read_text())] if pidfile.exists() else [])]

    def bound(self, memory: int | None) -> None:
        """Give all guests together ``memory`` bytes; None: all there is."""
        v2 = self.cgroups.mode is Mode.V2
        name = "memory.max" if v2 else "memory.limit_in_bytes"
        self._write("memory", name, str(memory) if memory else "max" if v2 else "-1")

    def pin(self, cpus: float) -> None:
        """Put all guests on our processors, of which they may use ``cpus``."""
        v2 = self.cgroups.mode is Mode.V2
        quota = round(cpus * _PERIOD) if cpus < len(self.pinned) else None
        self._write("cpuset", "cpuset.cpus", ",".join(map(str, sorted(self.pinned))))
        if v2:
            self._write("cpu", "cpu.weight", str(WEIGHT_V2))
            self._write("cpu", "cpu.max", f"{quota or 'max'} {_PERIOD}")
        else:
            self._write("cpu", "cpu.shares", str(WEIGHT_V1))
            self._write("cpu", "cpu.cfs_quota_us", str(quota or -1))

    def _write(self, controller: str, name: str, text: str) -> None:
        place = self.cgroups.directory(controller, self.group)
        if place is None:
            raise Unsupported(
                f"this host has no {controller} control group",
                hint="the simulated host needs cpu, cpuset and memory",
            )
        write_file(place / name, text)


@contextmanager
def simulated(plan: Office, name: str, *, swap: int) -> Iterator[Host]:
    """The host of a plan, running and empty; gone without a trace afterwards. ``swap``: bytes.

    Raises Forbidden without root, Exhausted with too few processors, Unsupported, CommandFailed.
    """
    if os.geteuid() != 0:
        raise Forbidden("a simulated host needs root", hint="run it with sudo")
    pinned, others = split(plan.pool.cpus, sorted(os.sched_getaffinity(0)))
    prefix = installed()
    place = Path("/var/tmp") / name  # noqa: S108 - big, and the name is the instance's
    layout = Layout(name=name, state=place / "fs" / "state", run=Path("/run") / name)
    host = Host(
        layout=layout, cgroups=Cgroups.detect(), pinned=pinned,
        native=prefix / "build" / "native", storage=place,
    )  # fmt: skip

    def apart() -> None:
        os.sched_setaffinity(0, others)

    with ExitStack() as undo:
        _clear(prefix, layout, place)
        place.mkdir(parents=True)
        undo.callback(shutil.rmtree, place, ignore_errors=True)
        if swap:
            undo.enter_context(disk.swap(place, swap))
        size = round(16 * plan.pool.cpus + 1) << 30
        undo.enter_context(disk.disk(place, size=size, reads=plan.pool.reads, apart=apart))
        host.cgroups.create(host.group)
        undo.callback(_instance, prefix, layout, "down")
        host.pin(plan.pool.cpus)
        _instance(prefix, layout, "up", others=others)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, others)
        undo.callback(os.sched_setaffinity, 0, before)
        yield host


def split(cpus: float, usable: list[int]) -> tuple[frozenset[int], frozenset[int]]:
    """The last processors for guests, the others for all else. Raises Exhausted when one is not
    left for that."""
    wanted = max(1, -(-round(cpus * 1000) // 1000))
    if wanted >= len(usable):
        raise Exhausted(
            f"a host of {cpus:g} cores needs {wanted + 1} processors, there are {len(usable)}",
            hint="choose a smaller --scale; one processor is for the measuring itself",
        )
    return frozenset(usable[-wanted:]), frozenset(usable[:-wanted])


def installed() -> Path:
    """The directory with ``tools/instance.py`` and ``build/native``: a checkout, or /opt/wirt.

    Raises Unsupported when this Python is not in such a place.
    """
    prefix = Path(os.path.abspath(sys.executable)).parents[2]  # noqa: PTH100 - keeps the links
    for needed in ("tools/instance.py", "build/native/wirt-load"):
        if not (prefix / needed).exists():
            raise Unsupported(
                f"there is no {prefix / needed}",
                hint="run it from a checkout after 'make setup', or from an installed wirt",
            )
    return prefix


def _instance(
    prefix: Path, layout: Layout, verb: str, *, others: frozenset[int] = frozenset()
) -> None:
    """Start or stop the instance, on the processors ``others``."""
    argv = [sys.executable, str(prefix / "tools/instance.py"), verb, "--name", layout.name]
    argv += ["--state", str(layout.state), "--run", str(layout.run), "--no-images"]
    if verb == "up":
        argv += ["--patience", f"{_START:g}"]
    own = {name: text for name, text in os.environ.items() if name[:5] == "WIRT_"}
    spawn.run_sync(
        argv, timeout=_START + 30, env=own,
        before_exec=(lambda: os.sched_setaffinity(0, others)) if others else None,
    )  # fmt: skip


def _clear(prefix: Path, layout: Layout, place: Path) -> None:
    """Remove what a benchmark of this name that was killed has left."""
    if not place.exists():
        return
    _instance(prefix, layout, "down")
    disk.remove(place)
    shutil.rmtree(place)


def _named(name: str) -> list[int]:
    """Pids of an instance's own processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "--name" in words and words[words.index("--name") + 1] == name:
            found.append(int(entry.name))
    return found
