"""The first serial line, to QEMU's standard output, for what a kernel says when it cannot go on."""

from __future__ import annotations


def console() -> tuple[str, ...]:
    """Nothing reads from it: QEMU's standard input is /dev/null."""
    return ("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
