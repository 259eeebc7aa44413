"""QEMU's arguments for a machine, from values alone.

What only the helper knows is left as a name in braces: descriptors (``{agent}``, ``{qmp}``,
``{tap0}``, ``{fs0}``) and files (``{kernel}``, ``{initrd}``, ``{root}``, ``{disk}``). The program
itself is not among the arguments: the helper knows it, and under whom it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from wirt.qemu import kernel
from wirt.qemu.accel import Accelerator
from wirt.qemu.bus import Board
from wirt.qemu.device import (
    agent,
    balloon,
    card,
    console,
    disk,
    monitor,
    more,
    power,
    random,
    share,
)

MIB = 1 << 20
TRANSLATIONS = 128
"""MiB for translated code under emulation; filled only as far as code runs."""
SPARE_PORTS = 4
"""Slots on a q35 board for devices plugged in while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine. ``memory`` in bytes, a multiple of 2 MiB; ``macs`` of its cards; ``tags`` of its
    shared folders; ``tsc_khz`` as in :func:`wirt.qemu.kernel.command_line`. ``disk_rate``: bytes a
    second, 0: no limit. ``more_memory`` bytes and ``more_vcpus`` can be added while it runs."""

    board: Board
    name: str
    accelerator: Accelerator
    memory: int
    vcpus: int
    macs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tsc_khz: int | None = None
    disk_rate: int = 0
    more_memory: int = 0
    more_vcpus: int = 0


def argv(machine: Machine) -> tuple[str, ...]:
    """All arguments. Pure."""
    board = machine.board
    parts: list[tuple[str, ...]] = [
        _frame(machine),
        _memory(machine),
        _boot(machine),
        console.console(),
        monitor.monitor(),
        agent.agent(board),
        disk.throttle(machine.disk_rate),
        disk.disk(board, "root", read_only=True),
        disk.disk(board, "disk", read_only=False),
        balloon.balloon(board),
        random.random(board),
        power.power(),
        *(card.card(board, n, mac=mac) for n, mac in enumerate(machine.macs)),
        *(share.share(board, n, tag=tag) for n, tag in enumerate(machine.tags)),
        _more(machine),
    ]
    return tuple(word for part in parts for word in part)


def _frame(machine: Machine) -> tuple[str, ...]:
    """Nothing that was not asked for, and a process that may do nothing new."""
    return (
        *("-name", machine.name),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ),
        *machine.accelerator.arguments(translations=TRANSLATIONS),
        *_board(machine),
        *("-smp", _processors(machine)),
    )


def _board(machine: Machine) -> tuple[str, ...]:
    memory = ",memory-backend=ram" if machine.tags else ""
    if machine.board is Board.MICROVM:
        # Modern virtio: shared folders work with nothing else.
        return ("-machine", f"microvm{memory}", "-global", "virtio-mmio.force-legacy=false")
    return ("-machine", f"q35,vmport=off,smbus=off,sata=off,usb=off{memory}", *_root_ports())


def _root_ports() -> tuple[str, ...]:
    return tuple(
        word
        for n in range(SPARE_PORTS)
        for word in ("-device", f"pcie-root-port,id=spare{n},chassis={n + 1},slot={n + 1}")
    )


def _processors(machine: Machine) -> str:
    if not machine.more_vcpus:
        return str(machine.vcpus)
    return f"{machine.vcpus},maxcpus={machine.vcpus + machine.more_vcpus}"


def _memory(machine: Machine) -> tuple[str, ...]:
    size = f"{machine.memory // MIB}M"
    most = (machine.memory + machine.more_memory) // MIB
    words = ("-m", f"{size},maxmem={most}M" if machine.more_memory else size)
    if not machine.tags:
        return words
    return (*words, "-object", f"memory-backend-memfd,id=ram,size={size},share=on")


def _more(machine: Machine) -> tuple[str, ...]:
    if not machine.more_memory:
        return ()
    return more.memory(machine.board, machine.more_memory, shared=bool(machine.tags))


def _boot(machine: Machine) -> tuple[str, ...]:
    words = more.WORDS if machine.more_memory else ()
    line = kernel.command_line(machine.board, tsc_khz=machine.tsc_khz, more=words)
    return ("-kernel", "{kernel}", "-initrd", "{initrd}", "-append", line)
