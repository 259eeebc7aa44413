"""Writing to the standard streams: bytes at once, whole, and only what a terminal may see."""

from __future__ import annotations

import posix

STDOUT = 1
STDERR = 2


class Unwritable(OSError):
    """One of our own streams takes nothing, as on a full disk: nobody else's fault."""


def write(fd: int, data: bytes | memoryview) -> None:
    """Write all of it, also to a descriptor that somebody made non-blocking.

    Raises BrokenPipeError when the reader is gone; the caller ends like any Unix program.
    Unwritable for other failures, as of a full disk.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except BrokenPipeError:
            raise
        except OSError as error:
            name = {STDOUT: "standard output", STDERR: "standard error"}.get(fd)
            raise Unwritable(error.errno, error.strerror, name) from error


def out(text: str) -> None:
    """Write text to standard output: results, for people and programs."""
    write(STDOUT, text.encode("utf-8", "surrogateescape"))


def say(text: str) -> None:
    """Write a line to standard error: talk."""
    write(STDERR, f"{harmless(text)}\n".encode("utf-8", "backslashreplace"))


def warn(text: str) -> None:
    """A warning line on standard error."""
    say(f"warning: {text}")


def harmless(text: str) -> str:
    """The text with control characters spelled out: a guest's words must not drive a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text
    )


def cell(text: str) -> str:
    """As :func:`harmless`, in one line and without tabs: what stands in a table."""
    return harmless(text).replace("\n", "\\n").replace("\t", "\\t")


def visible(text: str) -> str:
    """The text with control characters other than newline and tab as ``\\u001b``, which JSON reads
    back: for what programs may read as well as people at a terminal."""
    if text.isprintable():
        return text
    return "".join(f"\\u{ord(char):04x}" if _drives(char) else char for char in text)


def _drives(char: str) -> bool:
    return char not in "\n\t" and (char < " " or "\x7f" <= char <= "\x9f")


def colourful(fd: int) -> bool:
    """Whether colours are wanted there: a terminal, no ``NO_COLOR`` (no-color.org), not dumb."""
    environ = posix.environ
    if environ.get(b"NO_COLOR"):
        return False
    if environ.get(b"CLICOLOR_FORCE", b"0") != b"0":
        return True
    return posix.isatty(fd) and environ.get(b"TERM") != b"dumb"
