"""Cold start of a microVM, against the floor: bare QEMU booting the same kernel to its init."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from measure import Row, in_turn
from peers import LAB, ROOT, Peer
from rows import run

sys.path.insert(0, str(ROOT / "src"))

KERNEL = ROOT / "build/guest/vmlinux"
INIT = "#!/bin/sh\necho INIT\nexec /bin/poweroff -f\n"


def cold(peers: Sequence[Peer], rounds: int) -> Row:
    """``run --rm --as microvm busybox true`` against QEMU alone, both emulated, in turn."""
    wirt = next(peer for peer in peers if peer.name == "wirt")
    argv = bare_command(initramfs())
    actions = {
        "wirt": lambda: run(wirt, "run", "--rm", "--as", "microvm", "busybox", "true") / 1e3,
        "bare QEMU": lambda: until_init(argv),
    }
    return Row(
        key="microvm", title="`run --rm --as microvm busybox true`, cold, emulated", unit="s",
        samples=in_turn(actions, rounds=rounds), against="bare QEMU", must=2.0, aim=1.3,
        note="bare QEMU: from its start to the first output of an init in an initramfs of 2 MB",
    )  # fmt: skip


def until_init(argv: Sequence[str]) -> float:
    """Seconds from the start of QEMU until init has written its first line."""
    began = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            if line.startswith(b"INIT"):
                took = time.perf_counter() - began
                break
        else:
            raise RuntimeError("bare QEMU ended before init spoke")
        machine.stdout.read()
    return took


def bare_command(initrd: Path) -> list[str]:
    """A microVM with nothing in it, tuned as wirt tunes its own."""
    words = (
        "console=ttyS0 reboot=t panic=-1 quiet no_timer_check cryptomgr.notests mitigations=off "
        f"tsc_early_khz={tsc_khz()} tsc=reliable"
    )
    machine = (
        "qemu-system-x86_64 -nodefaults -no-user-config -nographic -no-reboot -serial stdio "
        "-m 256 -smp 1 -accel tcg,thread=multi -M microvm -cpu qemu64"
    )
    return [*machine.split(), "-kernel", str(KERNEL), "-initrd", str(initrd), "-append", words]


def initramfs() -> Path:
    """busybox and an init that says one word and powers off."""
    tree, packed = LAB / "initramfs", LAB / "initramfs.cpio"
    (tree / "bin").mkdir(parents=True, exist_ok=True)
    (tree / "dev").mkdir(exist_ok=True)
    subprocess.run(["cp", "/bin/busybox", tree / "bin/busybox"], check=True)
    for applet in ("sh", "poweroff"):
        link = tree / "bin" / applet
        link.unlink(missing_ok=True)
        link.symlink_to("busybox")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    subprocess.run(["mknod", tree / "dev/console", "c", "5", "1"], check=False, capture_output=True)
    names = subprocess.run(["find", "."], cwd=tree, capture_output=True, check=True).stdout
    with packed.open("wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names, stdout=out, check=True
        )
    return packed


def tsc_khz() -> int:
    """Frequency of the time stamp counter, which an emulated guest shares with its host."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code[:10] = bytes.fromhex("0f31 48c1e220 4809d0 c3".replace(" ", ""))  # rdtsc into rax; ret
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def point() -> tuple[float, int]:
        best = (1 << 62, 0.0, 0)
        for _ in range(20):
            before, ticks, after = time.monotonic_ns(), read(), time.monotonic_ns()
            best = min(best, (after - before, (before + after) / 2, ticks))
        return best[1:]

    start, first = point()
    time.sleep(0.1)
    end, last = point()
    return round((last - first) * 1e6 / (end - start))
