"""Shared folders: virtio-fs with one virtiofsd each, connected beforehand."""

from __future__ import annotations

from wirt.qemu.bus import Board, quoted


def share(board: Board, number: int, *, tag: str) -> tuple[str, ...]:
    """``{fs<number>}`` stands for the socket. Needs memory that both processes can map."""
    return (
        *("-chardev", f"socket,id=fs{number},fd={{fs{number}}}"),
        *board.device("vhost-user-fs", f"chardev=fs{number}", f"tag={quoted(tag)}"),
    )
