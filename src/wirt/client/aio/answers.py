"""What the API answers, typed (docs/reference/api.md); unknown further fields are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

from wirt.model.guest import GuestSpec, GuestState, GuestStatus
from wirt.model.network import Endpoint, PortMap
from wirt.model.resources import Usage


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A new guest."""

    id: str
    name: str
    warnings: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The id of something new."""

    id: str


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What a build made. ``image``: its id. ``keys``, ``target_keys``, ``mounts``: what of the
    build cache it is made of."""

    image: str
    manifest: str = ""
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    target_keys: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the guest list. Times are Unix nanoseconds; ``networks``: name to address."""

    id: str
    name: str
    image: str
    isolation: str
    state: GuestState
    status: str
    created_at: int
    image_id: str = ""
    command: tuple[str, ...] | str = ()
    pid: int = 0
    exit_code: int = 0
    health: str | None = None
    accelerator: str | None = None
    ports: tuple[PortMap, ...] = ()
    networks: dict[str, str] = {}
    labels: dict[str, str] = {}
    mounts: tuple[str, ...] = ()
    started_at: int = 0
    finished_at: int = 0


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a guest."""

    id: str
    name: str
    image: str
    image_id: str
    created_at: int
    spec: GuestSpec
    status: GuestStatus
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortMap, ...] = ()
    volumes: tuple[str, ...] = ()
    log_path: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended; ``error`` says what went wrong beside its exit code."""

    code: int
    error: str = ""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest uses. ``cpu_percent``: of one core; None without two readings."""

    id: str
    name: str
    usage: Usage | None = None
    cpu_percent: float | None = None


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """A guest's processes as a table."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """What an update could not do as asked."""

    warnings: tuple[str, ...] = ()


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an image's making; ``size`` in bytes."""

    id: str = ""
    created_at: int = 0
    created_by: str = ""
    comment: str = ""
    size: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a long work's answer. ``image`` and ``id``: what was pulled; ``pushed`` and
    ``digest``: what was pushed; else exactly one field is set, or none that is known here."""

    status: str | None = None
    loaded: str | None = None
    id: str | None = None
    image: str | None = None
    pushed: str | None = None
    digest: str | None = None
    problem: dict[str, Any] | None = None


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal did to an image: exactly one field is set."""

    untagged: str | None = None
    deleted: str | None = None


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """Names of what was removed, and the bytes that came free."""

    removed: tuple[str, ...]
    freed: int = 0


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    pid: int
    version: str


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A finished command: its exit code and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes
