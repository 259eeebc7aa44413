"""CPU: the kernel divides at the scale of milliseconds; the governor only chooses its weights.

They are such that each guest gets its entitlement when all want everything. They change with who
runs and what was promised, not with demand: a guest that wakes up has its full weight at once.
"""

from __future__ import annotations

from wirt.governor.plan import due
from wirt.governor.tree import Group, Resource

MOST = 10_000
"""The largest weight of version 2 of cgroups (cgroup-v2, ``cpu.weight``)."""
_V1_NORMAL, _V2_NORMAL = 1024, 100


def cpu_weights(root: Group, capacity: int) -> dict[str, int]:
    """A weight from 1 to 10000 for each guest; ``capacity`` in millicores."""
    entitled = due(root, Resource.CPU, capacity)
    largest = max(entitled.values(), default=0)
    if largest == 0:
        return dict.fromkeys(entitled, 1)
    return {
        name: min(max(round(MOST * amount / largest), 1), MOST) for name, amount in entitled.items()
    }


def as_shares(weight: int) -> int:
    """The same weight for ``cpu.shares`` of version 1: 2 to 262144."""
    return max(2, weight * _V1_NORMAL // _V2_NORMAL)
