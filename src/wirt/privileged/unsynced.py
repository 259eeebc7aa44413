"""What is known of an unpacked layer, and whether it is on the disk for good.

A layer that a step of a build left is not flushed at once: a build makes many that only the next
step needs. Until somebody flushes it, a mark names the boot in which it was made; after a power
cut such a layer counts as not there, for half of it may be missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from wirt.errors import Internal
from wirt.linux import libc
from wirt.privileged.protocol import AppliedLayer

ABOUT = 4096
"""Bytes that a layer's description takes on the disk."""

_MARK = "unsynced"


def described(path: Path) -> AppliedLayer | None:
    """What is known of the layer at ``path``, None when it is not there."""
    try:
        if is_stale(path):
            return None
        return msgspec.json.decode((path / "about").read_bytes(), type=AppliedLayer)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Internal(f"the description of the layer {path.name} is damaged") from error


def mark(path: Path) -> None:
    """Note that this layer is not flushed."""
    (path / _MARK).write_text(_boot())


def is_stale(path: Path) -> bool:
    """Whether the layer was not flushed before the host was restarted."""
    try:
        return (path / _MARK).read_text() != _boot()
    except (FileNotFoundError, NotADirectoryError):
        return False


def flush(path: Path) -> None:
    """All of a marked layer to the disk; nothing for one that is there for good."""
    if not (path / _MARK).exists():
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc.syncfs(fd)
    finally:
        os.close(fd)
    (path / _MARK).unlink(missing_ok=True)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()
