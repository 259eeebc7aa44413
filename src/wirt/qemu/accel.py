"""Whether machines run in hardware (KVM) or are emulated (TCG): proven by a boot, then remembered.

That /dev/kvm exists proves nothing, nor that it can be opened: nested hypervisors may abort QEMU or
carry out a kernel's code one instruction at a time. So a tiny guest is tried first
(:mod:`wirt.linux.kvm`), then our own kernel is booted and must come to its end in time. All of it
happens in other processes with deadlines. ``WIRT_ACCEL=tcg|kvm|auto`` decides against the proof.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from wirt.errors import Invalid, WirtError
from wirt.linux import kvm, spawn
from wirt.qemu.bus import Board

log = logging.getLogger("wirt.qemu")

CHOICES = ("auto", "kvm", "tcg")
TINY_SECONDS = 3.0
BOOT_SECONDS = 10.0
QEMU = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """``name``: ``kvm`` or ``tcg``. ``cpu``: the processor that guests see. ``reason``: a sentence
    why it is this one."""

    name: str
    cpu: str
    reason: str

    def arguments(self, *, translations: int) -> tuple[str, ...]:
        """QEMU's options; ``translations``: MiB for translated code."""
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", self.cpu)
        return ("-accel", f"tcg,thread=multi,tb-size={translations}", "-cpu", self.cpu)


EMULATED = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"
"""x86-64-v2 and no more: what today's distributions are built for, with little for a kernel to
find out and nothing that is slow to emulate."""


def emulation(reason: str) -> Accelerator:
    """The one that always works."""
    return Accelerator(name="tcg", cpu=EMULATED, reason=reason)


def decide(guest_dir: Path, *, wish: str = "auto") -> Accelerator:
    """The accelerator to use: what ``wish`` says, or what can be proven.

    Blocks for up to about 25 s, so call it in a thread (:mod:`wirt.qemu.host` remembers the
    verdict). Raises Invalid for an unknown ``wish``.
    """
    if wish not in CHOICES:
        raise Invalid(f"WIRT_ACCEL={wish[:40]!r} is unknown", hint="it is auto, kvm or tcg")
    if wish == "tcg":
        return emulation("WIRT_ACCEL=tcg asks for emulation")
    if wish == "kvm":
        return Accelerator(name="kvm", cpu="host", reason="WIRT_ACCEL=kvm asks for it, unproven")
    return _prove(guest_dir)


def _prove(guest_dir: Path) -> Accelerator:
    if not os.access("/dev/kvm", os.F_OK):
        return emulation("this host has no /dev/kvm")
    reason = _tiny_guest()
    if reason:
        return emulation(reason)
    for cpu in ("host", "qemu64"):
        reason = _boot(guest_dir, cpu)
        if not reason:
            why = "the guest kernel booted in hardware"
            return Accelerator(name="kvm", cpu=cpu, reason=why)
    return emulation(reason)


def _tiny_guest() -> str:
    """Why not, or nothing."""
    try:
        done = spawn.run_sync([sys.executable, "-I", kvm.__file__], timeout=TINY_SECONDS, ok=None)
    except WirtError:
        return f"/dev/kvm did not run a test guest within {TINY_SECONDS:g} s"
    if done.code == 0:
        return ""
    return done.text.strip() or f"the test of /dev/kvm ended with {done.code}"


def _boot(guest_dir: Path, cpu: str) -> str:
    """Boot the kernel with an empty initramfs: it finds no init, panics and resets. Why not, or
    nothing."""
    argv = [
        *(QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", Board.MICROVM.value, "-accel", "kvm", "-cpu", cpu, "-m", "128"),
        *("-kernel", str(guest_dir / "vmlinux")),
        *("-append", "console=ttyS0 reboot=t panic=-1"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]
    began = time.monotonic()
    try:
        done = spawn.run_sync(argv, timeout=BOOT_SECONDS, ok=None)
    except WirtError:
        return f"the guest kernel did not boot in hardware within {BOOT_SECONDS:g} s"
    if done.code == 0 and "Kernel panic" in done.text:
        log.debug("boot with KVM took %.2f s", time.monotonic() - began)
        return ""
    last = done.complaint or done.text.strip().rpartition("\n")[2]
    return f"QEMU cannot boot the guest kernel in hardware: {last[:200] or done.code}"
