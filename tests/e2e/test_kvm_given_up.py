"""A host whose KVM was trusted and does not carry a machine: emulated from then on, and said so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from e2e.test_crash import answers
from e2e.test_life import eventually, inspect
from live import Live, running
from needs import missing, needs, require

pytestmark = needs("qemu", "agent", "guest-kernel", "erofs")


@pytest.fixture
def live(instance_name: str) -> Iterator[Live]:
    """An instance that may open /dev/kvm, on a host where that does not boot our kernel."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    if not os.path.exists("/dev/kvm") or missing("kvm") is None:  # noqa: PTH110
        pytest.skip("needs a /dev/kvm that is there and does not work")
    node = "mknod -m 666 /mnt/kvm c 10 232; mount --bind /mnt/kvm /dev/kvm; umount -l /mnt"
    with running(instance_name, prepare=f"mount -t tmpfs none /mnt; {node}") as made:
        yield made


def trust_kvm(live: Live) -> None:
    """Forge the verdict that the daemon remembers, and let another daemon read it."""
    verdict = live.instance.state / "machines.json"
    about = json.loads(verdict.read_text())
    assert about["accelerator"]["name"] == "tcg"
    about["accelerator"] = {"name": "kvm", "cpu": "host", "reason": "forged"}
    verdict.write_text(json.dumps(about))
    live.kill("wirt.daemon")
    eventually(lambda: not answers(live))
    eventually(lambda: answers(live))


def accelerator(live: Live, guest: str) -> str:
    status = inspect(live, guest)["status"]
    assert isinstance(status, dict)
    return str(status["accelerator"])


def test_a_machine_that_kvm_cannot_carry_is_emulated(live: Live) -> None:
    trust_kvm(live)
    words = ("--as", "microvm", "--name", "first", "busybox")
    live.wirt("run", "-d", *words, "sleep", "1000")
    assert accelerator(live, "first") == "tcg"
    assert live.wirt("exec", "first", "echo", "hi").stdout == "hi\n"
    live.wirt("rm", "-f", "first")
    assert "machines are emulated from now on" in live.log()
    verdict = json.loads((live.instance.state / "machines.json").read_text())["accelerator"]
    assert verdict["name"] == "tcg"
    assert "a machine ended with KVM before its agent answered" in verdict["reason"]


def test_who_is_attached_is_told_once_to_try_again(live: Live) -> None:
    trust_kvm(live)
    words = ("run", "--rm", "--as", "microvm", "busybox", "echo", "hi")
    refused = live.wirt(*words, code=125)
    assert "machines are emulated from now on: try again" in refused.stderr
    assert live.wirt(*words).stdout == "hi\n"
