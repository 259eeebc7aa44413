"""A tar reader whose memory and time are bounded by :class:`Bounds`, whatever the archive says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from wirt.errors import Invalid
from wirt.tar import header
from wirt.tar.header import Extended, Raw, malformed
from wirt.tar.member import BLOCK, Member, Type, show

_CHUNK = 256 * 1024
_ZERO = bytes(BLOCK)


class Readable(Protocol):
    """A stream of bytes: ``read`` returns at most ``size`` bytes, empty only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of an archive: members in all, bytes of one name, of one member's extended headers,
    and parts of one sparse file."""

    members: int = 1_000_000
    name: int = 4096
    extended: int = 1024 * 1024
    segments: int = 65_536


class Reader:
    """Iterates over members; ``read`` gives the current member's content.

    Content that was not read is skipped. After the last member the stream stands after the first
    zero block; whoever hashes the stream reads on to its end.
    """

    def __init__(self, source: Readable, *, bounds: Bounds) -> None:
        self._source = source
        self._bounds = bounds
        self._left = 0
        self._padding = 0
        self._shared: list[tuple[bytes, bytes]] = []
        self.count = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self.next()) is not None:
            yield member

    def next(self) -> Member | None:
        """The next member, or None at the end. Raises Invalid (``archive.malformed``)."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        found = self._headers()
        if found is None:
            return None
        self.count += 1
        if self.count > self._bounds.members:
            raise Invalid(
                f"the archive has more than {self._bounds.members} entries",
                hint="split it, or raise the limit of entries",
                code="archive.too-many-entries",
            )
        return self._member(*found)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of the current member, empty at its end."""
        if self._left == 0 or size <= 0:
            return b""
        data = self._source.read(min(size, self._left))
        if not data:
            raise malformed("it ends within a file")
        self._left -= len(data)
        return data

    def chunks(self) -> Iterator[bytes]:
        """The rest of the current member's content."""
        while data := self.read(_CHUNK):
            yield data

    # --- headers ----------------------------------------------------------------------------

    def _headers(self) -> tuple[Raw, Extended] | None:
        """The next member's own header and all that was said about it before."""
        extended = Extended()
        extended.absorb(self._shared)
        spent = 0
        while True:
            block = self._block(first=spent == 0)
            if block is None:
                return None
            raw = header.decode(block)
            if raw.flag not in b"xXgLK":
                return raw, extended
            if raw.size < 0 or spent + raw.size + BLOCK > self._bounds.extended:
                raise malformed(f"an extended header of {raw.size} bytes is too large")
            spent += raw.size + BLOCK
            data = self._exactly(raw.size)
            self._skip(header.padded(raw.size) - raw.size)
            self._extend(raw.flag, data, extended)

    def _extend(self, flag: bytes, data: bytes, extended: Extended) -> None:
        if flag == b"L":
            extended.path = header.text(data)
        elif flag == b"K":
            extended.link = header.text(data)
        elif flag == b"g":
            pairs = header.records(data)
            self._shared += pairs
            if len(self._shared) > 64:
                raise malformed("there are too many global extended headers")
            extended.absorb(pairs)
        else:
            extended.absorb(header.records(data))

    def _block(self, *, first: bool) -> bytes | None:
        """A header block; None at the end (zero block, or end of file between members)."""
        data = self._source.read(BLOCK)
        if not data and first:
            return None
        while len(data) < BLOCK:
            more = self._source.read(BLOCK - len(data))
            if not more:
                raise malformed("it ends within a header")
            data += more
        return None if data == _ZERO else data

    def _member(self, raw: Raw, extended: Extended) -> Member:
        kind, sparse = _type(raw)
        size = raw.size if extended.size is None else extended.size
        name = raw.name if extended.path is None else extended.path
        if kind is Type.FILE and raw.flag in {b"\0", b"0"} and name.endswith(b"/"):
            kind = Type.DIRECTORY  # the form of tar before POSIX
        if kind is not Type.FILE:
            size = 0
        if not 0 <= size < 2**62:
            raise malformed(f"the size {size} of '{show(name)}' is out of range")
        link = raw.link if extended.link is None else extended.link
        if max(len(name), len(link)) > self._bounds.name:
            raise malformed(f"a name of {max(len(name), len(link))} bytes is too long")
        self._left, self._padding = size, header.padded(size) - size
        real_size, segments = size, None
        if kind is Type.FILE and (sparse or extended.sparse or extended.sparse_list):
            name, real_size, segments = self._segments(raw, extended, name, sparse)
        return Member(
            name=name,
            type=kind,
            mode=raw.mode & 0o7777,
            uid=header.identity(raw.uid if extended.uid is None else extended.uid, "uid"),
            gid=header.identity(raw.gid if extended.gid is None else extended.gid, "gid"),
            size=self._left,
            real_size=real_size,
            mtime=header.nanoseconds(raw.mtime) if extended.mtime is None else extended.mtime,
            link=link,
            major=raw.major,
            minor=raw.minor,
            xattrs=extended.xattrs,
            segments=segments,
        )

    # --- sparse files -----------------------------------------------------------------------

    def _segments(
        self, raw: Raw, extended: Extended, name: bytes, old: bool
    ) -> tuple[bytes, int, tuple[tuple[int, int], ...]]:
        """Name, size and stored parts of a sparse file, in any of GNU's four forms."""
        said = extended.sparse
        if old:
            numbers = self._old_map(raw.block)
            real = header.number(raw.block[483:495], "size")
        elif said.get(b"major") == b"1":
            numbers = self._map_in_content()
            real = header.decimal(said.get(b"realsize", b""), "size")
        else:
            if b"map" in said:
                parts = said[b"map"].split(b",", 2 * self._bounds.segments)
                numbers = [header.decimal(part, "sparse map") for part in parts]
            else:
                numbers = extended.sparse_list
            real = header.decimal(said.get(b"size", said.get(b"realsize", b"")), "size")
        if len(numbers) % 2 or len(numbers) > 2 * self._bounds.segments:
            raise malformed("a sparse map is too long or incomplete")
        pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        self._check_map(pairs, real)
        return said.get(b"name", name), real, pairs

    def _check_map(self, pairs: tuple[tuple[int, int], ...], real: int) -> None:
        position = 0
        for offset, length in pairs:
            if offset < position or length < 0:
                raise malformed("a sparse map runs backwards")
            position = offset + length
        if not position <= real < 2**62 or sum(length for _, length in pairs) != self._left:
            raise malformed("a sparse map does not fit its file")

    def _old_map(self, block: bytes) -> list[int]:
        numbers: list[int] = []
        start, count, more = 386, 4, block[482]
        while True:
            for entry in range(count):
                at = start + 24 * entry
                if not block[at]:
                    return numbers
                numbers.append(header.number(block[at : at + 12], "sparse map"))
                numbers.append(header.number(block[at + 12 : at + 24], "sparse map"))
            if not more:
                return numbers
            if len(numbers) > 2 * self._bounds.segments:
                raise malformed("a sparse map is too long")
            block = self._exactly(BLOCK)
            start, count, more = 0, 21, block[504]

    def _map_in_content(self) -> list[int]:
        """Version 1.0: decimal lines at the start of the content, padded to a block."""
        numbers: list[int] = []
        wanted, pending = 1, b""
        while len(numbers) < wanted:
            if self._left < BLOCK or len(pending) > BLOCK:
                raise malformed("a sparse map is incomplete")
            pending += self._exactly(BLOCK)
            self._left -= BLOCK
            *lines, pending = pending.split(b"\n")
            some = lines[: wanted - len(numbers)]
            numbers += [header.decimal(line, "sparse map") for line in some]
            if wanted == 1 and numbers:
                wanted += 2 * numbers[0]
                if numbers[0] > self._bounds.segments:
                    raise malformed("a sparse map is too long")
                numbers += [header.decimal(line, "sparse map") for line in lines[1:wanted]]
        return numbers[1:]

    # --- bytes ------------------------------------------------------------------------------

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            data = self._source.read(min(size, _CHUNK))
            if not data:
                raise malformed("it ends too early")
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size:
            data = self._source.read(min(size, _CHUNK))
            if not data:
                raise malformed("it ends within a file")
            size -= len(data)


def _type(raw: Raw) -> tuple[Type, bool]:
    """The member's type, and whether it is GNU's old sparse file."""
    if raw.flag == b"S":
        return Type.FILE, True
    if raw.flag in {b"\0", b"7"}:
        return Type.FILE, False
    try:
        return Type(raw.flag), False
    except ValueError:
        raise malformed(f"'{show(raw.name)}' is of the unknown type {raw.flag!r}") from None
