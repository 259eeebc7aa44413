"""Which process is a guest's keeper: written down by the launch child before it acts.

``<run>/g/<id>/launch.json`` beside ``net.json`` (:mod:`wirt.privileged.netstate`) is all that the
helper knows of a guest. It is on a tmpfs, so it ends with the boot.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wirt.layout import Layout
from wirt.linux import pidfd
from wirt.model.names import is_id

FILE = "launch.json"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """``pid`` and ``start`` (field 22 of its stat) are the launch child's, later the keeper's.

    ``network``: as in LaunchGuest. ``machine``: whether it is one. ``idmap``: as in Overlay.
    """

    pid: int
    start: int
    network: str
    machine: bool = False
    idmap: int | None = None


_DECODER = msgspec.json.Decoder(Facts)
"""Made once, before there are children: to make one takes as long as a whole release."""


def read(layout: Layout, guest_id: str) -> Facts | None:
    """The facts of a guest, or None when it has none (it does not run) or they are damaged."""
    try:
        return _DECODER.decode((layout.guest_run(guest_id) / FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def write(layout: Layout, guest_id: str, facts: Facts) -> None:
    """Replace the facts at once: a reader sees the old or the new ones."""
    replace(layout.guest_run(guest_id) / FILE, msgspec.json.encode(facts))


def replace(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file under another name and rename it into place."""
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
    new.rename(path)


def keeper(layout: Layout, guest_id: str) -> int | None:
    """A pidfd of the guest's living keeper (or launch child), which the caller closes, or None."""
    facts = read(layout, guest_id)
    return None if facts is None else pidfd.open_same(facts.pid, facts.start)


def guests(layout: Layout) -> Iterator[str]:
    """Ids of all guests that have a run directory."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((layout.run / "g").iterdir()):
            if is_id(path.name):
                yield path.name
