"""Decoding of single tar headers: numbers, PAX records, GNU extensions.

Sources: POSIX.1-2017 pax(1) "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
"Basic Tar Format" and "Storing Sparse Files".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wirt.errors import Invalid
from wirt.tar.member import BLOCK

MAX_ID = 2**32 - 2
"""The largest user or group id; 2**32-1 means "no change" to chown(2)."""

_MAX_TIME = 2**33
_XATTR = b"SCHILY.xattr."


def malformed(what: str) -> Invalid:
    """The one error for archives that are no tar, cut short, or out of range."""
    return Invalid(
        f"damaged archive: {what}",
        hint="make the archive again, or check that it was transferred whole",
        code="archive.malformed",
    )


@dataclass(frozen=True, slots=True)
class Raw:
    """The fields of one 512-byte header, undecoded beyond numbers."""

    name: bytes
    flag: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    major: int
    minor: int
    block: bytes


def text(field: bytes) -> bytes:
    """A NUL-terminated field."""
    return field.split(b"\0", 1)[0]


def number(field: bytes, what: str) -> int:
    """An octal or base-256 field. Raises Invalid for anything else."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False)
        bits = len(field) * 8
        if field[0] == 0xFF:
            return value - (1 << bits)
        return value & ((1 << (bits - 1)) - 1)
    digits = text(field).strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise malformed(f"the {what} {digits[:20]!r} is no octal number")
    return int(digits, 8)


def decode(block: bytes) -> Raw:
    """The header in ``block``; its checksum is verified. Raises Invalid."""
    stored = number(block[148:156], "checksum")
    unsigned = sum(block) - sum(block[148:156]) + 8 * 0x20
    if stored != unsigned:
        high = sum(1 for b in block[:148] + block[156:] if b > 127)
        if stored != unsigned - 256 * high:  # some old writers summed signed characters
            raise malformed("a header's checksum is wrong, this is no tar archive")
    name = text(block[:100])
    if block[257:263] == b"ustar\0":
        width = 131 if block[508:512] == b"tar\0" else 155
        if prefix := text(block[345 : 345 + width]):
            name = prefix + b"/" + name
    devices = block[257:262] == b"ustar"
    return Raw(
        name=name,
        flag=block[156:157],
        mode=number(block[100:108], "mode"),
        uid=number(block[108:116], "uid"),
        gid=number(block[116:124], "gid"),
        size=number(block[124:136], "size"),
        mtime=number(block[136:148], "time"),
        link=text(block[157:257]),
        major=number(block[329:337], "device number") if devices else 0,
        minor=number(block[337:345], "device number") if devices else 0,
        block=block,
    )


def identity(value: int, what: str) -> int:
    """A user or group id within range, never wrapped (2**32-1 would mean "unchanged")."""
    if not 0 <= value <= MAX_ID:
        raise malformed(f"the {what} {value} is out of range")
    return value


def nanoseconds(seconds: int, fraction: str = "") -> int:
    """Unix nanoseconds; times before 1970 or after the year 2242 become 0."""
    if not 0 <= seconds < _MAX_TIME:
        return 0
    return seconds * 10**9 + int((fraction + "000000000")[:9])


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records ``LENGTH KEY=VALUE\\n`` of a PAX header, in order. Raises Invalid."""
    found = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 12)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise malformed("an extended header has no length")
        end = position + int(digits)
        record = data[space + 1 : end]
        if end > len(data) or end <= space or not record.endswith(b"\n"):
            raise malformed("an extended header has a wrong length")
        key, equals, value = record[:-1].partition(b"=")
        if not equals or not key:
            raise malformed("an extended header has no key")
        found.append((key, value))
        position = end
    return found


@dataclass(slots=True)
class Extended:
    """What PAX and GNU headers say about the member that follows; None: nothing."""

    path: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    sparse: dict[bytes, bytes] = field(default_factory=dict)
    sparse_list: list[int] = field(default_factory=list)

    def absorb(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """Take over PAX records; unknown keys are ignored, an empty value unsets."""
        for key, value in pairs:
            if key.startswith(_XATTR):
                self.xattrs[key[len(_XATTR) :]] = value
            elif key.startswith(b"GNU.sparse."):
                self._sparse(key[11:], value)
            elif key in {b"path", b"linkpath"}:
                if b"\0" in value:
                    raise malformed("a name holds a NUL byte")
                if key == b"path":
                    self.path = value or None
                else:
                    self.link = value or None
            elif key in {b"size", b"uid", b"gid"}:
                setattr(self, key.decode(), decimal(value, key.decode()) if value else None)
            elif key == b"mtime":
                self.mtime = _time(value) if value else None

    def _sparse(self, key: bytes, value: bytes) -> None:
        if key in {b"offset", b"numbytes"}:  # version 0.0 repeats these two
            self.sparse_list.append(decimal(value, "sparse map"))
        else:
            self.sparse[key] = value


def decimal(value: bytes, what: str) -> int:
    """A non-negative decimal number of at most 20 digits. Raises Invalid."""
    if not value.isdigit() or len(value) > 20:
        raise malformed(f"the {what} {value[:30]!r} is no number")
    return int(value)


def _time(value: bytes) -> int:
    whole, _, fraction = value.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20 or (fraction and not fraction.isdigit()):
        raise malformed(f"the time {value[:30]!r} is no number")
    return nanoseconds(int(whole), fraction[:9].decode())


def padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK
