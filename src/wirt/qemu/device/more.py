"""What a running PC can be given beyond what it started with: memory and processors.

Memory comes by virtio-mem: one device with a region of addresses of which the guest is asked to use
a part. Linux reserves 64 MiB for devices that reach low addresses only as soon as memory may lie
above 4 GiB; ours reach all.
"""

from __future__ import annotations

from wirt.qemu.bus import Board

MIB = 1 << 20
ID = "more"
PATH = f"/machine/peripheral/{ID}"
WORDS = (
    "swiotlb=512",
    "memhp_default_state=online",
    "memory_hotplug.online_policy=auto-movable",
)
"""For the guest kernel: use what comes, most of it so that it can be given back."""


def memory(board: Board, size: int, *, shared: bool) -> tuple[str, ...]:
    """``size`` bytes that may come, a multiple of 2 MiB; nothing is taken from the host before, but
    a host that promises no more than it has (``vm.overcommit_memory=2``) counts it. ``shared``: for
    other processes to map, as the rest of the machine's memory."""
    kind = "memory-backend-memfd" if shared else "memory-backend-ram"
    share = ",share=on" if shared else ""
    return (
        *("-object", f"{kind},id={ID}-ram,size={size // MIB}M{share}"),
        *board.device("virtio-mem", f"id={ID}", f"memdev={ID}-ram", "requested-size=0"),
    )
