"""Disks: raw files that QEMU is given as descriptors."""

from __future__ import annotations

from wirt.qemu.bus import Board


def disk(board: Board, name: str, *, read_only: bool) -> tuple[str, ...]:
    """``{<name>}`` stands for the file; disks are /dev/vda, /dev/vdb... in their order.

    A read-only one is shared by many machines, so nothing is locked on it. ``discard`` lets a
    guest give back blocks that its file system no longer uses.
    """
    share = "read-only=on,force-share=on" if read_only else "discard=unmap,detect-zeroes=unmap"
    return (
        *("-blockdev", f"driver=file,node-name={name},filename={{{name}}},{share}"),
        *board.device("virtio-blk", f"drive={name}"),
    )
