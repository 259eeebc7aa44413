"""The balloon: free memory of the guest goes back to the host by itself."""

from __future__ import annotations

from wirt.qemu.bus import Board

PATH = "/machine/peripheral/balloon"
INTERVAL = 1
"""Seconds after which the guest is asked anew what it does with its memory."""


def balloon(board: Board) -> tuple[str, ...]:
    """An inflated balloon gives way before the guest kills a process for memory."""
    return board.device(
        "virtio-balloon",
        "id=balloon",
        "free-page-reporting=on",
        "deflate-on-oom=on",
        f"guest-stats-polling-interval={INTERVAL}",
    )
