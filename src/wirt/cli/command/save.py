"""``wirt save``."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import STDOUT, write
from wirt.client.daemon import unreachable
from wirt.client.wire import Lost, Response, target

_FORMAT, _REGULAR = 0o170000, 0o100000
"""S_IFMT and S_IFREG of stat(2); the module ``stat`` is not loaded for two numbers."""


def run(call: Call) -> int:
    """Write images into an archive."""
    path = call.text("output")
    if not path and posix.isatty(STDOUT):
        raise misuse("standard output is a terminal", hint="add -o FILE or redirect it to a file")
    names = [("name", name) for name in call.args]
    query = [*names, ("format", call.text("format") or "docker")]
    answer = call.daemon.request("GET", target("/v1/images/save", query))
    if path:
        _to_file(answer, path, call.daemon.path)
    else:
        _copy(answer, STDOUT, call.daemon.path)
    return 0


def _copy(answer: Response, fd: int, daemon: str) -> None:
    chunks = answer.chunks()
    while True:
        try:
            data = next(chunks, None)
        except (OSError, Lost) as error:
            raise unreachable(daemon, error) from error
        if data is None:
            return
        write(fd, data)


def _to_file(answer: Response, path: str, daemon: str) -> None:
    """Through a file beside it, so that a half archive never has the name asked for. What is no
    regular file (a pipe, ``/dev/null``) is written to, never replaced."""
    partial = path if _is_special(path) else f"{path}.part"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
    try:
        fd = posix.open(partial, flags, 0o666)
    except OSError as error:
        raise misuse(
            f"cannot write {path}: {error.strerror}", hint="does its folder exist?"
        ) from error
    try:
        _copy(answer, fd, daemon)
        posix.close(fd)
        if partial != path:
            posix.rename(partial, path)
    except BaseException:
        if partial != path:
            posix.unlink(partial)
        raise


def _is_special(path: str) -> bool:
    """Whether something is there that is no regular file."""
    try:
        return posix.stat(path).st_mode & _FORMAT != _REGULAR
    except OSError:
        return False


COMMAND = Command(
    "save",
    summary="Write images into an archive",
    arguments="IMAGE [IMAGE...]",
    takes=(1, None),
    flags=(
        Flag("format", choices=("docker", "oci"), value="FORMAT", help="docker (default) or oci"),
        Flag("output", "o", value="FILE", help="Write to this file instead of standard output"),
    ),
    run=run,
)
