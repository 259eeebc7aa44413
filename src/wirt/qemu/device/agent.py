"""The agent's link: a named virtio-serial port, its other end a connected socket of the keeper."""

from __future__ import annotations

from wirt.qemu.bus import Board

PORT = "wirt.agent"


def agent(board: Board) -> tuple[str, ...]:
    """``{agent}`` stands for the descriptor."""
    return (
        *board.device("virtio-serial", "max_ports=2"),
        *("-chardev", "socket,id=agent,fd={agent}"),
        *("-device", f"virtserialport,chardev=agent,name={PORT}"),
    )
