"""Control groups of version 1, hybrid and version 2: where they are, and doing things with them.

A guest has one path, the same in every hierarchy; :class:`Cgroups` knows the hierarchies and hides
their difference. Sources: Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst of the kernel.
Reading usage is in :mod:`wirt.linux.usage`, writing limits in :mod:`wirt.linux.limits`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from wirt.linux import procfs
from wirt.linux.joining import Joining

CONTROLLERS = frozenset(
    {"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "io", "devices", "freezer", "hugetlb"}
)
_KILL_ROUNDS = 200
_ROUND_MS = 5


class Mode(Enum):
    """What the host has mounted. ``HYBRID``: version 1 with a version 2 tree beside it."""

    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    """The hierarchies of this host.

    ``v1``: mount point by controller (a named hierarchy as ``name=systemd``). ``v2``: mount point
    of the version 2 tree, or None. ``v2_controllers``: what that tree's root can hand to guests.
    """

    v1: dict[str, Path]
    v2: Path | None
    v2_controllers: frozenset[str] = frozenset()

    @classmethod
    def detect(cls, *, proc: Path = procfs.PROC) -> Cgroups:
        """Read the mounts of this process. A named hierarchy beside version 2 alone, mounted for
        old containers of somebody else's, has no controllers and is none of ours."""
        v1: dict[str, Path] = {}
        v2: Path | None = None
        for entry in procfs.mounts(proc=proc):
            if entry.kind == "cgroup2" and v2 is None:
                v2 = Path(entry.target)
            elif entry.kind == "cgroup":
                for option in entry.super_options.split(","):
                    if option in CONTROLLERS or option.startswith("name="):
                        v1.setdefault(option, Path(entry.target))
        if v2 is not None and all("=" in name for name in v1):
            v1.clear()
        return cls(v1=v1, v2=v2, v2_controllers=frozenset() if v2 is None else _handed_on(v2))

    @property
    def mode(self) -> Mode:
        """What kind of host this is."""
        if self.v1:
            return Mode.V1 if self.v2 is None else Mode.HYBRID
        return Mode.NONE if self.v2 is None else Mode.V2

    @property
    def controllers(self) -> frozenset[str]:
        """Every controller that can be used for guests."""
        if self.mode is Mode.V2:
            return self.v2_controllers
        return frozenset(name for name in self.v1 if "=" not in name)

    def directory(self, controller: str, path: str) -> Path | None:
        """Where the group ``path`` (``/wirt/<id>``) of a controller is, existing or not."""
        root = self.v2 if self.mode is Mode.V2 else self.v1.get(controller)
        if root is None or (self.mode is Mode.V2 and controller not in self.v2_controllers):
            return None
        return root / path.lstrip("/")

    def directories(self, path: str) -> Iterator[Path]:
        """The group in every hierarchy, existing or not, each directory once."""
        yield from map(Path, self._places(path))

    def _places(self, path: str) -> Iterator[str]:
        """As :meth:`directories`; a launch and a release go through them often."""
        yield from dict.fromkeys(f"{root}/{path.lstrip('/')}" for root in self.v1.values())
        if self.v2 is not None:
            yield f"{self.v2}/{path.lstrip('/')}"

    # --- making, joining, removing

    def create(self, path: str) -> None:
        """Make the group in every hierarchy with all controllers on. Idempotent."""
        for directory in self.directories(path):
            if self.v2 is not None and directory.is_relative_to(self.v2):
                if self.mode is Mode.V2:
                    self._create_v2(directory)
                continue
            directory.mkdir(parents=True, exist_ok=True)
            if directory.is_relative_to(self.v1.get("cpuset", Path("/nowhere"))):
                self._inherit_cpuset(directory)

    def _create_v2(self, directory: Path) -> None:
        assert self.v2 is not None
        here = self.v2
        for part in directory.relative_to(self.v2).parts:
            self._hand_on(here)
            here /= part
            here.mkdir(exist_ok=True)

    def _hand_on(self, group: Path) -> None:
        """Give the group's children every controller that can be given: the kernel refuses a
        whole write for one of them (``cpu`` while there are real-time processes)."""
        enabled = group / "cgroup.subtree_control"
        wanted = [f"+{controller}" for controller in sorted(self.v2_controllers)]
        try:
            write_file(enabled, " ".join(wanted))
        except OSError:
            for one in wanted:
                with contextlib.suppress(OSError):
                    write_file(enabled, one)

    def _inherit_cpuset(self, directory: Path) -> None:
        """A new v1 cpuset has no CPUs and takes no process until it got some, from the top."""
        top = self.v1["cpuset"]
        chain = [directory, *directory.parents]
        for group in reversed(chain[: chain.index(top)]):
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (group / name).read_text().strip():
                    (group / name).write_text((group.parent / name).read_text())

    def join(self, path: str, pid: int = 0) -> None:
        """Put a process (0: this one) into the group of every hierarchy in which it exists."""
        for directory in self.directories(path):
            with contextlib.suppress(FileNotFoundError):
                write_file(directory / "cgroup.procs", str(pid))

    def own_files(self, path: str) -> tuple[str, ...]:
        """The files into which a process without threads writes ``0`` to be in the group.

        Version 1 has ``tasks``: the kernel moves the writing thread itself without the RCU grace
        period, some 10 ms, that it waits for before it moves a process for another one.
        """
        if self.mode is Mode.V2:
            return tuple(f"{place}/cgroup.procs" for place in self._places(path))
        roots = dict.fromkeys(self.v1.values())
        return tuple(f"{root}/{path.lstrip('/')}/tasks" for root in roots)

    def enter(self, path: str) -> Joining | None:
        """Put this process, which has no other thread, into the group; None when it is there.

        Version 2 has no ``tasks``: there it is on its way, from a thread.
        """
        if self.mode is Mode.V2:
            return Joining(partial(self.join, path))
        for file in self.own_files(path):
            with contextlib.suppress(FileNotFoundError):
                write_file(file, "0")
        return None

    def discard(self, path: str) -> bool:
        """Remove the group if it is empty; whether nothing of it is left. The kernel refuses to
        remove a group with living processes or groups below, so this asks nobody about them."""
        gone = True
        for place in self._places(path):
            try:
                os.rmdir(place)  # noqa: PTH106 - no need of a Path
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in {errno.EBUSY, errno.ENOTEMPTY}:
                    raise
                gone = False
        return gone

    def remove(self, path: str) -> None:
        """Remove the group with everything below it in every hierarchy; it must hold no process.

        Idempotent. Raises OSError (EBUSY) when processes are left.
        """
        if not self.discard(path):
            for directory in self.directories(path):
                _remove_tree(directory)

    def children(self, path: str) -> frozenset[str]:
        """Names of the groups directly below ``path`` in any hierarchy."""
        found: set[str] = set()
        for directory in self.directories(path):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.update(e.name for e in os.scandir(directory) if e.is_dir())
        return frozenset(found)

    # --- processes

    def processes(self, path: str) -> tuple[int, ...]:
        """All processes in the group and below, in any hierarchy."""
        found: dict[int, None] = {}
        for directory in self.directories(path):
            for group in _groups(directory):
                for line in read_file(group / "cgroup.procs").split():
                    found[int(line)] = None
        found.pop(0, None)  # a process of another pid namespace
        return tuple(found)

    def kill(self, path: str) -> bool:
        """SIGKILL everything in the group and wait for its end; whether it is empty then.

        Version 2 has ``cgroup.kill``. Version 1: freeze, so that a fork bomb cannot outrun us,
        signal each, thaw, until nothing is left; at most about a second.
        """
        for _ in range(_KILL_ROUNDS):
            pids = self._living(path)
            if not pids:
                return True
            if self.v2 is not None and self.mode is Mode.V2:
                with contextlib.suppress(FileNotFoundError):
                    write_file(self.v2 / path.lstrip("/") / "cgroup.kill", "1")
            else:
                self._kill_v1(path)
            _pause()
        return not self._living(path)

    def _kill_v1(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._set_frozen(path, True)
        for pid in self._living(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A frozen process dies only when it is thawed.
        with contextlib.suppress(FileNotFoundError):
            self._set_frozen(path, False)

    def _living(self, path: str) -> list[int]:
        return [p for p in self.processes(path) if procfs.state(p) not in {None, "Z", "X"}]

    # --- freezing

    def freeze(self, path: str, frozen: bool, *, timeout: float = 10.0) -> bool:
        """Freeze or thaw the group and wait until it is so; ``timeout`` in seconds. Whether it is:
        False when somebody thawed it while it froze.

        Raises FileNotFoundError when there is no such group, TimeoutError (after thawing again)
        when a process does not stop, as one in uninterruptible sleep.
        """
        self._set_frozen(path, frozen)
        deadline = time.monotonic() + timeout
        while self.frozen(path) is not frozen:
            if frozen and not self._is_to_freeze(path):
                return False
            if time.monotonic() > deadline:
                self._set_frozen(path, False)
                raise TimeoutError(errno.ETIMEDOUT, "processes do not stop", path)
            _pause()
        return True

    def frozen(self, path: str) -> bool:
        """Whether the group is frozen; False when it does not exist."""
        if self.mode is Mode.V2:
            assert self.v2 is not None
            events = flat(read_file(self.v2 / path.lstrip("/") / "cgroup.events"))
            return events.get("frozen") == 1
        directory = self.directory("freezer", path)
        return directory is not None and read_file(directory / "freezer.state").strip() == "FROZEN"

    def _is_to_freeze(self, path: str) -> bool:
        """Whether it is frozen, or will be once its processes have stopped."""
        if self.mode is Mode.V2:
            assert self.v2 is not None
            return read_file(self.v2 / path.lstrip("/") / "cgroup.freeze").strip() == "1"
        directory = self.directory("freezer", path)
        if directory is None:
            return False
        return read_file(directory / "freezer.state").strip() in {"FREEZING", "FROZEN"}

    def _set_frozen(self, path: str, frozen: bool) -> None:
        if self.mode is Mode.V2:
            assert self.v2 is not None
            write_file(self.v2 / path.lstrip("/") / "cgroup.freeze", str(int(frozen)))
            return
        directory = self.directory("freezer", path)
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, "no freezer controller", path)
        write_file(directory / "freezer.state", "FROZEN" if frozen else "THAWED")

    # --- out of memory

    def oom_file(self, path: str) -> Path | None:
        """The file in which the kernel counts OOM kills of the group, for ``keeper.conf``."""
        directory = self.directory("memory", path)
        if directory is None:
            return None
        name = "memory.events" if self.mode is Mode.V2 else "memory.oom_control"
        return directory / name

    def oom_kills(self, path: str) -> int:
        """How many processes of the group the kernel killed for want of memory."""
        file = self.oom_file(path)
        return 0 if file is None else flat(read_file(file)).get("oom_kill", 0)


def flat(text: str) -> dict[str, int]:
    """Lines of ``key number``; others are left out."""
    pairs = (line.split() for line in text.splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].lstrip("-").isdecimal()}


def read_file(path: Path) -> str:
    """A cgroup file's text; empty when the group is gone (ENODEV: while it was being read)."""
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.EOPNOTSUPP}:
            return ""
        raise


def write_file(path: Path | str, text: str) -> None:
    """One write, as the kernel wants it, never creating a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise FileNotFoundError(errno.ENOENT, "cgroup is gone", str(path)) from error
        raise OSError(error.errno, f"write {text!r}: {error.strerror}", str(path)) from error
    finally:
        os.close(fd)


def _handed_on(root: Path) -> frozenset[str]:
    """The controllers that groups below the root of a version 2 tree can have.

    Only the true root may hold processes and hand on controllers; it alone has no ``cgroup.type``
    (cgroup-v2.rst, "No Internal Process Constraint"). In a container's tree the top is no true
    root, and gives no more than what it gives already as long as processes are in it.
    """
    offered = frozenset(read_file(root / "cgroup.controllers").split())
    if (root / "cgroup.type").exists() and read_file(root / "cgroup.procs").strip():
        offered &= frozenset(read_file(root / "cgroup.subtree_control").split())
    return offered


def _groups(directory: Path) -> Iterator[Path]:
    """A group and all below it, children first; names are sorted for a stable order."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield from _groups(directory / name)
    yield directory


def _remove_tree(directory: Path) -> None:
    for group in _groups(directory):
        for last in range(_KILL_ROUNDS + 1):
            try:
                group.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                # Processes that ended a moment ago still count until they are reaped.
                if error.errno != errno.EBUSY or last == _KILL_ROUNDS:
                    raise
                _pause()
                continue
            break


def _pause() -> None:
    # Neither the freezer nor a cgroup's emptiness in version 1 can be waited for.
    select.poll().poll(_ROUND_MS)
