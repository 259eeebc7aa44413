"""The two boards that machines have, and how a device is plugged into each."""

from __future__ import annotations

from enum import Enum


class Board(Enum):
    """``MICROVM``: virtio-mmio only, fixed shape. ``Q35``: a PC with PCI Express."""

    MICROVM = "microvm"
    Q35 = "q35"

    def device(self, model: str, *properties: str) -> tuple[str, str]:
        """``-device`` of a virtio device by its short model name (``blk``, ``net``...)."""
        name = f"{model}-{'device' if self is Board.MICROVM else 'pci'}"
        return "-device", ",".join((name, *properties))


def quoted(value: str) -> str:
    """A value within a comma-separated option: QEMU wants its commas doubled."""
    return value.replace(",", ",,")
