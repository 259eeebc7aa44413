"""Docker's stream frames: 8 bytes (stream, three zeros, length big endian), then data."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 8


class Demultiplexer:
    """Splits frames back into streams; bytes may arrive cut anywhere.

    Neighbouring frames of one stream are joined, so that a log of short lines costs few writes.
    """

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = 1

    @property
    def whole(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """``(stream, bytes)`` pieces. Raises ValueError for bytes that are no frames."""
        if self._head:
            data, self._head = self._head + data, b""
        view = memoryview(data)
        position, end = 0, len(data)
        run: list[memoryview] = []
        while position < end:
            if not self._left:
                if end - position < HEADER:
                    self._head = data[position:]
                    break
                stream = data[position]
                if stream > 2 or data[position + 1 : position + 4] != b"\0\0\0":
                    raise ValueError("the stream is not framed")
                if stream != self._stream:
                    if run:
                        yield self._stream, b"".join(run)
                        run = []
                    self._stream = stream
                self._left = int.from_bytes(data[position + 4 : position + HEADER], "big")
                position += HEADER
            taken = min(self._left, end - position)
            if taken:
                run.append(view[position : position + taken])
                position += taken
                self._left -= taken
        if run:
            yield self._stream, b"".join(run)


class Plain:
    """A raw stream (a terminal's): everything is standard output."""

    __slots__ = ()
    whole = True

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The bytes as they are."""
        yield 1, data


def splitter(*, tty: bool) -> Demultiplexer | Plain:
    """What undoes the daemon's framing of a guest's stream."""
    return Plain() if tty else Demultiplexer()
