"""One RUN step: what it needs, what it leaves, how it fails. The border between solver and runner.

The solver decides *that* a step must run and what its cache key is; a :class:`Runner` runs it and
knows no Dockerfile. Everything a step sees is named by value: layers by chain id, secrets by
their bytes. So a step can be a container or a microVM without the solver knowing.

Files of the build context reach a step as a layer too: the solver applies the context's tar as
one with no parents (:class:`~wirt.privileged.protocol.ApplyLayer`) and names its chain id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from wirt.errors import Invalid
from wirt.image.store import Lease
from wirt.model.guest import Isolation
from wirt.model.image import Digest
from wirt.model.resources import Resources

STDOUT = 1
STDERR = 2

MAX_SECRET = 512 * 1024
"""Bytes of one secret."""

Out = Callable[[int, bytes], Awaitable[None] | None]
"""Takes output as it comes: :data:`STDOUT` or :data:`STDERR`, and the bytes."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Sharing(Enum):
    """What happens when two steps want the same cache at once.

    ``shared``: both write into it. ``private``: the later one gets a new, empty one. ``locked``:
    the later one waits.
    """

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A part of other layers at ``target``.

    ``layers``: chain ids, base first. ``source``: a path inside them, links resolved inside them;
    a directory or a file. ``writable``: the step may write, and what it writes is thrown away.
    """

    target: str
    layers: tuple[str, ...]
    source: str = "/"
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A directory that outlives the step and is never part of a layer.

    ``id``: any text; caches with equal ids are the same. ``mode``, ``uid``, ``gid``: of a new
    cache's root. ``layers``, ``source``: what a new cache is filled from (``from=``), or nothing.
    """

    target: str
    id: str
    sharing: Sharing = Sharing.SHARED
    read_only: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    layers: tuple[str, ...] = ()
    source: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """Memory at ``target``. ``size``: bytes, 0 for the kernel's default (half of the memory)."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """A secret as a file in memory. It is in no layer, log, error or event.

    ``content``: at most :data:`MAX_SECRET` bytes. For a secret as a variable, the solver puts it
    into :attr:`RunStep.secret_env` instead.
    """

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMount:
    """The client's SSH agent as a unix socket. ``connect``: a new connection to that agent.

    The socket's path is also put into ``SSH_AUTH_SOCK`` unless the step's ``env`` has it.
    """

    target: str
    connect: Callable[[], Awaitable[Stream]] = field(repr=False, compare=False)
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


StepMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """A process to run in a root file system whose changes become a layer.

    ``argv``: as executed, the shell included. ``env``: ``NAME=value``, all of it. ``secret_env``:
    the same, for secrets. ``user``: docker's ``USER[:GROUP]``, looked up in the root; empty: root.
    ``network``: ``default``, ``none`` or ``host``. ``stdin``: given to the process (a heredoc's
    script goes into ``argv`` or here). ``timeout``: seconds, or None for no limit.
    ``epoch``: Unix seconds to which the times of changed files are clamped, or None: as they are.
    ``isolation``: a container, or a microVM for what shall not run on this host's kernel.
    ``shm_size``: bytes. ``ulimits``: soft and hard by name, -1 for none.
    ``keep_failed``: keep a failed step's state for a debugging shell (:attr:`StepFailed.guest`).
    ``name``: for people, as ``[build 3/7]``.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = field(default=(), repr=False)
    cwd: str = "/"
    user: str = ""
    mounts: tuple[StepMount, ...] = ()
    network: str = "default"
    hostname: str = "buildhost"
    extra_hosts: tuple[str, ...] = ()
    stdin: bytes = field(default=b"", repr=False)
    timeout: float | None = None
    epoch: int | None = None
    isolation: Isolation = Isolation.CONTAINER
    resources: Resources = field(default_factory=Resources)
    shm_size: int | None = None
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    keep_failed: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMade:
    """What a step left: the blob is in the store (held by the caller's lease), the layer unpacked.

    ``size``: bytes of file contents; ``blob_size``: of the compressed blob. ``empty``: the step
    changed nothing; the layer has no member.
    """

    chain_id: str
    diff_id: Digest
    blob: Digest
    size: int
    blob_size: int
    empty: bool = False


class StepFailed(Invalid):
    """The process ended with another code than 0.

    ``exit_code``: as a shell gives it (137: killed). ``guest``: id of the guest that holds the
    step's state when :attr:`RunStep.keep_failed` was set, else empty.
    """

    def __init__(self, message: str, *, exit_code: int, guest: str = "") -> None:
        facts = {"step": guest} if guest else {}
        super().__init__(message, code="build.step-failed", exit=exit_code, **facts)
        self.exit_code = exit_code
        self.guest = guest


class Runner(Protocol):
    """Runs steps. Several may run at once."""

    async def run(
        self, base: tuple[str, ...], step: RunStep, out: Out, *, lease: Lease
    ) -> LayerMade:
        """Run ``step`` on top of ``base`` (chain ids, base first; the caller holds them, and the
        one that is made). The blob made is held by ``lease``.

        Raises :class:`StepFailed`, Timeout, Invalid (what the step asks for is impossible),
        Unsupported (this kind of guest cannot give it). Nothing is left of a failed step unless it
        was to be kept.
        """
        ...

    async def shell(
        self, guest: str, argv: tuple[str, ...], descriptor: int, *, rows: int, columns: int
    ) -> int:
        """An interactive process in a kept step's state, speaking on the stream socket
        ``descriptor`` (which is closed); its exit code. The step is gone afterwards. Raises
        NotFound."""
        ...

    async def drop(self, guest: str) -> None:
        """Remove a kept step. Idempotent."""
        ...
