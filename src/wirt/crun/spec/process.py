"""The ``process`` object: what runs, with which environment, limits and privileges.

User and group are filled in by the root helper, which alone may look into the container's files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.linux.features import RLIMITS, UNLIMITED

Json = dict[str, object]

MAX_STRING = 131_071
"""Longest argument or environment entry that execve(2) takes (MAX_ARG_STRLEN without the NUL)."""

MAX_TOTAL = 2 * 1024 * 1024
"""Bytes of arguments and environment together: a quarter of the usual 8 MiB stack."""

DEFAULT_NOFILE = (1024, 524_288)
"""Soft and hard RLIMIT_NOFILE of a container that asks for none; select(2) needs 1024."""

_ENV_NAME = re.compile(r"[^=\0]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimits:
    """OCI ``rlimits`` and what could not be given."""

    entries: tuple[Json, ...]
    warnings: tuple[str, ...] = ()


def check_argv(argv: Iterable[str]) -> None:
    """Raise :class:`Invalid` for a command line that execve(2) cannot take."""
    arguments = tuple(argv)
    if not arguments or not arguments[0]:
        raise Invalid(
            "no command to run", hint="name a command, or use an image that has a default one"
        )
    if any("\0" in argument for argument in arguments):
        raise Invalid("a NUL byte in the command line", hint="arguments are C strings")
    _check_length(arguments, "the command line")


def check_env(env: Iterable[str], *, option: str = "the environment") -> None:
    """Raise :class:`Invalid` unless every entry is ``NAME=value`` without NUL."""
    entries = tuple(env)
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if not equals or not _ENV_NAME.fullmatch(name) or "\0" in entry:
            raise Invalid(
                f"invalid variable {entry[:60]!r} in {option}",
                hint="write NAME=value; the name must not be empty",
            )
    _check_length(entries, option)


def _check_length(strings: tuple[str, ...], what: str) -> None:
    try:
        sizes = [len(text.encode()) for text in strings]
    except UnicodeEncodeError:
        raise Invalid(f"{what} is not valid text", hint="write it as UTF-8") from None
    if max(sizes, default=0) > MAX_STRING or sum(sizes) + 9 * len(sizes) > MAX_TOTAL:
        raise Invalid(
            f"{what} is too long for the kernel",
            hint=f"one string has at most {MAX_STRING} bytes, all together {MAX_TOTAL}",
        )


def check_cwd(path: str) -> None:
    """Raise :class:`Invalid` for a working directory that is no plain absolute path.

    ``/proc/self/fd/7`` or ``/proc/1/root`` would lead out of the container if anything of the
    host were open (CVE-2024-21626), so nothing below ``/proc`` is taken.
    """
    if not path.startswith("/") or "\0" in path or len(path) > 4095:
        raise Invalid(
            f"invalid working directory {path[:100]!r}", hint="write an absolute path, as /srv"
        )
    if clean(path).startswith("/proc/"):
        raise Invalid(
            f"working directory {path[:100]!r} is below /proc",
            hint="change to such a directory in the command itself",
        )


def clean(path: str) -> str:
    """The absolute path without ``.``, ``..`` and double slashes (as text; links are not read)."""
    return "/" + posixpath.normpath(path).lstrip("/")


def merge_env(base: Iterable[str], extra: Iterable[str]) -> tuple[str, ...]:
    """``base`` with the entries of ``extra`` put over it, order kept."""
    merged: dict[str, str] = {}
    for entry in (*base, *extra):
        merged[entry.partition("=")[0]] = entry
    return tuple(merged.values())


def check_ulimits(ulimits: Mapping[str, tuple[int, int]]) -> None:
    """Raise :class:`Invalid` for an unknown limit or a soft one above the hard one."""
    for name, (soft, hard) in ulimits.items():
        if name not in RLIMITS:
            raise Invalid(
                f"unknown limit {name[:40]!r} in --ulimit",
                hint=f"the limits are {', '.join(sorted(RLIMITS))}",
            )
        if min(soft, hard) < -1 or max(soft, hard) > UNLIMITED:
            raise Invalid(f"--ulimit {name}={soft}:{hard} is out of range", hint="-1 is unlimited")
        if _value(soft) > _value(hard):
            raise Invalid(
                f"--ulimit {name}={soft}:{hard}: the soft limit is above the hard one",
                hint="write NAME=SOFT[:HARD]",
            )


def _value(limit: int) -> int:
    return UNLIMITED if limit == -1 else limit


def rlimits(
    ulimits: Mapping[str, tuple[int, int]],
    *,
    host: Mapping[str, int],
    may_raise: bool,
    most_files: int,
) -> Rlimits:
    """The limits to set. Without CAP_SYS_RESOURCE (``may_raise``) the host's hard ones bound them.

    ``host``: hard limits by docker's names. ``most_files``: the kernel's bound of ``nofile`` even
    for the mighty (fs.nr_open). A limit that had to be lowered is told in a warning, except the
    default for open files.
    """
    wanted = {"nofile": DEFAULT_NOFILE, **ulimits}
    entries: list[Json] = []
    warnings: list[str] = []
    for name, (soft, hard) in sorted(wanted.items()):
        bound = UNLIMITED if may_raise else host.get(name, UNLIMITED)
        why = "this host may not raise hard limits (no CAP_SYS_RESOURCE)"
        if name == "nofile" and most_files < bound:
            bound, why = most_files, "the kernel allows no more (fs.nr_open)"
        low, high = _value(soft), _value(hard)
        if high > bound:
            low, high = min(low, bound), bound
            if name in ulimits:
                warnings.append(f"--ulimit {name}={soft}:{hard} lowered to {bound}: {why}")
        entries.append({"type": f"RLIMIT_{name.upper()}", "soft": low, "hard": high})
    return Rlimits(entries=tuple(entries), warnings=tuple(warnings))


def capability_sets(names: frozenset[str]) -> Json:
    """OCI ``capabilities``: bounding, permitted and effective; never inheritable or ambient.

    Inheritable ones would be regained by any file capability (CVE-2022-24769); a user other than
    root loses the rest by execve(2) itself.
    """
    listed = [f"CAP_{name}" for name in sorted(names)]
    return {"bounding": listed, "effective": listed, "permitted": listed}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessWish:
    """What :func:`process` needs; all checked before."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    tty: bool
    capabilities: frozenset[str]
    rlimits: tuple[Json, ...]
    no_new_privileges: bool
    rows: int = 0
    columns: int = 0
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


def process(wish: ProcessWish) -> Json:
    """The OCI ``process`` object (runtime-spec config.md, "Process")."""
    user: Json = {"uid": wish.uid, "gid": wish.gid}
    if wish.groups:
        user["additionalGids"] = list(wish.groups)
    made: Json = {
        "terminal": wish.tty,
        "user": user,
        "args": list(wish.argv),
        "env": list(wish.env),
        "cwd": clean(wish.cwd or "/"),
        "capabilities": capability_sets(wish.capabilities),
        "rlimits": list(wish.rlimits),
        "noNewPrivileges": wish.no_new_privileges,
    }
    if wish.tty and wish.rows > 0 and wish.columns > 0:
        made["consoleSize"] = {"height": wish.rows, "width": wish.columns}
    return made
