"""What is plugged into a guest's file system, in the user's terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class MountKind(Enum):
    """Where the files behind a mount come from."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One ``-v``, ``--mount`` or ``--tmpfs``.

    ``source``: volume name (empty: an anonymous volume), absolute host path, or empty for tmpfs.
    ``target``: absolute path inside the guest. ``nocopy``: do not fill a new volume from the image.
    ``create_source``: make a missing bind source as a directory (``-v``), else it is an error
    (``--mount``). ``propagation``: ``rprivate`` (default), ``rslave``, ``rshared``...
    ``size`` (bytes) and ``mode`` (octal permission bits) are for tmpfs; ``options`` are further
    tmpfs options such as ``noexec``.
    """

    kind: MountKind
    target: str
    source: str = ""
    read_only: bool = False
    nocopy: bool = False
    create_source: bool = False
    propagation: str = "rprivate"
    size: int | None = None
    mode: int | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume. ``created_at`` is Unix time in nanoseconds."""

    name: str
    driver: str = "local"
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False
    created_at: int = 0
