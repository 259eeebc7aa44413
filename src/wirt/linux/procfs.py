"""Thin reading of /proc (proc(5)): values, no decisions. None means the process is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


def read(path: Path) -> str | None:
    """The text of a /proc file, or None when the process is gone."""
    try:
        return os.fsdecode(path.read_bytes())  # as text, "\r" would become a newline
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None


def start_time(pid: int, *, proc: Path = PROC) -> int | None:
    """Field 22 of /proc/PID/stat: start in clock ticks since boot; with the pid it names a
    process for good. None for a process that is gone."""
    text = read(proc / str(pid) / "stat")
    if not text:
        return None
    # The name in parentheses may hold anything, closing parentheses and newlines included.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[19])


def state(pid: int, *, proc: Path = PROC) -> str | None:
    """Field 3 of /proc/PID/stat (``R``, ``S``, ``Z``...)."""
    text = read(proc / str(pid) / "stat")
    return text[text.rindex(")") + 2] if text else None


def boot_id(*, proc: Path = PROC) -> str:
    """The random id of this boot of the kernel."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def status(pid: int, *, proc: Path = PROC) -> dict[str, str] | None:
    """/proc/PID/status as keys and values."""
    text = read(proc / str(pid) / "status")
    if text is None:
        return None
    pairs = (line.partition(":") for line in text.split("\n"))
    return {key: value.strip() for key, colon, value in pairs if colon}


def pids(*, proc: Path = PROC) -> Iterator[int]:
    """All processes of this pid namespace."""
    with os.scandir(proc) as entries:
        yield from (int(e.name) for e in entries if e.name.isdecimal())


@dataclass(frozen=True, slots=True, kw_only=True)
class MountEntry:
    """One line of mountinfo. ``options`` are the mount's, ``super_options`` the file system's."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    kind: str
    source: str
    super_options: str


def mounts(pid: int | str = "self", *, proc: Path = PROC) -> tuple[MountEntry, ...]:
    """The mounts that a process sees, in order; empty when it is gone."""
    text = read(proc / str(pid) / "mountinfo")
    # The kernel escapes "\n" only; splitlines() would also split at "\v", "\x85" and others.
    return tuple(parse_mount(line) for line in (text or "").split("\n") if line)


def parse_mount(line: str) -> MountEntry:
    """One line of mountinfo with its octal escapes undone."""
    fields = line.split(" ")
    dash = fields.index("-", 6)  # after any number of optional fields
    kind, source, super_options = [*fields[dash + 1 :], "", ""][:3]
    return MountEntry(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=fields[2],
        root=_plain(fields[3]),
        target=_plain(fields[4]),
        options=fields[5],
        kind=kind,
        source=_plain(source),
        super_options=super_options,
    )


def _plain(text: str) -> str:
    raw = os.fsencode(text)
    if b"\\" not in raw:
        return text
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), raw))
