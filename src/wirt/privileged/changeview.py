"""Three views of a writable layer at once, for a jail: see :mod:`wirt.privileged.changes`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wirt.linux import libc
from wirt.privileged import userns
from wirt.privileged.overlay import mount_overlay, pivot_into, private_mounts
from wirt.privileged.view import become_root_of

UPPER, LOWER, MERGED = b"/upper", b"/lower", b"/merged"
"""Where the jail sees them."""

_FLAGS = libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC | libc.MS_RDONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """``spot`` and ``ids``: empty directories to mount on. ``upper``: the writable layer, or a
    list of layers that make a whole tree. ``users``: the guest's user namespace, if it has one.
    ``settle``: the upper view can be written to."""

    spot: Path
    ids: Path
    layers: list[Path]
    upper: Path | list[Path]
    users: int | None = None
    settle: bool = False

    @property
    def whole(self) -> bool:
        """Whether the upper view is a whole tree."""
        return not isinstance(self.upper, Path)

    def enter(self) -> None:
        """For :func:`wirt.privileged.jail.run`: afterwards the views are all there is."""
        private_mounts()
        layers = self._layers()
        libc.mount("tmpfs", self.spot, "tmpfs", data="mode=0755")
        upper, lower, merged = (
            self.spot / os.fsdecode(name[1:]) for name in (UPPER, LOWER, MERGED)
        )
        for place in (upper, lower, merged):
            place.mkdir()
            os.utime(place, ns=(0, 0))
        if layers:
            mount_overlay(lower, layers, flags=_FLAGS)
        if isinstance(self.upper, Path):
            mount_overlay(merged, [*layers, self.upper], flags=_FLAGS)
            _bind(self.upper, upper, writable=self.settle)
        else:
            if self.upper:
                mount_overlay(merged, self.upper, flags=_FLAGS)
            _bind(merged, upper, writable=False)
        pivot_into(self.spot)
        if self.users is not None:
            become_root_of(self.users)

    def _layers(self) -> list[Path]:
        if self.users is None:
            return self.layers
        libc.mount("tmpfs", self.ids, "tmpfs", data="mode=0700")
        return userns.map_layers(self.layers, self.users, self.ids)


def _bind(source: Path, target: Path, *, writable: bool) -> None:
    libc.mount(source, target, flags=libc.MS_BIND)
    flags = _FLAGS & ~libc.MS_RDONLY if writable else _FLAGS
    libc.mount(None, target, flags=libc.MS_BIND | libc.MS_REMOUNT | flags)
