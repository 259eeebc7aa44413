"""Values for the tests of machines: a host that emulates, and both engines upon it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from container_values import HOST
from wirt.engine.microvm import MicrovmEngine
from wirt.engine.vm import VmEngine
from wirt.guest.frame import Record, decode_record
from wirt.layout import Layout
from wirt.privileged.client import Helper
from wirt.qemu.accel import Accelerator, emulation
from wirt.qemu.host import MachineHost, Machines

NOWHERE = Layout(name="none", state=Path("/nonexistent"), run=Path("/nonexistent"))
EMULATING = MachineHost(
    accelerator=emulation("for tests"),
    tsc_khz=2_596_134,
    kernel="6.1.0-56-cloud-amd64",
    qemu="7.2.22",
    shares=True,
)
HARDWARE = MachineHost(
    accelerator=Accelerator(name="kvm", cpu="host", reason="for tests"), kernel="6.1", qemu="7.2"
)


def microvm(host: MachineHost = EMULATING) -> MicrovmEngine:
    return MicrovmEngine(
        layout=NOWHERE, facts=HOST, host=Machines(host), helper=Helper(Path("/nonexistent"))
    )


def vm(host: MachineHost = EMULATING) -> VmEngine:
    return VmEngine(
        layout=NOWHERE, facts=HOST, host=Machines(host), helper=Helper(Path("/nonexistent"))
    )


def config_of(plan: Any) -> Record:
    """The agent's configuration, decoded."""
    import base64

    return decode_record(base64.b64decode(plan.launch.machine.agent_config))
