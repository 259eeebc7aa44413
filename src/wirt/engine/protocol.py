"""What every kind of guest offers. Two small protocols; all else is optional and separate.

An engine turns values into a plan without side effects; the helper carries the plan out; a handle
speaks to the running guest. Engines do not know images, networks or volumes: they get plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wirt.errors import WirtError
from wirt.guest.keeper import KeeperLink
from wirt.model.guest import ExecSpec, Guest, GuestSpec, Isolation
from wirt.model.image import Image
from wirt.model.reading import InnerMemory
from wirt.model.resources import Resources, Usage
from wirt.model.volume import MountKind
from wirt.privileged.protocol import LaunchGuest, TreeStat


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The guest's main process after merging the image's configuration with the user's wish."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    working_dir: str
    user: str
    stop_signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedMount:
    """A mount with its source found: ``source`` is a host path (volume or bind), "" for tmpfs.

    ``volume`` is the volume's name for MountKind.VOLUME. ``fill``: copy the image's content at
    ``target`` into the volume first. ``make``: create a missing bind source.
    ``flat``: nothing is mounted below the source (always so for ``is_file``). ``prepared``: the
    helper makes the source, as this number of its plan, a directory or a file. ``discard``: what a
    machine writes to it is nowhere once that has ended.
    """

    kind: MountKind
    target: str
    source: str = ""
    volume: str = ""
    read_only: bool = False
    fill: bool = False
    make: bool = False
    propagation: str = "rprivate"
    size: int | None = None
    mode: int | None = None
    options: tuple[str, ...] = ()
    is_file: bool = False
    flat: bool = False
    prepared: int | None = None
    discard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A file that a machine is given while it runs and keeps in memory: ``secret``, of which the
    content comes later, or ``socket``, of which each connection is carried to the host."""

    kind: str
    target: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Everything an engine needs to plan one start, already looked up.

    ``network``: ``private``, ``host`` or ``guest:<id>``. ``files``: ``hosts``, ``hostname``,
    ``resolv.conf``. ``guest.endpoints`` are its places on networks, ``bridges`` their interface
    names by network id, ``mtus`` likewise. ``idle``: the main process does nothing; for machines
    that only lend themselves to further processes. ``given``: for such machines. ``variables``: a
    file with further variables of the main process, each ended by NUL, which is emptied when that
    has them; for containers. ``fence``: bytes of memory that it may hold at first, less than its
    user said, None: as its user said; for containers.
    """

    guest: Guest
    image: Image
    process: Process
    network: str
    mounts: tuple[ResolvedMount, ...] = ()
    bridges: dict[str, str] = field(default_factory=dict)
    mtus: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    idle: bool = False
    given: tuple[Given, ...] = ()
    variables: str = ""
    fence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the helper shall do, and what the user should know. ``accelerator``: kvm, tcg or ""."""

    launch: LaunchGuest
    warnings: tuple[str, ...] = ()
    accelerator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whether an engine works here; ``reason`` and ``cure`` are sentences when it does not."""

    works: bool
    reason: str = ""
    cure: str = ""
    detail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a guest has when it runs, None: no limit. ``memory`` in bytes, of which it needs
    ``floor`` to boot at all; ``cpu_millis`` in thousandths of a core."""

    memory: int | None = None
    cpu_millis: int | None = None
    floor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended. ``time``: Unix nanoseconds."""

    code: int
    signal: int = 0
    oom_killed: bool = False
    time: int = 0
    error: str = ""


class Engine(Protocol):
    """One kind of guest. Its layout and host facts are given to the constructor."""

    isolation: Isolation

    def probe(self) -> Support:
        """Whether this kind can run here."""
        ...

    def check(self, spec: GuestSpec) -> tuple[str, ...]:
        """Warnings about what this host gives less of than wished. Called at create.

        Raises :class:`~wirt.errors.Unsupported` for any wish this kind cannot fulfil,
        :class:`~wirt.errors.Invalid` for an impossible one.
        """
        ...

    def size(self, spec: GuestSpec) -> Size:
        """How large such a guest is. Pure."""
        ...

    def plan(self, start: Start) -> Plan:
        """What to do to start the guest. Pure."""
        ...

    def give_up(self, error: WirtError) -> bool:
        """Do without what made a start fail with ``error``, if it was the host's. Whether another
        start is another try."""
        ...

    def trust_again(self) -> None:
        """Take :meth:`give_up` back, since the other try failed as well."""
        ...

    def handle(self, guest: Guest, keeper: KeeperLink) -> Handle:
        """The live guest behind this record, spoken to through its keeper."""
        ...


class Handle(Protocol):
    """One running guest. Every method raises :class:`~wirt.errors.Unavailable` when it is gone."""

    async def attach(
        self, descriptor: int, *, stdin: bool, stdout: bool, stderr: bool, mux: bool, detach: bytes
    ) -> None:
        """Give the keeper a client's stream socket (the caller closes its own copy)."""
        ...

    async def start(self) -> tuple[int, int]:
        """Run the main process; returns (pid, started in Unix ns). Raises WirtError whose
        ``facts["exit"]`` is 125, 126 or 127 when it cannot be run."""
        ...

    async def signal(self, number: int, *, target: str = "main") -> None: ...

    async def resize(self, rows: int, columns: int, *, target: str = "main") -> None: ...

    async def execute(self, exec_id: str, spec: ExecSpec, descriptor: int | None) -> int:
        """Run a further process; returns its pid. Its end comes as an exit event of the keeper."""
        ...

    async def usage(self) -> Usage: ...

    async def processes(self, ps_args: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows, as ``top`` shows them."""
        ...

    async def limit(self, resources: Resources) -> None:
        """Apply new limits to the running guest, of which 0 takes one back (see ``merge``); raises
        Unsupported naming what can't change."""
        ...

    async def freeze(self, frozen: bool) -> None:
        """Pause or resume."""
        ...

    def close(self) -> None:
        """Let go of the guest, which goes on; the keeper's connection is its owner's to close."""
        ...


class Trees(Protocol):
    """Files of a running guest that only the guest itself can reach: machines have this.

    Descriptors are connected stream sockets of which the caller closes its own copy. Paths are
    absolute, as the guest sees them.
    """

    async def stat_tree(self, path: str) -> TreeStat:
        """lstat. Raises NotFound."""
        ...

    async def read_tree(self, path: str, descriptor: int) -> None:
        """Write ``path`` as a tar stream, its members named from the last component on."""
        ...

    async def write_tree(
        self, path: str, descriptor: int, *, no_overwrite_dir_non_dir: bool = False
    ) -> None:
        """Unpack a tar stream into the directory ``path``; returns when it is all there."""
        ...


class Elastic(Protocol):
    """A running guest whose memory is changed from within: machines have this."""

    async def inner_memory(self) -> InnerMemory:
        """What its kernel says. Raises Unavailable when it does not answer in time."""
        ...

    async def set_inner_memory(self, size: int) -> None:
        """Ask it to live with ``size`` bytes, between its floor and its size at the start; it
        follows as far and as fast as it can: read it back."""
        ...
