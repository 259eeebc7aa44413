"""What this host can promise to its guests, and what it keeps for itself."""

from __future__ import annotations

from typing import Protocol

from wirt.governor.admission import Host
from wirt.governor.tree import Resource
from wirt.linux.features import HostFacts

MIB = 1 << 20
LEAST_CPU = 100
"""Millicores that the host keeps at least; else a twentieth."""
LEAST_MEMORY = 256 * MIB
"""Bytes that the host keeps at least; else three hundredths."""


class Capacity(Protocol):
    """Asked at every admission, for it may change at run time.

    ``divided``: resources whose numbers somebody sees to. ``limited``: of which only limits of
    single guests are kept. ``weighed``: of which shares are kept, without anybody knowing how much
    there is. What is asked of others is refused.
    """

    @property
    def divided(self) -> frozenset[Resource]: ...

    @property
    def weighed(self) -> frozenset[Resource]: ...

    limited: frozenset[Resource]

    def host(self) -> Host:
        """What there is to promise. A resource that is not named is not promised at all."""
        ...


class WholeHost:
    """All of this machine but the reserve."""

    divided = frozenset({Resource.CPU, Resource.MEMORY, Resource.NET})
    limited = frozenset({Resource.DISK})
    weighed: frozenset[Resource] = frozenset()

    def __init__(self, facts: HostFacts) -> None:
        self._facts = facts

    def host(self) -> Host:
        """See :class:`Capacity`."""
        return with_reserve(cpu=1000 * len(self._facts.cpus), memory=self._facts.memory)


def with_reserve(*, cpu: int, memory: int) -> Host:
    """A host, or a part of one, of so many millicores and bytes."""
    return Host(
        capacity={Resource.CPU: cpu, Resource.MEMORY: memory},
        reserve={
            Resource.CPU: max(LEAST_CPU, cpu // 20),
            Resource.MEMORY: max(LEAST_MEMORY, 3 * memory // 100),
        },
    )
