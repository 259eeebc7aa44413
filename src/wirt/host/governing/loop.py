"""The governor at work: in each tick it looks, decides, writes and remembers.

Without a guest there is no tick. A new guest is looked at from the next tick on, so nothing of its
start waits for the governor. What takes long is done by others meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.governor.admission import Host
from wirt.governor.decide import Decision, State, decide
from wirt.governor.emergency import Alarm
from wirt.governor.journal import Change, Frame
from wirt.governor.movement import margin
from wirt.governor.observe import Tick
from wirt.governor.plan import due
from wirt.governor.tree import Group, Resource
from wirt.host.capacity import with_reserve
from wirt.host.governing import disk, fence, ioweight, look, protection, safety, weigh
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.emergency import Emergency
from wirt.host.governing.hearing import Hearing
from wirt.host.governing.heartbeat import Heartbeat
from wirt.host.governing.machines import Machines, fitting
from wirt.host.governing.member import Member
from wirt.host.governing.memory import Goal, Mover
from wirt.host.governing.newcomers import Newcomers
from wirt.host.governing.policy import Mode, Policies, Policy, check_room
from wirt.host.governing.pool import Bounds
from wirt.host.governing.ring import Ring
from wirt.host.governing.roll import Roll, fixed, prune
from wirt.host.governing.short import Shortness
from wirt.host.governing.steering import Steering
from wirt.linux.features import HostFacts
from wirt.linux.readings import HostMemory
from wirt.privileged.faults import fault
from wirt.privileged.holds import Hold

log = logging.getLogger("wirt.host.governing")

FORGOTTEN = 8.0
"""Seconds without a tick after which the helper may have carried out the safe plan."""
AGAIN = 30.0
"""Seconds after which weights are read back."""
MOST_FAILURES = 2
"""Ticks in a row that may fail before everybody gets the safe plan."""
REST = 10.0
"""Seconds until the next try after that."""


class Governor:
    """Drives one instance's guests. ``wake`` is called when a guest appears."""

    def __init__(
        self,
        *,
        roll: Roll,
        policies: Policies,
        actuator: Actuator,
        ring: Ring,
        facts: HostFacts,
        nursery: Nursery,
    ) -> None:
        self.ring = ring
        self.roll = roll
        self._policies = policies
        self._actuator = actuator
        self.bounds = Bounds(actuator, cpus=len(facts.cpus), memory=facts.memory)
        self._facts = facts
        self._nursery = nursery
        self._mover = Mover(actuator, nursery)
        self._machines = Machines(nursery)
        self._emergency = Emergency(actuator, nursery)
        self._heart = Heartbeat(actuator)
        self.newcomers = Newcomers(roll, actuator, self._heart)
        self.newcomers.shared = self._shared
        self._host = HostMemory()
        self._short = Shortness()
        self._disks = disk.Disks()
        self._state = State()
        self._present = asyncio.Event()
        self._urgent = asyncio.Event()
        self._hearing = Hearing(
            actuator=actuator, nursery=nursery, mover=self._mover, urgent=self._urgent
        )
        self._last = self._weighed = time.monotonic()
        self._changes: list[Change] = []
        self._cpu: tuple[Group, int, Mapping[str, int]] | None = None
        self._keeps = with_reserve(cpu=0, memory=facts.memory).reserve[Resource.MEMORY]
        self.cost = 0.0
        self.paused = False
        self.failures, self.failure = 0, ""
        self.steering = Steering()
        policies.on_change = self.wake

    @property
    def keeps(self) -> int:
        """Bytes that the host keeps for itself."""
        return self._keeps

    @property
    def dividing(self) -> bool:
        """Whether memory is divided by limits now."""
        return self._short.now

    @property
    def alarm(self) -> Alarm:
        """How short the host's memory is."""
        return self._state.alarm

    @property
    def acts(self) -> bool:
        """Whether anything is decided for anybody."""
        return self.policy.mode is Mode.ON and not self.paused and self.failures < MOST_FAILURES

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policies.now

    def wake(self) -> None:
        """A guest has appeared, or the policy is another one."""
        self._present.set()

    async def adopt(self, policy: Policy | None) -> None:
        """Use another policy, None: the one of the file of settings. Nothing changes when the
        guests do not fit into its pool. Raises Invalid, Conflict, Unsupported."""
        wanted = self._policies.given if policy is None else policy
        if policy is not None:  # of what was there at the start it is only told
            self.bounds.check(policy.pool)
        check_room(wanted, wanted.host(cpus=len(self._facts.cpus), memory=self._facts.memory))
        async with self.bounds.changed(self._policies.now.pool, wanted.pool):
            self._policies.set(policy)
        if self.policy.mode is Mode.OFF:
            await self.release()

    async def pause(self) -> None:
        """Give every guest its safe plan and only look on."""
        self.paused = True
        await self.release()

    def resume(self) -> None:
        """Govern again."""
        self.paused = False
        self.wake()

    async def run(self) -> None:
        """Tick as long as there are guests, for ever."""
        await self.bounds.begin(self.policy.pool)
        await self._hearing.begin()
        while True:
            if not await self._wait():
                continue
            try:
                await self.tick()
                self.failures, self.failure = 0, ""
            except WirtError as error:
                await self._failed(error.message)
            except Exception as error:
                log.exception("a tick of the governor failed")
                await self._failed(str(error) or type(error).__name__)

    async def tick(self) -> None:
        """Look, decide, write, remember."""
        begun, now = time.thread_time(), time.monotonic()
        seconds, self._last = now - self._last, now
        self._refresh(seconds, now)
        members, policy = self.roll.members, self.policy
        host = policy.host(cpus=len(self._facts.cpus), memory=self._facts.memory)
        self._machines.ask(members.values(), short=self._short.now)
        tick = look.look(members, self._host, seconds=seconds, least=2 * self._keeps)
        self._changes += self.newcomers.arrived(members, self.roll.live())
        self.steering.seen(tick)
        root = self.steering.claims(self.roll.tree())
        divided = {**self.roll.containers(), **self.roll.elastic()}
        capacity = self._short.judge(
            divided.values(), tick, policy=policy, reserve=self._keeps,
            pool=host.available(Resource.MEMORY) - fixed(root, members),
        )  # fmt: skip
        inner = root if len(divided) == len(members) else prune(root, divided.__contains__)
        before, asleep = self._state, self.roll.asleep()
        decision = decide(
            before, tick, inner, capacity=capacity, reserve=self._keeps, tuning=policy.tuning,
            slack=0 if self.roll.v2 else margin(capacity),
            processors=host.capacity[Resource.CPU], asleep=asleep,
        )  # fmt: skip
        self._state = decision.state
        self._short.alarmed(decision.state.alarm)
        self._hearing.feeding = self._short.now and not self.paused
        spent = time.thread_time() - begun
        if self.paused:
            await self._slow_safely()
        else:
            await self._act(root, tick, decision, host)
        begun = time.thread_time()
        done = (
            *self._mover.take_done(), *self._machines.take_done(), *self._emergency.take_done(),
            *self.steering.done(),
        )  # fmt: skip
        changes, self._changes = (*self._changes, *done), []
        frame = Frame(
            at=time.time_ns(), tick=tick, alarm=decision.state.alarm,
            capacity={**host.capacity, Resource.MEMORY: capacity},
            shares=look.shares(tick, decision, self._entitled(root, host), root, policy.tuning),
            reasons=decision.reasons, changes=changes, asleep=asleep,
            learned=before.estimates if self.ring.begins else {},
            cost=round(spent + time.thread_time() - begun, 6),
        )  # fmt: skip
        self.steering.noted(root, frame)
        self.ring.add(frame)
        self.cost += 0.1 * ((time.thread_time() - begun + spent) / max(seconds, 0.01) - self.cost)

    def _refresh(self, seconds: float, now: float) -> None:
        self.roll.sync()
        if seconds > FORGOTTEN:
            for member in self.roll.members.values():
                member.waits = None  # the helper may have acted for us
        if now - self._weighed > AGAIN or seconds > FORGOTTEN:
            self._weighed = now
            self.roll.read_weights()

    def _entitled(self, root: Group, host: Host) -> Mapping[str, int]:
        """Millicores of each when all want everything."""
        capacity = host.capacity[Resource.CPU]
        if self._cpu is None or self._cpu[0] is not root or self._cpu[1] != capacity:
            self._cpu = (root, capacity, due(root, Resource.CPU, capacity))
        return self._cpu[2]

    async def release(self) -> None:
        """Write the safe plan now."""
        everybody = self.roll.members.values()
        members = [m for m in everybody if m.safe is not None]
        holds = [
            Hold(id=m.guest.id, cpu=m.safe_cpu) for m in members if m.cpu not in {None, m.safe_cpu}
        ]
        for member in members:
            if member.frozen:
                await self._emergency.thaw(member)
        if holds:
            await self._actuator.govern(holds)
        for member in members:
            member.cpu = None if member.cpu is None else member.safe_cpu
        await protection.write(self._actuator, self.roll.members, protection.given_back(everybody))
        back = ioweight.given_back(self.roll.members)
        await ioweight.write(self._actuator, self.roll.members, back, self.steering.why)
        bounded = [m for m in members if m.container and (m.bounded or m.waits or m.lined)]
        if bounded:
            await self._mover.loosen(bounded)
        claims = self.roll.tree().claims_to(Resource.MEMORY)
        self._machines.loosen(self.roll.elastic(), claims)
        await self._slow_safely()
        await self._heart.clear()

    async def close(self) -> None:
        """Let go; what guests have stays, and the helper's switch watches over it."""
        self.roll.clear()
        self._host.close()
        self._hearing.close()

    # --- the pace

    async def _wait(self) -> bool:
        """Sleep until the next tick; False when there is nothing to tick for."""
        if self.policy.mode is Mode.OFF or not self.roll.anybody():
            await self._rest()
            return False
        deadline = self._last + (REST if self.failures >= MOST_FAILURES else self.policy.tick)
        left = max(deadline - time.monotonic(), 0.0)
        if self.failures:  # let the helper act, should it go on like that
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), left)
        else:
            await self._heart.wait(self._urgent, left)
        self._urgent.clear()
        return self.roll.anybody() and self.policy.mode is Mode.ON

    async def _rest(self) -> None:
        """Nobody is to be governed: let go of all, and sleep until somebody is."""
        self._present.clear()
        self.roll.sync()
        with contextlib.suppress(WirtError):
            await self.release()
        self.roll.clear()
        self._state = State()
        self._short = Shortness()
        if self.policy.mode is Mode.OFF or not self.roll.anybody():
            await self._present.wait()
        self._last = time.monotonic()

    async def _failed(self, why: str) -> None:
        self.failures += 1
        self.failure = why
        log.error("the governor's tick failed: %s", why)
        if self.failures == MOST_FAILURES:
            with contextlib.suppress(WirtError):
                await self.release()

    # --- acting

    async def _act(self, root: Group, tick: Tick, decision: Decision, host: Host) -> None:
        divided = self.roll.containers()
        targets = weigh.targets(root, self.roll.members, host.capacity[Resource.CPU])
        changed = [
            self.roll.members[name]
            for name, weight in targets.items()
            if weigh.differs(self.roll.members[name].cpu, weight)
        ]
        rates = self._disks.targets(
            root, tick.guests, self.roll.members, host.capacity.get(Resource.DISK, 0)
        )
        slowed = [m for n, m in self.roll.members.items() if disk.differs(m.disk, rates[n])]
        touching = {member.guest.id for member in (*changed, *slowed)}
        touching |= divided.keys() if self._short.now else set()
        claims = root.claims_to(Resource.MEMORY)
        entitled = decision.memory.members if self._short.now else {}
        spared = protection.wanted(self.roll.members, claims, entitled)
        touching |= {hold.id for hold in spared if hold.low is not None}
        tilted = ioweight.wanted(root, self.roll.members, host.capacity.get(Resource.DISK, 0))
        touching |= {hold.id for hold in tilted}
        everybody = list(self.roll.members.values())
        freezing = self._emergency.next(decision.state.alarm, everybody, claims)
        plan = safety.plan(everybody, touching, freezing)
        await self._heart.keep((*plan, *self.newcomers.plan()))
        self._changes += await weigh.write(self._actuator, changed, targets, why=self.steering.why)
        await self._slow(slowed, rates)
        self._changes += await ioweight.write(
            self._actuator, self.roll.members, tilted, self.steering.why
        )
        await protection.write(self._actuator, self.roll.members, spared)
        if self._short.now:
            await self._divide(divided, tick, decision, root)
        else:
            self._machines.loosen(self.roll.elastic(), claims)
            if bounded := [m for m in divided.values() if m.bounded or m.lined]:
                await self._mover.loosen(bounded)
        self._emergency.act(decision.state.alarm, everybody, claims)
        fault("governor.ticked")

    async def _divide(
        self, divided: Mapping[str, Member], tick: Tick, decision: Decision, root: Group
    ) -> None:
        now, claims = time.monotonic(), root.claims_to(Resource.MEMORY)
        await self._hearing.watch(divided.values())
        for member in divided.values():
            if member.before is None or not member.before.under_oom:
                member.starving = None
            elif member.starving is None:
                member.starving = now
        governed = {name: m for name, m in divided.items() if m.v2 or m.watched}
        elastic = self.roll.elastic()
        taken = self._machines.committed(elastic.values(), claims)
        capacity = max(self._short.capacity - taken, 0)
        pool = capacity if self.policy.pool.memory is not None else None
        goal = Goal(
            entitled=decision.memory.members, capacity=capacity,
            lines=self.roll.lines(governed, root, pool=pool, seconds=tick.seconds),
            reasons=decision.reasons, hungry=look.hungry(decision.state),
            inputs=look.inputs(tick, decision.state),
            keeps={n: fence.kept(m, claims[n].reservation) for n, m in governed.items()},
        )  # fmt: skip
        fits = fitting(goal.entitled, governed, goal.capacity, goal.hungry)
        await self._mover.move(governed, replace(goal, entitled=fits), seconds=self.policy.tick)
        self._machines.move(elastic, claims, goal, free=self._mover.free)
        coming = self._machines.coming(elastic.values())
        for member in governed.values():
            if member.waits and safety.hopeless(member, time.monotonic(), coming=coming):
                await self._mover.kill_again(member)

    def _shared(self) -> int | None:
        """See :class:`Newcomers`."""
        policy, short = self.policy, self._short
        if not self.acts or not (short.now or policy.always):
            return None
        if not short.now:  # nobody has been looked at yet
            host = policy.host(cpus=len(self._facts.cpus), memory=self._facts.memory)
            return host.available(Resource.MEMORY)
        claims = self.roll.tree().claims_to(Resource.MEMORY)
        return max(
            short.capacity - self._machines.committed(self.roll.elastic().values(), claims), 0
        )

    async def _slow_safely(self) -> None:
        """What users allowed, single guests and groups, holds while nobody governs as well."""
        self.roll.tree()
        slowed = [m for m in self.roll.members.values() if m.throttled]
        await self._slow(slowed, {m.guest.id: m.safe_disk for m in slowed})

    async def _slow(self, members: list[Member], rates: Mapping[str, int]) -> None:
        """Write how fast guests may read and write."""
        containers = [member for member in members if member.container]
        self._changes += await disk.slow(self._actuator, containers, rates)
        self._machines.slow((m for m in members if not m.container), rates)
