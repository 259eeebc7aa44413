"""How much the file system of a path has."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE = 1024**3
"""Bytes of the disk that images never take, so that the host goes on."""


def room(path: Path) -> int:
    """Bytes that may still be written below ``path``, leaving :data:`RESERVE` to the host."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize - RESERVE


def capacity(path: Path) -> int:
    """Bytes of the whole file system."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize
