"""Frames and records of the keeper and agent protocol (``docs/reference/keeper-protocol.md``).

The same codec in C is ``native/wire``. Everything that arrives is hostile until parsed: whatever
breaks the protocol raises :class:`Malformed`, after which the connection has no defined content
and must be closed. Memory is bounded by one frame and one record for each parser.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

HEADER = 12
"""Bytes of a frame's header."""
PAYLOAD_MAX = 65_536
"""Most bytes that one frame carries."""
RECORD_MAX = 4 * 1024 * 1024
"""Most bytes of a record over all its frames."""
MORE = 1
"""Flag of a frame whose record goes on in the next frame."""
US = "\x1f"
"""Separates the fields within one value (mounts, interfaces, ``aux`` programs)."""

Record = dict[str, list[str]]
"""Keys and their values in order; a key that occurs once has a list of one."""

_HEAD = struct.Struct(">IBBHI")


class Malformed(ValueError):
    """Bytes that break the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``payload`` is at most :data:`PAYLOAD_MAX` bytes."""

    type: int
    channel: int
    payload: bytes
    flags: int = 0

    def encode(self) -> bytes:
        """The frame as it goes over the wire."""
        if len(self.payload) > PAYLOAD_MAX:
            raise ValueError(f"a frame holds at most {PAYLOAD_MAX} bytes")
        head = _HEAD.pack(len(self.payload), self.type, self.flags, 0, self.channel)
        return head + self.payload


def encode_record(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    """NUL-terminated ``key=value`` strings, in this order; a key may repeat.

    Raises ValueError for a key that is empty or holds ``=``, for NUL anywhere, and for a record
    above :data:`RECORD_MAX` bytes. Text is UTF-8; ``os.fsdecode``'s surrogates become their bytes.
    """
    parts: list[bytes] = []
    for key, value in pairs:
        if not key or "=" in key:
            raise ValueError(f"invalid record key {key!r}")
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        part = key.encode() + b"=" + raw
        if b"\0" in part:
            raise ValueError(f"the value of {key!r} contains a NUL byte")
        parts.append(part + b"\0")
    data = b"".join(parts)
    if len(data) > RECORD_MAX:
        raise ValueError(f"a record holds at most {RECORD_MAX} bytes, this one has {len(data)}")
    return data


def decode_record(data: bytes) -> Record:
    """The keys and values of a record. Raises :class:`Malformed`.

    Bytes that are not UTF-8 become surrogates, so that encoding gives them back.
    """
    if len(data) > RECORD_MAX:
        raise Malformed("the record is too long")
    if not data:
        return {}
    if not data.endswith(b"\0"):
        raise Malformed("the record does not end with NUL")
    record: Record = {}
    for part in data[:-1].split(b"\0"):
        key, equals, value = part.decode("utf-8", "surrogateescape").partition("=")
        if not equals or not key:
            raise Malformed("a string of the record is not of the form key=value")
        record.setdefault(key, []).append(value)
    return record


def pairs_of(record: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The pairs of a record for :func:`encode_record`."""
    for key, values in record.items():
        for value in values:
            yield key, value


def record_frames(kind: int, channel: int, data: bytes) -> bytes:
    """An encoded record as one or more frames, ready to be sent."""
    pieces = [data[at : at + PAYLOAD_MAX] for at in range(0, len(data), PAYLOAD_MAX)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        Frame(kind, channel, piece, MORE if number < last else 0).encode()
        for number, piece in enumerate(pieces)
    )


class FrameParser:
    """Turns a stream of bytes into frames; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """All frames that are complete with these bytes. Raises :class:`Malformed`."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= HEADER:
            length, kind, flags, reserved, channel = _HEAD.unpack_from(self._buffer, at)
            if length > PAYLOAD_MAX or reserved:
                raise Malformed("a frame's header is malformed")
            end = at + HEADER + length
            if end > len(self._buffer):
                break
            frames.append(Frame(kind, channel, bytes(self._buffer[at + HEADER : end]), flags))
            at = end
        del self._buffer[:at]
        return frames

    @property
    def torn(self) -> bool:
        """Whether a stream that ends now ends inside a frame."""
        return bool(self._buffer)


class RecordParser:
    """Puts the frames of one record together; a record's frames follow one another."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._of: tuple[int, int] | None = None

    def add(self, frame: Frame) -> bytes | None:
        """The whole record's bytes with its last frame, else None. Raises :class:`Malformed`."""
        if self._of not in (None, (frame.type, frame.channel)):
            raise Malformed("a record was interrupted by another frame")
        if frame.flags & ~MORE or (frame.flags and not frame.payload):
            raise Malformed("a record's frame has unknown flags or is empty")
        self._data += frame.payload
        if len(self._data) > RECORD_MAX:
            raise Malformed("the record is too long")
        if frame.flags & MORE:
            self._of = (frame.type, frame.channel)
            return None
        data = bytes(self._data)
        self._data.clear()
        self._of = None
        return data
