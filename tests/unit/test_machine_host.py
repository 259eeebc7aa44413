"""What a host offers machines: how the accelerator is decided, and when a verdict holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wirt.errors import Invalid, Timeout
from wirt.linux import spawn, tsc
from wirt.linux.spawn import Result
from wirt.qemu import accel, host
from wirt.qemu.accel import Accelerator, decide


def _result(code: int, stdout: str = "", stderr: str = "") -> Result:
    return Result(
        argv=("x",), code=code, stdout=stdout.encode(), stderr=stderr.encode(), seconds=0.1
    )


class Programs:
    """In place of running programs: answers by the program's name, and what was run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.ran: list[str] = []
        self._answers = answers
        monkeypatch.setattr(spawn, "run_sync", self._run)

    def _run(self, argv: list[str], **_: object) -> Result:
        name = "tiny" if argv[-1].endswith("kvm.py") else "version"
        if "-cpu" in argv:
            name = f"boot_{argv[argv.index('-cpu') + 1]}"
        self.ran.append(name)
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Result)
        return answer


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has /dev/kvm."""
    monkeypatch.setattr(os, "access", lambda path, mode: True)


PANIC = _result(0, stdout="... Kernel panic - not syncing: VFS ...")


@pytest.mark.usefixtures("device")
def test_a_kernel_that_boots_is_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, tiny=_result(0), boot_host=PANIC)
    assert (decide(Path("/g")).name, decide(Path("/g")).cpu) == ("kvm", "host")
    assert programs.ran[:2] == ["tiny", "boot_host"]


@pytest.mark.usefixtures("device")
def test_an_abort_is_tried_again_with_a_plainer_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    abort = _result(-6, stderr="error: failed to set MSR 0x10a to 0x69")
    Programs(monkeypatch, tiny=_result(0), boot_host=abort, boot_qemu64=PANIC)
    assert decide(Path("/g")).cpu == "qemu64"
    Programs(monkeypatch, tiny=_result(0), boot_host=abort, boot_qemu64=abort)
    verdict = decide(Path("/g"))
    assert verdict.name == "tcg"
    assert "MSR 0x10a" in verdict.reason


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("tiny", "reason"),
    [
        (_result(1, stdout="a guest's kernel code is emulated here\n"), "emulated here"),
        (_result(1, stdout="/dev/kvm: Permission denied\n"), "Permission denied"),
        (_result(-11), "ended with -11"),
        (Timeout("too long"), "within 3 s"),
    ],
)
def test_without_the_tiny_guest_nothing_is_booted(
    monkeypatch: pytest.MonkeyPatch, tiny: Any, reason: str
) -> None:
    programs = Programs(monkeypatch, tiny=tiny)
    verdict = decide(Path("/g"))
    assert verdict.name == "tcg"
    assert reason in verdict.reason
    assert programs.ran == ["tiny"]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("boot", [_result(0, stdout="no words"), Timeout("x"), _result(1)])
def test_a_boot_that_does_not_reach_its_end_is_no_proof(
    monkeypatch: pytest.MonkeyPatch, boot: Any
) -> None:
    Programs(monkeypatch, tiny=_result(0), boot_host=boot, boot_qemu64=boot)
    assert decide(Path("/g")).name == "tcg"


def test_no_device_needs_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    programs = Programs(monkeypatch)
    assert "no /dev/kvm" in decide(Path("/g")).reason
    assert programs.ran == []


def test_a_wish_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch)
    assert decide(Path("/g"), wish="tcg").name == "tcg"
    assert decide(Path("/g"), wish="kvm").name == "kvm"
    assert programs.ran == []
    with pytest.raises(Invalid, match="WIRT_ACCEL"):
        decide(Path("/g"), wish="fast")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest directory and a QEMU that are there."""
    for name in ("vmlinux", "initrd.cpio"):
        (tmp_path / name).write_text(name)
    (tmp_path / "kernel.json").write_text('{"release": "6.1-test"}')
    (tmp_path / "qemu").write_text("")
    monkeypatch.setattr(host, "QEMU", tmp_path / "qemu")
    monkeypatch.setattr(host, "VIRTIOFSD", tmp_path / "virtiofsd")
    monkeypatch.setattr(tsc, "khz", lambda: 2_600_000)
    Programs(monkeypatch, version=_result(0, stdout="QEMU emulator version 7.2.22 (Debian x)\n"))
    return tmp_path


def test_a_verdict_holds_until_something_changes(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = guest / "cache"
    decided: list[str] = []
    real = accel.decide

    def count(directory: Path, *, wish: str) -> accel.Accelerator:
        decided.append(wish)
        return real(directory, wish="tcg")

    monkeypatch.setattr(accel, "decide", count)
    first = host.examine(guest, cache)
    assert (first.kernel, first.qemu, first.tsc_khz) == ("6.1-test", "7.2.22", 2_600_000)
    assert not first.shares
    assert host.examine(guest, cache) == first
    assert len(decided) == 1
    (guest / "vmlinux").write_text("another kernel")
    host.examine(guest, cache)
    host.examine(guest, cache, wish="tcg")
    assert len(decided) == 3
    for damage in ("", "{", "[]", '{"key": 1}', "null"):
        cache.write_text(damage)
        assert host.examine(guest, cache).kernel == "6.1-test"
    assert len(decided) == 8


def test_what_is_missing_is_named_with_its_cure(guest: Path) -> None:
    (guest / "initrd.cpio").unlink()
    facts = host.examine(guest, guest / "cache")
    assert "initrd.cpio is missing" in facts.problem
    assert facts.cure == "run make setup"
    (guest / "qemu").unlink()
    assert "apt-get install" in host.examine(guest, guest / "cache").cure


def test_a_cache_that_cannot_be_written_does_no_harm(guest: Path) -> None:
    assert host.examine(guest, Path("/proc/nowhere"), wish="tcg").qemu == "7.2.22"


def test_a_verdict_that_cannot_be_put_in_place_leaves_nothing(guest: Path, tmp_path: Path) -> None:
    """As where another user's file is in a sticky directory; here a directory is in its place."""
    cache = tmp_path / "state" / "cache"
    (cache / "busy").mkdir(parents=True)
    assert host.examine(guest, cache, wish="tcg").qemu == "7.2.22"
    assert list(cache.parent.iterdir()) == [cache]


def test_the_counter_is_measured_alike_twice() -> None:
    one, other = tsc.khz(seconds=0.02), tsc.khz(seconds=0.02)
    if one is None or other is None:
        pytest.skip("this host has no time stamp counter to read")
    assert abs(one - other) / one < 0.01


def test_the_counter_is_measured_where_no_memory_may_be_written_and_run() -> None:
    """As systemd's MemoryDenyWriteExecute has it; here with PR_SET_MDWE (Linux 6.3)."""
    script = (
        "import ctypes, sys; from wirt.linux import tsc\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0: sys.exit(77)\n"
        "sys.exit(0 if tsc.khz(seconds=0.01) else 1)"
    )
    if tsc.khz(seconds=0.01) is None:
        pytest.skip("this host has no time stamp counter to read")
    source = str(Path(tsc.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": source}, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot forbid it (PR_SET_MDWE)")
    assert done.returncode == 0


def test_a_verdict_is_withdrawn_and_stays_so(
    guest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, and for the next daemon; until it turns out that it was not KVM's fault."""
    proven = Accelerator(name="kvm", cpu="host", reason="it booted")
    monkeypatch.setattr(accel, "decide", lambda *_, **__: proven)
    cache = tmp_path / "cache"
    offered = host.machines(guest, cache)
    assert offered.facts.accelerator == proven
    assert offered.emulate("it aborted")
    for known in (offered.facts, host.machines(guest, cache).facts, host.examine(guest, cache)):
        assert (known.accelerator.name, known.accelerator.reason) == ("tcg", "it aborted")
    assert offered.emulate("another one"), "whoever failed meanwhile may try again as well"
    assert offered.facts.accelerator.reason == "it aborted"
    offered.trust()
    assert host.machines(guest, cache).facts.accelerator == proven


def test_who_insists_on_kvm_keeps_it(guest: Path, tmp_path: Path) -> None:
    offered = host.machines(guest, tmp_path / "cache", wish="kvm")
    assert not offered.emulate("it aborted")
    assert offered.facts.accelerator.name == "kvm"
