"""Disks: raw files that QEMU is given as descriptors, all of a machine behind one throttle."""

from __future__ import annotations

from wirt.qemu.bus import Board

GROUP = "disks"
PATH = f"/objects/{GROUP}"
LEAST_RATE = 64 << 10
"""Bytes a second that a guest's disk must have. Neither QEMU nor Linux gives a slow disk up (virtio
block devices know no timeout), but with less than that it takes minutes to start a program."""
_RATES = ("bps-read", "bps-write")


def throttle(rate: int) -> tuple[str, ...]:
    """What the machine may read and write through all its disks together: ``rate`` bytes a second
    each, 0: no limit. It is there in any case, so that a running machine can be given one."""
    limits = (f"x-{name}={rate}" for name in _RATES) if rate else ()
    return "-object", ",".join(("throttle-group", f"id={GROUP}", *limits))


def limits(rate: int) -> dict[str, object]:
    """The same for the property ``limits`` of :data:`PATH` while it runs."""
    return {name: rate for name in _RATES}


def disk(board: Board, name: str, *, read_only: bool) -> tuple[str, ...]:
    """``{<name>}`` stands for the file; disks are /dev/vda, /dev/vdb... in their order.

    A read-only one is shared by many machines, so nothing is locked on it. ``discard`` lets a
    guest give back blocks that its file system no longer uses.
    """
    share = "read-only=on,force-share=on" if read_only else "discard=unmap,detect-zeroes=unmap"
    kept = "read-only=on" if read_only else "discard=unmap"
    return (
        *("-blockdev", f"driver=file,node-name={name},filename={{{name}}},{share}"),
        "-blockdev",
        f"driver=throttle,node-name={name}-paced,throttle-group={GROUP},file={name},{kept}",
        *board.device("virtio-blk", f"drive={name}-paced"),
    )
