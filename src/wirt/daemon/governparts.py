"""What of the daemon is about governing running guests, made in order."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter

from wirt.aio import Nursery
from wirt.api.http.app import Noun
from wirt.api.native.boosts import BoostRoutes
from wirt.api.native.governor import GovernorRoutes
from wirt.api.native.watching import WatchRoutes
from wirt.daemon.claimparts import ClaimParts
from wirt.errors import NotFound
from wirt.governor.observe import Tick
from wirt.governor.trace import Label
from wirt.host.events import Bus
from wirt.host.governing.actuate import HelperActuator
from wirt.host.governing.chronicle import Chronicle
from wirt.host.governing.dozing import Dozing, Says
from wirt.host.governing.loop import Governor
from wirt.host.governing.metrics import Figures
from wirt.host.governing.ring import Ring
from wirt.host.governing.roll import Roll
from wirt.host.governing.status import status
from wirt.host.insight import Insight
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged.client import Helper


class GovernParts:
    """The governor and its nouns, boosts, and who watches."""

    def __init__(
        self,
        *,
        layout: Layout,
        claims: ClaimParts,
        roster: Roster,
        running: Running,
        helper: Helper,
        nursery: Nursery,
        bus: Bus,
    ) -> None:
        self._roster = roster
        self._policies = claims.policies
        cgroups = Cgroups.detect()
        roll = Roll(
            layout=layout, cgroups=cgroups, roster=roster, running=running,
            admit=claims.admit, groups=claims.groups,
        )  # fmt: skip
        self.governor = Governor(
            roll=roll, policies=claims.policies, actuator=HelperActuator(helper), ring=Ring(),
            facts=claims.facts, nursery=nursery,
        )  # fmt: skip
        running.on_joined = self.governor.wake
        self._shaping = claims.shaping
        self._policies.on_change = self._changed
        ring = self.governor.ring
        self.boosting = claims.boosting
        self.boosting.on_change = self.governor.wake
        self.governor.steering.boosted = self.boosting.apply
        self._chronicle = Chronicle(
            ring, labels=self._labels, boosted=self._boosted, reserve=self.governor.keeps,
            hard=not self.governor.roll.v2,
        )  # fmt: skip
        self.governor.steering.noted = self._chronicle.note
        self.governor.steering.seen = self._seen
        self.dozing = Dozing(
            roster=roster, running=running, helper=helper, bus=bus, nursery=nursery,
            says=Says(
                defaults=lambda: self._policies.now.idle, boosted=self._boosted,
                acts=lambda: self.governor.acts,
                frozen=lambda guest_id: cgroups.frozen(layout.cgroup(guest_id)),
            ),
        )  # fmt: skip
        self.governor.steering.done = self.dozing.take_done
        self.insight = Insight(
            layout=layout, cgroups=cgroups, frame=lambda: ring.last, state=self._state
        )

    def _changed(self) -> None:
        """There is another policy: another pool to divide."""
        self.governor.wake()
        self._shaping.notice()

    def begin(self, nursery: Nursery) -> None:
        """Govern from now on."""
        nursery.start(self.governor.run(), name="governor")
        nursery.start(self.dozing.run(), name="doze")

    def routes(self) -> tuple[Noun, ...]:
        """The nouns of the API."""
        return (
            GovernorRoutes(governor=self.governor, policies=self._policies, roster=self._roster),
            WatchRoutes(chronicle=self._chronicle, figures=self._figures),
            BoostRoutes(self.boosting),
        )

    async def wake(self, name: str) -> None:
        """Wake a guest, by name or id, of which somebody wants something."""
        await self.dozing.wake(self._roster.find(name).id)

    def _seen(self, tick: Tick) -> None:
        """A tick has looked at everybody."""
        self.dozing.note(tick)
        for member in self.governor.roll.members.values():
            member.minimal = self.dozing.is_minimal(member.guest)

    def _labels(self) -> dict[str, Label]:
        """Names and states of those who are governed."""
        found = {}
        for guest_id in self.governor.roll.members:
            with contextlib.suppress(NotFound):  # just removed
                name = self._roster.get(guest_id).name
                found[guest_id] = Label(name=name, state=self._state(guest_id))
        return found

    def _state(self, guest_id: str) -> str:
        """How a guest is, by whom it was paused included. Raises NotFound."""
        status = self._roster.get(guest_id).status
        if status.asleep:
            return "sleeping"
        member = self.governor.roll.members.get(guest_id)
        return "minimal" if member is not None and member.minimal else status.state.value

    def _boosted(self) -> dict[str, int]:
        """Until when who is boosted."""
        return {one.target: one.until for one in self.boosting.active(time.time_ns())}

    def _figures(self) -> Figures:
        """What ``/metrics`` tells."""
        found = status(self.governor, self._policies)
        guests = tuple(self._roster.all())
        return Figures(
            frame=self.governor.ring.last,
            names={guest.id: guest.name for guest in guests},
            states=Counter(guest.status.state.value for guest in guests),
            state=found.state,
            alarm=int(self.governor.alarm),
            cost=found.cost,
            boosts=len(self.boosting.active(time.time_ns())),
            swap={} if found.swap is None else dataclasses.asdict(found.swap),
        )
