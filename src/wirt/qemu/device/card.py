"""Network cards: virtio-net upon tap descriptors."""

from __future__ import annotations

from wirt.qemu.bus import Board


def card(board: Board, number: int, *, mac: str) -> tuple[str, ...]:
    """``{tap<number>}`` stands for the descriptor. ``romfile``: nobody boots from the network.

    Without ``status`` the link is up from the first moment; else Linux notices it after a second.
    """
    rom = () if board is Board.MICROVM else ("romfile=",)
    return (
        *("-netdev", f"tap,id=net{number},fd={{tap{number}}}"),
        *board.device("virtio-net", f"netdev=net{number}", f"mac={mac}", "status=off", *rom),
    )
