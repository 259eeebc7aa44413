"""What of the daemon is about governing running guests, made in order."""

from __future__ import annotations

from wirt.aio import Nursery
from wirt.api.native.governor import GovernorRoutes
from wirt.daemon.claimparts import ClaimParts
from wirt.host.governing.actuate import HelperActuator
from wirt.host.governing.loop import Governor
from wirt.host.governing.ring import Ring
from wirt.host.governing.roll import Roll
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged.client import Helper


class GovernParts:
    """The governor and its noun."""

    def __init__(
        self,
        *,
        layout: Layout,
        claims: ClaimParts,
        roster: Roster,
        running: Running,
        helper: Helper,
        nursery: Nursery,
    ) -> None:
        self._roster = roster
        self._policies = claims.policies
        roll = Roll(
            layout=layout, cgroups=Cgroups.detect(), roster=roster, running=running,
            admit=claims.admit, groups=claims.groups,
        )  # fmt: skip
        self.governor = Governor(
            roll=roll, policies=claims.policies, actuator=HelperActuator(helper), ring=Ring(),
            facts=claims.facts, nursery=nursery,
        )  # fmt: skip
        running.on_joined = self.governor.wake

    def begin(self, nursery: Nursery) -> None:
        """Govern from now on."""
        nursery.start(self.governor.run(), name="governor")

    def routes(self) -> GovernorRoutes:
        """The noun of the API."""
        return GovernorRoutes(governor=self.governor, policies=self._policies, roster=self._roster)
