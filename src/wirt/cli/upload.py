"""Files and standard input as parts of an upload, and what the daemon tells meanwhile."""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import say
from wirt.client.daemon import unreachable
from wirt.client.fastjson import decode, encode
from wirt.client.wire import Lost, Response, problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PART = 1 << 20


def parts(path: str) -> Iterator[bytes]:
    """The bytes of a file, or of standard input for ``-``. Raises Invalid when it has none."""
    if path == "-":
        if posix.isatty(0):
            raise misuse(
                "standard input is a terminal, not an archive",
                hint="redirect a file to it, or name the file",
            )
        yield from read(0, "standard input")
        return
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise misuse(f"cannot read {path}: {error.strerror}", hint="is the path right?") from error
    try:
        yield from read(fd, path)
    finally:
        posix.close(fd)


def read(fd: int, name: str) -> Iterator[bytes]:
    """Everything from a descriptor."""
    while True:
        try:
            data = posix.read(fd, PART)
        except OSError as error:
            raise misuse(f"cannot read {name}: {error.strerror}", hint="is it a file?") from error
        if not data:
            return
        yield data


def lines(answer: Response, path: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines answer; problems are raised."""
    try:
        for line in answer.lines():
            one = decode(line)
            if "problem" in one:
                raise problem(0, encode(one["problem"]))
            yield one
    except (OSError, Lost, ValueError) as error:
        raise unreachable(path, error) from error


def told(answer: Response, path: str, *, quiet: bool) -> Iterator[dict[str, Any]]:
    """As :func:`lines`; statuses are said, not given."""
    for one in lines(answer, path):
        if "status" not in one:
            yield one
        elif not quiet and posix.isatty(2):
            say(str(one["status"]))
