"""The filter that we compile and hand over is in force, and is the one crun would have made."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crunbox import Box, Ran, box
from needs import needs
from wirt.crun.capability import DEFAULT
from wirt.crun.seccomp import ANNOTATION, default_profile, resolve
from wirt.engine.protocol import ResolvedMount
from wirt.linux import seccomp
from wirt.model.guest import GuestSpec
from wirt.model.volume import MountKind

pytestmark = needs("root", "crun", "mountns", "netns", "overlay", "busybox", "gcc")

MKDIR, KEYCTL, UNSHARE, CLONE, CLONE3, SOCKET, PERSONALITY = 83, 250, 272, 56, 435, 41, 135


@pytest.fixture(scope="module")
def lab(session_tag: str) -> Iterator[Box]:
    with box(f"wt{session_tag}cs") as made:
        yield made


@pytest.fixture(scope="module")
def probe(lab: Box) -> ResolvedMount:
    path = lab.layout.state / "probe"
    source = Path(__file__).parent / "probe.c"
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", path, source], check=True)
    return ResolvedMount(kind=MountKind.BIND, target="/probe", source=str(path))


def outcome(ran: Ran) -> dict[str, str]:
    """How each call ended: an errno's name, ``ok``, or ``signal``."""
    pairs = (line.rsplit(" ", 1) for line in ran.lines)
    return {
        call: "ok" if end == "0" else errno.errorcode.get(int(end), end) if end.isdigit() else end
        for call, end in pairs
    }


def spec(**wish: Any) -> GuestSpec:
    return GuestSpec(image="busybox", **wish)


def test_the_filter_is_in_force(lab: Box, probe: ResolvedMount) -> None:
    assert "Seccomp:\t2" in lab.run("cat", "/proc/self/status").out
    calls = (
        f"{KEYCTL},99", f"{UNSHARE},0", f"{CLONE3},0,0", f"{SOCKET},40,1,0", f"{SOCKET},2,1,0",
        f"{PERSONALITY},0x0040000", f"{PERSONALITY},0xffffffff", f"{CLONE},0x10000011", "470",
        "500",
    )  # fmt: skip
    assert list(outcome(lab.run("/probe", *calls, mounts=(probe,))).values()) == [
        "EPERM", "EPERM", "ENOSYS", "EPERM", "ok", "EPERM", "ok", "EPERM", "ENOSYS", "ENOSYS",
    ]  # fmt: skip


def test_unconfined(lab: Box, probe: ResolvedMount) -> None:
    wish = spec(security_opt=("seccomp=unconfined",))
    assert "Seccomp:\t0" in lab.run("cat", "/proc/self/status", spec=wish).out
    ran = lab.run("/probe", f"{KEYCTL},99", f"{UNSHARE},0", spec=wish, mounts=(probe,))
    assert list(outcome(ran).values()) == ["ENOTSUP", "ok"]


def test_an_own_profile_replaces_ours(lab: Box, probe: ResolvedMount) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
    }
    wish = spec(security_opt=(f"seccomp={json.dumps(profile)}",))
    ran = lab.run("/probe", f"{MKDIR},0", f"{UNSHARE},0", spec=wish, mounts=(probe,))
    assert list(outcome(ran).values()) == ["EXDEV", "ok"]


def as_oci(capabilities: frozenset[str], lab: Box) -> dict[str, Any]:
    """``linux.seccomp`` with the same meaning, for crun to compile by itself."""
    program = resolve(
        default_profile(), capabilities=capabilities,
        architecture=seccomp.native_architecture(lab.facts.machine), kernel=lab.facts.kernel,
    )  # fmt: skip
    groups = []
    for rule in program.rules:
        group: dict[str, Any] = {"names": [rule.name], "action": "SCMP_ACT_ALLOW"}
        if rule.action != seccomp.ALLOW:
            group |= {"action": "SCMP_ACT_ERRNO", "errnoRet": rule.action & 0xFFFF}
        if rule.compares:
            group["args"] = [
                {"index": c.index, "value": c.value, "valueTwo": c.second, "op": c.operator}
                for c in rule.compares
            ]
        groups.append(group)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": list(program.architectures),
        "syscalls": groups,
    }


@pytest.mark.parametrize("added", [(), ("SYS_ADMIN", "SYS_TIME")], ids=["default", "more"])
def test_every_call_ends_as_with_the_filter_that_crun_compiles(
    lab: Box, probe: ResolvedMount, added: tuple[str, ...]
) -> None:
    newest_known_to_libseccomp = 456
    results = []
    for ready in (True, False):
        start = lab.start(
            "/probe", "all", str(newest_known_to_libseccomp), spec=spec(cap_add=added),
            mounts=(probe,),
        )  # fmt: skip
        plan = lab.engine.plan(start)
        assert plan.launch.container is not None
        config = json.loads(plan.launch.container.config)
        assert ANNOTATION in config["annotations"]
        if not ready:
            del config["annotations"][ANNOTATION]
            config["linux"]["seccomp"] = as_oci(DEFAULT | set(added), lab)
        results.append(outcome(lab.run_config(start.guest.id, config, plan)))
    ours, theirs = results
    assert len(ours) > 400
    assert ours == theirs


def test_a_further_process_is_filtered_too(lab: Box, probe: ResolvedMount) -> None:
    """``crun exec`` finds the filter that the start left in crun's state directory."""
    start = lab.start("sh", "-c", "echo up; exec sleep 60", mounts=(probe,))
    plan = lab.engine.plan(start)
    assert plan.launch.container is not None
    config = json.loads(plan.launch.container.config)
    with lab.running(start.guest.id, config, plan) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        wanted = (f"{UNSHARE},0", f"{KEYCTL},99", f"{CLONE3},0,0", f"{SOCKET},2,1,0")
        ran = lab.crun(
            start.guest.id, "exec", start.guest.id, "/probe", *wanted, inside=process.pid
        )
        status = lab.crun(
            start.guest.id, "exec", start.guest.id, "cat", "/proc/self/status", inside=process.pid
        )
    assert ran.stdout.split()[1::2] == [str(errno.EPERM)] * 2 + [str(errno.ENOSYS), "0"], ran.stderr
    assert "Seccomp:\t2" in status.stdout
