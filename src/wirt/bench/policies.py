"""The policies that are compared: what each gives the same guests on the same host.

=========== ===========================================================================
oracle      no limit of memory at all, and the weights that the governor is told: the best that
            sharing could do
static      each an equal part of processor and memory
vmlike      the processor is shared, memory in equal parts: an ordinary host of machines
linux       default weights, one limit of memory around all
linux-tuned the same with those weights
governor    the governor
=========== ===========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from wirt.bench.workload import CONTAINER, NORMAL_SHARES, Office, Service


class Policy(Enum):
    """Who divides the host."""

    ORACLE = "oracle"
    STATIC = "static"
    VMLIKE = "vmlike"
    LINUX = "linux"
    TUNED = "linux-tuned"
    GOVERNOR = "governor"


ALL = tuple(Policy)
MACHINE_SIZE = 512 << 20
MACHINE_FLOOR = 256 << 20
MACHINE_OVERHEAD = 96 << 20
"""Bytes that a machine's emulator takes of the host beside the guest's own memory."""
CONTAINER_FLOOR = 32 << 20
CONTAINER_LIMIT = 420 << 20
PROMISED_MILLIS = 100
DOCKER_SHARES = 1024
"""The kernel's normal weight of a processor, where ours is 1000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a service is guaranteed: thousandths of a core, bytes."""

    millis: int = 0
    memory: int = 0


def promise(service: Service, office: Office) -> Promise:
    """What the governor is told to guarantee; nothing to an antagonist."""
    if service.antagonist:
        return Promise()
    floor = CONTAINER_FLOOR if service.kind == CONTAINER else MACHINE_FLOOR
    return Promise(millis=scaled(PROMISED_MILLIS, office), memory=scaled(floor, office))


def resources(policy: Policy, service: Service, office: Office) -> dict[str, Any]:
    """How that policy makes a service's guest: the API's resources."""
    machine = service.kind != CONTAINER
    made: dict[str, Any] = {"memory": scaled(MACHINE_SIZE, office)} if machine else {}
    if policy in {Policy.STATIC, Policy.VMLIKE}:
        part = office.pool.memory // len(office.services)
        made["memory"] = part - MACHINE_OVERHEAD if machine else part
    if policy is Policy.STATIC:
        made["cpu_millis"] = round(office.pool.cpus * 1000 / len(office.services))
    if policy in {Policy.ORACLE, Policy.TUNED, Policy.GOVERNOR}:
        made["cpu_shares"] = service.shares * DOCKER_SHARES // NORMAL_SHARES
    if policy is Policy.GOVERNOR:
        made |= _governed(service, office)
    if "memory" in made and not machine:
        made["memory_swap"] = -1 if office.swap else made["memory"]
    return made


def _governed(service: Service, office: Office) -> dict[str, Any]:
    promised = promise(service, office)
    made: dict[str, Any] = {"memory_shares": service.shares, "io_shares": service.shares}
    if service.kind == CONTAINER:
        made["memory"] = scaled(CONTAINER_LIMIT, office)
    if not service.antagonist:
        made["cpu_reservation"] = promised.millis
        made["memory_reservation"] = promised.memory
    return made


def scaled(size: int, office: Office) -> int:
    """A size of the host of scale 1, on this one."""
    return round(size * office.pool.cpus)


def confined(policy: Policy) -> bool:
    """Whether the simulated host's memory bounds all guests together."""
    return policy is not Policy.ORACLE
