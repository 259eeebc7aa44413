"""What a guest is meant to be, and the states it goes through.

:class:`GuestSpec` is identity and intent and never changes while a guest runs (``update`` and
``rename`` store a new one). What is true right now is :class:`GuestStatus`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from wirt.model.idle import IdleWish
from wirt.model.network import Attachment, Endpoint, PortMap
from wirt.model.resources import Resources
from wirt.model.volume import Mount


class Isolation(Enum):
    """The dial: how a guest is kept apart from the host and from other guests."""

    CONTAINER = "container"
    MICROVM = "microvm"
    VM = "vm"


class GuestState(Enum):
    """Docker's states of a container, for every kind of guest."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


TRANSITIONS: dict[GuestState, frozenset[GuestState]] = {
    GuestState.CREATED: frozenset({GuestState.RUNNING, GuestState.REMOVING, GuestState.EXITED}),
    GuestState.RUNNING: frozenset(
        {GuestState.PAUSED, GuestState.EXITED, GuestState.RESTARTING, GuestState.REMOVING}
    ),
    GuestState.PAUSED: frozenset(
        {GuestState.RUNNING, GuestState.EXITED, GuestState.RESTARTING, GuestState.REMOVING}
    ),
    GuestState.RESTARTING: frozenset({GuestState.RUNNING, GuestState.EXITED, GuestState.REMOVING}),
    GuestState.EXITED: frozenset({GuestState.RUNNING, GuestState.RESTARTING, GuestState.REMOVING}),
    GuestState.REMOVING: frozenset({GuestState.DEAD}),
    GuestState.DEAD: frozenset({GuestState.REMOVING}),
}
"""Every allowed change of state; anything else is a bug or a :class:`~wirt.errors.Conflict`."""


class RestartName(Enum):
    """When an ended guest is started again."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """``maximum_retries`` counts for ``on-failure`` only; 0 means without end."""

    name: RestartName = RestartName.NO
    maximum_retries: int = 0


class GuestClass(Enum):
    """What a guest is for, where time is short: who is frozen first, and who answers people."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A command run inside the guest that tells whether it is well. Times are nanoseconds.

    ``test`` is docker's form: ``("NONE",)``, ``("CMD", arg...)`` or ``("CMD-SHELL", line)``.
    """

    test: tuple[str, ...]
    interval: int = 30_000_000_000
    timeout: int = 30_000_000_000
    start_period: int = 0
    start_interval: int = 5_000_000_000
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How much output is kept: ``files`` files of at most ``size`` bytes each; oldest go first."""

    size: int = 128 * 1024 * 1024
    files: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """What the user asked for. None and empty mean "as the image says" or "the default".

    ``command`` replaces the image's Cmd, ``entrypoint`` its Entrypoint (an empty tuple clears it).
    ``env`` entries are ``NAME=value``. ``network_mode``: ``""`` (use ``attachments``, or the
    default network when there are none), ``"none"``, ``"host"``, or ``"guest:ID"``. ``user``:
    docker's ``USER[:GROUP]``. ``stop_timeout``: seconds. ``userns``: ``""`` (the host's) or
    ``"private"``. ``security_opt``: ``no-new-privileges``, ``seccomp=unconfined``,
    ``seccomp=<JSON profile text>``.
    ``capabilities`` are names without ``CAP_``, upper case, or ``ALL``. ``extra_hosts``:
    ``name:address``; the address may be ``host-gateway``. ``disk_size``: bytes of a machine's
    writable layer. ``platform``: ``os/architecture`` that the image must be for. ``group``: path
    of the group it belongs to, ``tenant/department``; empty: to the host itself. ``oom_rank``:
    0..1000; when the host runs out of memory those with a low one are stopped first. ``idle``:
    what becomes of it when it has nothing to do.
    """

    image: str
    platform: str = ""
    isolation: Isolation = Isolation.CONTAINER
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    tty: bool = False
    stdin_open: bool = False
    stdin_once: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    remove_on_exit: bool = False
    health: HealthCheck | None = None
    resources: Resources = field(default_factory=Resources)
    group: str = ""
    guest_class: GuestClass = GuestClass.NORMAL
    oom_rank: int = 500
    idle: IdleWish = field(default_factory=IdleWish)
    mounts: tuple[Mount, ...] = ()
    network_mode: str = ""
    attachments: tuple[Attachment, ...] = ()
    ports: tuple[PortMap, ...] = ()
    publish_all: bool = False
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    read_only: bool = False
    init: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    userns: str = ""
    ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    shm_size: int | None = None
    disk_size: int | None = None
    log: LogOptions = field(default_factory=LogOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthStatus:
    """``status`` is ``starting``, ``healthy`` or ``unhealthy``; ``output`` at most 4096 bytes."""

    status: str = "starting"
    failing_streak: int = 0
    exit_code: int | None = None
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestStatus:
    """The last thing known about a guest. Times are Unix nanoseconds, 0 means never.

    ``accelerator`` is ``kvm`` or ``tcg`` for machines, empty for containers. ``pid`` is the host
    pid of the guest's first process (container) or of QEMU (machine), 0 when it does not run.
    ``idle_since``: when the governor paused it because it was idle, 0 when it did not; who asks
    something of it wakes it then, which a pause of its user's own does not allow.
    """

    state: GuestState = GuestState.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    restart_count: int = 0
    stopped_by_user: bool = False
    health: HealthStatus | None = None
    accelerator: str = ""
    idle_since: int = 0

    @property
    def asleep(self) -> bool:
        """Whether it is paused until somebody wants something of it."""
        return self.state is GuestState.PAUSED and self.idle_since > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest as stored: identity, intent, what it was resolved to, and its last status.

    ``image_id``: digest of the image's configuration. ``endpoints`` and ``ports`` are what it
    really got. ``volumes``: names of volumes it uses, anonymous ones included.
    ``boot_id``: the host's boot id at the last start. ``created_at``: Unix nanoseconds.
    ``command``: the whole argument vector, the image's part included.
    """

    id: str
    name: str
    spec: GuestSpec
    image_id: str
    created_at: int
    command: tuple[str, ...] = ()
    status: GuestStatus = field(default_factory=GuestStatus)
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortMap, ...] = ()
    volumes: tuple[str, ...] = ()
    boot_id: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A further process in a running guest. ``detach_keys`` as docker's, ``ctrl-p,ctrl-q``."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    detach_keys: str = ""
    rows: int = 0
    columns: int = 0
