"""``python wirt/linux/kvm.py``: whether /dev/kvm runs a tiny guest, in a process of its own.

A guest of a few instructions in real mode: it must reach its port output and halt, and a loop of a
million instructions must take about as long as it should. This rejects devices that cannot be
opened, lack what QEMU needs, or carry out a guest's kernel code one instruction at a time (some
nested hypervisors do). That a whole kernel boots is for :mod:`wirt.qemu.accel` to prove.

Interface: Documentation/virt/kvm/api.rst. It imports nothing of wirt. Ends with 0, or with 1 and
one sentence on stdout.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time
from typing import Final

_GET_API_VERSION: Final = 0xAE00
_CREATE_VM: Final = 0xAE01
_CHECK_EXTENSION: Final = 0xAE03
_GET_VCPU_MMAP_SIZE: Final = 0xAE04
_CREATE_VCPU: Final = 0xAE41
_SET_USER_MEMORY_REGION: Final = 0x4020AE46
_RUN: Final = 0xAE80
_GET_SREGS: Final = 0x8138AE83
_SET_SREGS: Final = 0x4138AE84
_SET_REGS: Final = 0x4090AE82
_EXIT_IO: Final = 2
_EXIT_HLT: Final = 5
_NEEDED: Final = {0: "IRQCHIP", 3: "USER_MEMORY", 136: "IMMEDIATE_EXIT"}
_BASE: Final = 0x1000
_PROGRAM: Final = bytes(
    [
        0x66, 0xB9, 0x40, 0x42, 0x0F, 0x00,  # mov ecx, 1000000
        0x66, 0x49,                          # dec ecx
        0x75, 0xFC,                          # jnz -4
        0xB0, 0x42,                          # mov al, 0x42
        0xE6, 0x10,                          # out 0x10, al
        0xF4,                                # hlt
    ]
)  # fmt: skip
_LIMIT: Final = 0.25
"""Seconds for two million instructions: 2 ms in hardware, 1 s where each is emulated."""


class Rejected(Exception):
    """Why KVM cannot be used here."""


def try_guest() -> None:
    """Run the tiny guest. Raises :class:`Rejected` or OSError."""
    device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    if fcntl.ioctl(device, _GET_API_VERSION, 0) != 12:
        raise Rejected("/dev/kvm speaks another version of its interface")
    for number, name in _NEEDED.items():
        if fcntl.ioctl(device, _CHECK_EXTENSION, number) <= 0:
            raise Rejected(f"KVM has no {name}")
    vm = fcntl.ioctl(device, _CREATE_VM, 0)
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory[: len(_PROGRAM)] = _PROGRAM
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = struct.pack("IIQQQ", 0, 0, _BASE, mmap.PAGESIZE, address)
    fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, region)
    vcpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
    run = mmap.mmap(vcpu, fcntl.ioctl(device, _GET_VCPU_MMAP_SIZE, 0))
    _set_registers(vcpu)
    began = time.monotonic()
    fcntl.ioctl(vcpu, _RUN, 0)
    took = time.monotonic() - began
    (reason,) = struct.unpack_from("<I", run, 8)
    if reason != _EXIT_IO or run[struct.unpack_from("<Q", run, 40)[0]] != 0x42:
        raise Rejected(f"a test guest ended with exit reason {reason} instead of its output")
    if took > _LIMIT:
        raise Rejected(f"a guest's kernel code is emulated here (a test loop took {took:.2f} s)")
    fcntl.ioctl(vcpu, _RUN, 0)
    (reason,) = struct.unpack_from("<I", run, 8)
    if reason != _EXIT_HLT:
        raise Rejected(f"a test guest ended with exit reason {reason} instead of a halt")


def _set_registers(vcpu: int) -> None:
    """Real mode at ``_BASE`` with a flat code segment."""
    special = bytearray(312)
    fcntl.ioctl(vcpu, _GET_SREGS, special)
    struct.pack_into("<Q", special, 0, 0)
    struct.pack_into("<H", special, 12, 0)
    fcntl.ioctl(vcpu, _SET_SREGS, bytes(special))
    registers = [0] * 18
    registers[16], registers[17] = _BASE, 2
    fcntl.ioctl(vcpu, _SET_REGS, struct.pack("18Q", *registers))


def main() -> int:
    """Try, and tell in one line why not."""
    try:
        try_guest()
    except OSError as error:
        sys.stdout.write(f"/dev/kvm: {error.strerror}\n")
    except Rejected as error:
        sys.stdout.write(f"{error}\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
