"""MicroVMs: the smallest machine that Linux boots on. Fixed shape, no firmware, no PCI."""

from __future__ import annotations

from wirt.engine import _machine, _sizes
from wirt.engine._machine_handle import MachineHandle
from wirt.engine._sizes import MIB, Shape
from wirt.engine.protocol import Handle, Plan, Size, Start, Support
from wirt.errors import WirtError
from wirt.guest.keeper import KeeperLink
from wirt.layout import Layout
from wirt.linux.features import HostFacts
from wirt.model.guest import Guest, GuestSpec, Isolation
from wirt.privileged.client import Helper
from wirt.qemu.bus import Board
from wirt.qemu.host import Machines

SHAPE = Shape(
    isolation=Isolation.MICROVM,
    board=Board.MICROVM,
    default_memory=256 * MIB,
    min_memory=96 * MIB,
)


class MicrovmEngine:
    """Plans microVMs for one host."""

    isolation = SHAPE.isolation

    def __init__(self, *, layout: Layout, facts: HostFacts, host: Machines, helper: Helper) -> None:
        self._layout = layout
        self._facts = facts
        self._host = host
        self._helper = helper

    def probe(self) -> Support:
        """Whether this kind can run here."""
        return _machine.support(SHAPE, self._host.facts)

    def check(self, spec: GuestSpec) -> tuple[str, ...]:
        """Raise for a wish this kind cannot fulfil."""
        _machine.check(spec, SHAPE, self._facts)
        return ()

    def size(self, spec: GuestSpec) -> Size:
        """What it starts with is the most."""
        return _sizes.size(spec, SHAPE)

    def plan(self, start: Start) -> Plan:
        """What to do to start the guest."""
        room = _sizes.room(start.guest.spec, SHAPE, self._facts)
        return _machine.plan(start, SHAPE, self._host.facts, room)

    def give_up(self, error: WirtError) -> bool:
        """Emulate, when a machine with KVM did not come so far that its agent could answer."""
        return _machine.is_early_end(error) and self._host.emulate(_machine.why(error))

    def trust_again(self) -> None:
        """A machine without KVM failed as well."""
        self._host.trust()

    def handle(self, guest: Guest, keeper: KeeperLink) -> Handle:
        """The live guest."""
        monitor = self._layout.monitor_socket(guest.id)
        return MachineHandle(guest, SHAPE, keeper, self._helper, monitor)
