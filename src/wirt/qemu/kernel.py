"""The command line that the guest kernel is given.

Measured under emulation (``quiet`` matters most: every line on the serial port costs): silence, no
self-tests of the cipher library, and for microVMs the frequency of the counter, without which
Linux hangs there for ever.
"""

from __future__ import annotations

from wirt.qemu.bus import Board


def command_line(board: Board, *, tsc_khz: int | None, more: tuple[str, ...] = ()) -> str:
    """``tsc_khz``: for a microVM under emulation, else None. ``more``: further words.

    ``reboot=t`` with QEMU's ``-no-reboot`` ends the machine on every board, ``panic=-1`` at once
    after a crash, whose message still reaches the console.
    """
    words = [
        "console=ttyS0",
        "quiet",
        "loglevel=1",
        "reboot=t",
        "panic=-1",
        "no_timer_check",
        "noreplace-smp",
        "cryptomgr.notests",
        "8250.nr_uarts=1",
    ]
    if board is Board.MICROVM:
        words.append("pci=off")
    if tsc_khz is not None:
        words += [f"tsc_early_khz={tsc_khz}", "tsc=reliable"]
    return " ".join([*words, *more])
