"""The machine protocol (QMP) on a listening socket that QEMU inherits."""

from __future__ import annotations


def monitor() -> tuple[str, ...]:
    """``{qmp}`` stands for the descriptor."""
    return (
        *("-chardev", "socket,id=qmp,fd={qmp},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
    )
