"""What of the daemon is about promises to guests and groups, made in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from wirt.api.native.groups import GroupRoutes
from wirt.engine.protocol import Engine
from wirt.host.admit import Admit
from wirt.host.boosting import Boosting
from wirt.host.events import Bus
from wirt.host.governing.policy import Policies, PolicyCapacity
from wirt.host.grouping import Grouping
from wirt.host.groups import Groups
from wirt.host.ledger import Ledger
from wirt.host.roster import Roster
from wirt.host.shaping import Shaping
from wirt.linux import disks
from wirt.linux.cgroup import Cgroups
from wirt.linux.features import read_facts
from wirt.model.guest import Isolation
from wirt.privileged.client import Helper
from wirt.state.boosts import BoostTable
from wirt.state.db import Database
from wirt.state.groups import GroupTable


class ClaimParts:
    """Groups, and the one who admits."""

    def __init__(
        self,
        *,
        db: Database,
        roster: Roster,
        engines: Mapping[Isolation, Engine],
        bus: Bus,
        helper: Helper,
        policies: Policies,
        places: Sequence[Path],
    ) -> None:
        """``places``: directories with what guests read and write."""
        self.facts = read_facts()
        self.policies = policies
        self.groups = Groups(GroupTable(db))
        self.admit = Admit(
            roster=roster, groups=self.groups, engines=engines,
            capacity=PolicyCapacity(self.facts, policies, partial(_weighed, places)),
        )  # fmt: skip
        self.shaping = Shaping(helper, self.admit.tree)
        self.boosting = Boosting(
            table=BoostTable(db), roster=roster, groups=self.groups, admit=self.admit, bus=bus
        )
        self._grouping = Grouping(groups=self.groups, admit=self.admit, bus=bus)
        self._ledger = Ledger(roster=roster, groups=self.groups, admit=self.admit)

    def routes(self) -> GroupRoutes:
        """The noun of the API."""
        return GroupRoutes(grouping=self._grouping, ledger=self._ledger)


def _weighed(places: Sequence[Path]) -> bool:
    """Whether the kernel shares all disks under these by weight. An operator may set that up, or
    end it, at any time."""
    cgroups, found = Cgroups.detect(), disks.under(places)
    return bool(found) and all(disks.weighed(one, cgroups) for one in found)
