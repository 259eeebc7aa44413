"""How large machines are, what they cost their host beside, and how far they can grow. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.engine.protocol import Size
from wirt.linux.features import HostFacts
from wirt.model.guest import GuestSpec, Isolation
from wirt.model.resources import Resources
from wirt.model.volume import MountKind
from wirt.qemu.bus import Board

MIB = 1 << 20
OVERHEAD = 384 * MIB
"""What QEMU may use beyond the guest's memory: itself, translated code, its disk's cache."""
SHARE_OVERHEAD = 64 * MIB
USUAL_OVERHEAD = 96 * MIB
"""What it uses of that as a rule. To both comes 1 % of the guest's memory, for tables about it."""
MAX_CPUS = 64
MOST_MEMORY = 512 << 30
"""Bytes that a machine can have together; processors of 40 bits address 1 TiB."""
_BLOCK = 128 * MIB
"""Linux takes memory that is plugged in by such blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What tells the two kinds apart. Memory in bytes."""

    isolation: Isolation
    board: Board
    default_memory: int
    min_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What can be added to a machine while it runs: bytes, processors."""

    memory: int = 0
    cpus: int = 0


def room(spec: GuestSpec, shape: Shape, facts: HostFacts) -> Room:
    """A PC can grow to what its host has, a microVM not at all. Nor can its memory, on a host whose
    kernel would have to promise all of that now."""
    if shape.board is not Board.Q35:
        return Room()
    most = 0 if facts.strict_memory else min(facts.memory, MOST_MEMORY)
    memory = most - memory_of(spec.resources, shape)
    cpus = min(len(facts.cpus), MAX_CPUS) - vcpus(spec.resources)
    return Room(memory=max(memory // _BLOCK * _BLOCK, 0), cpus=max(cpus, 0))


def vcpus(wish: Resources) -> int:
    """Virtual CPUs: as many as the limit fills, one when there is none."""
    return max(1, -(-(wish.cpu_millis or 0) // 1000))


def memory_of(wish: Resources, shape: Shape) -> int:
    """The guest's memory in bytes: whole pieces of 2 MiB."""
    size = wish.memory or shape.default_memory
    return -(-size // (2 * MIB)) * 2 * MIB


def size(spec: GuestSpec, shape: Shape) -> Size:
    """What a machine has, and what it needs of the host to boot: QEMU's own part counts."""
    memory = memory_of(spec.resources, shape)
    return Size(
        memory=memory,
        cpu_millis=spec.resources.cpu_millis or 1000 * vcpus(spec.resources),
        floor=shape.min_memory + USUAL_OVERHEAD + memory // 100,
    )


def host_resources(wish: Resources, memory: int, shares: int) -> Resources:
    """What the programs of a machine with ``memory`` bytes may use of the host. Its processes are
    counted inside."""
    return Resources(
        cpu_millis=wish.cpu_millis,
        cpu_shares=wish.cpu_shares,
        cpuset=wish.cpuset,
        memory=host_memory(memory, shares),
        memory_reservation=wish.memory_reservation,
    )


def host_memory(memory: int, shares: int) -> int:
    """Bytes that a machine's programs may hold, its own memory included."""
    return memory + OVERHEAD + memory // 100 + shares * SHARE_OVERHEAD


def shares_of(spec: GuestSpec) -> int:
    """Shared folders: each has a program of its own."""
    return sum(one.kind is not MountKind.TMPFS for one in spec.mounts)
