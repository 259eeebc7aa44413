"""The kinds of guests of this host: facts read once, engines made from them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from wirt.crun.seccomp import Filters
from wirt.daemon.config import Config
from wirt.engine.container import ContainerEngine
from wirt.engine.microvm import MicrovmEngine
from wirt.engine.protocol import Engine
from wirt.engine.vm import VmEngine
from wirt.linux import disks
from wirt.linux.cgroup import Cgroups
from wirt.linux.features import HostFacts, read_facts
from wirt.linux.seccomp import native_architecture
from wirt.model.guest import Isolation
from wirt.privileged.client import Helper, helper_pid
from wirt.qemu.host import machines

HELPER_SECONDS = 5.0

VERDICT = "machines.json"
"""File in the state directory that remembers what this host offers machines."""


def make_engines(config: Config, helper: Helper) -> dict[Isolation, Engine]:
    """One engine per kind. Blocks up to some 25 s when KVM must be proven by a boot first."""
    facts = host_facts(config)
    host = machines(
        config.guest_dir,
        config.layout.state / VERDICT,
        wish=os.environ.get("WIRT_ACCEL", "auto"),
    )
    container = ContainerEngine(
        layout=config.layout,
        facts=facts,
        filters=Filters(architecture=native_architecture(facts.machine), kernel=facts.kernel),
        init=init_program(config.keeper),
        helper=helper,
        cgroups=Cgroups.detect(),
    )
    return {
        Isolation.CONTAINER: container,
        Isolation.MICROVM: MicrovmEngine(
            layout=config.layout, facts=facts, host=host, helper=helper
        ),
        Isolation.VM: VmEngine(layout=config.layout, facts=facts, host=host, helper=helper),
    }


def host_facts(config: Config) -> HostFacts:
    """What guests can be given. The helper starts them: its bounding set and limits count, ours
    may be empty (systemd takes ours away). Waits a little for a helper that starts with us."""
    pid = helper_pid(config.layout.helper_socket, patience=HELPER_SECONDS)
    facts = read_facts() if pid is None else read_facts(pid=pid)
    return replace(facts, disks=disks.under(config.layout.on_disks))


def init_program(keeper: Path) -> Path:
    """``--init`` containers run this first; it lies beside the keeper."""
    return keeper.with_name("wirt-init")
