"""An archive of the daemon's into a file or to standard output."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, misuse
from wirt.cli.output import STDOUT, write
from wirt.client.daemon import unreachable
from wirt.client.wire import Lost, Response

_FORMAT, _REGULAR = 0o170000, 0o100000
"""S_IFMT and S_IFREG of stat(2); the module ``stat`` is not loaded for two numbers."""


def refuse_terminal(call: Call) -> None:
    """Raise Invalid where an archive would go to a terminal."""
    if not call.text("output") and posix.isatty(STDOUT):
        raise misuse("standard output is a terminal", hint="add -o FILE or redirect it to a file")


def download(call: Call, answer: Response) -> None:
    """Write the answer where ``--output`` says."""
    path = call.text("output")
    if path:
        _to_file(answer, path, call.daemon.path)
    else:
        _copy(answer, STDOUT, call.daemon.path)


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
