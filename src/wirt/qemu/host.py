"""What this host offers machines: found out once, remembered for this boot of the host."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wirt.errors import WirtError
from wirt.linux import procfs, spawn, tsc
from wirt.qemu import accel
from wirt.qemu.accel import Accelerator

log = logging.getLogger("wirt.qemu")

QEMU = Path("/usr/bin") / accel.QEMU
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineHost:
    """Facts for planning. ``problem`` and ``cure`` are sentences when no machine can run here.

    ``tsc_khz``: this host's counter, None when it could not be measured. ``kernel``: the guest
    kernel's release. ``qemu``: QEMU's version. ``shares``: whether virtiofsd is there.
    """

    accelerator: Accelerator
    tsc_khz: int | None = None
    kernel: str = ""
    qemu: str = ""
    shares: bool = False
    problem: str = ""
    cure: str = ""


class Machines:
    """What this host offers machines, as far as is known now.

    That KVM carried a kernel once is no promise: where machines fail with it all the same, they are
    emulated from then on, in this daemon and, by ``remember``, in those after it. ``firm``: the
    user insists on what there is.
    """

    def __init__(
        self,
        facts: MachineHost,
        *,
        firm: bool = False,
        remember: Callable[[MachineHost], None] = lambda _: None,
    ) -> None:
        self._proven = facts
        self._firm = firm
        self._remember = remember
        self.facts = facts

    def emulate(self, reason: str) -> bool:
        """Give KVM up for ``reason``. Whether machines are emulated now."""
        if self.facts.accelerator.name == "kvm" and not self._firm:
            self.facts = replace(self.facts, accelerator=accel.emulation(reason))
            self._remember(self.facts)
            log.warning("machines are emulated from now on: %s", reason)
        return self.facts.accelerator.name == "tcg"

    def trust(self) -> None:
        """Take that back: it was not KVM's fault."""
        if self.facts != self._proven:
            self.facts = self._proven
            self._remember(self.facts)
            log.warning("machines use %s again", self.facts.accelerator.name)


def machines(guest_dir: Path, cache: Path, *, wish: str = "auto") -> Machines:
    """As :func:`examine`, for whoever starts machines."""

    def remember(facts: MachineHost) -> None:
        _write(cache, _key(guest_dir, wish), facts)

    facts = examine(guest_dir, cache, wish=wish)
    return Machines(facts, firm=wish != "auto", remember=remember)


def examine(guest_dir: Path, cache: Path, *, wish: str = "auto") -> MachineHost:
    """Look at this host. Blocks: call it in a thread; a millisecond when the verdict is known.

    ``guest_dir``: where ``vmlinux``, ``initrd.cpio`` and ``kernel.json`` are. ``cache``: a file
    for the verdict, which holds for this boot, this QEMU, this guest kernel, this user and
    this ``wish`` (``auto``, ``kvm`` or ``tcg``). Raises Invalid for an unknown wish.
    """
    problem, cure = _obstacle(guest_dir)
    if problem:
        none = accel.emulation(problem)
        return MachineHost(accelerator=none, problem=problem, cure=cure)
    key = _key(guest_dir, wish)
    known = _read(cache, key)
    if known is None:
        known = MachineHost(
            accelerator=accel.decide(guest_dir, wish=wish),
            tsc_khz=tsc.khz(),
            kernel=_release(guest_dir),
            qemu=_version(),
            shares=VIRTIOFSD.exists(),
        )
        _write(cache, key, known)
        log.info("machines use %s: %s", known.accelerator.name, known.accelerator.reason)
    return known


def _obstacle(guest_dir: Path) -> tuple[str, str]:
    """Why no machine can run here, and the cure."""
    if os.uname().machine != "x86_64":
        return "machines need a host with x86-64", "use a container"
    if not QEMU.exists():
        return "QEMU is not installed", "apt-get install qemu-system-x86"
    for name in ("vmlinux", "initrd.cpio", "kernel.json"):
        if not (guest_dir / name).exists():
            return f"there is no guest kernel: {guest_dir / name} is missing", "run make setup"
    return "", ""


def _release(guest_dir: Path) -> str:
    try:
        return str(json.loads((guest_dir / "kernel.json").read_text())["release"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _version() -> str:
    try:
        text = spawn.run_sync([str(QEMU), "--version"], timeout=20).text
    except WirtError:
        return "unknown"
    words = text.partition("\n")[0].split()
    return words[3] if len(words) > 3 else "unknown"


def _key(guest_dir: Path, wish: str) -> str:
    """What a verdict holds for."""
    who = f"{os.geteuid()} {sorted(os.getgroups())}"
    parts = [str(_FORMAT), wish, procfs.boot_id(), os.uname().release, who]
    for path in (QEMU, guest_dir / "vmlinux", VIRTIOFSD, Path("/dev/kvm")):
        try:
            about = path.stat()
            parts.append(f"{path} {about.st_size} {about.st_mtime_ns} {about.st_ino}")
            parts.append(f"{about.st_mode} {about.st_uid} {about.st_gid}")
        except OSError:
            parts.append(f"{path} absent")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(cache: Path, key: str) -> MachineHost | None:
    """The remembered facts, or None when they are for another key or damaged."""
    try:
        stored = json.loads(cache.read_text())
        if stored.pop("key") != key:
            return None
        return MachineHost(**{**stored, "accelerator": Accelerator(**stored["accelerator"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(cache: Path, key: str, facts: MachineHost) -> None:
    part = cache.with_name(f"{cache.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        part.write_text(json.dumps({"key": key, **asdict(facts)}))
        part.rename(cache)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        log.warning("cannot remember in %s what this host offers: %s", cache, error)
