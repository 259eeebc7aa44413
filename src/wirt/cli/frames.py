"""A guest's output on our own standard output and error."""

from __future__ import annotations

from wirt.cli.output import STDERR, STDOUT, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def deliver(parts: Iterator[tuple[int, bytes]]) -> None:
    """Write pieces to our own standard output and error."""
    for stream, data in parts:
        write(STDERR if stream == 2 else STDOUT, data)
