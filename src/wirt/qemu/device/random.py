"""Randomness for the guest while it runs; its first seed comes with its configuration."""

from __future__ import annotations

from wirt.qemu.bus import Board


def random(board: Board) -> tuple[str, ...]:
    """QEMU's own generator, which needs no file of the host."""
    return ("-object", "rng-builtin,id=rng", *board.device("virtio-rng", "rng=rng"))
