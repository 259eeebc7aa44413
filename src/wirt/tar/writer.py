"""Tar output: one function from a member to its header bytes. POSIX ustar, PAX where it must be."""

from __future__ import annotations

from wirt.tar.header import padded
from wirt.tar.member import BLOCK, Member, Type

_MAX_OCTAL_ID = 0o7777777
_MAX_OCTAL_SIZE = 0o77777777777

END = bytes(2 * BLOCK)
"""The two zero blocks that end an archive."""


def encode(member: Member, *, nanoseconds: bool = False) -> bytes:
    """The header of ``member``, with a PAX header before it when ustar cannot say it.

    ``nanoseconds``: keep the fraction of the time (needs PAX).
    """
    extra: list[tuple[bytes, bytes]] = []
    name = member.name + b"/" if member.type is Type.DIRECTORY else member.name
    if len(name) > 100:
        extra.append((b"path", name))
    if len(member.link) > 100:
        extra.append((b"linkpath", member.link))
    seconds, fraction = divmod(member.mtime, 10**9)
    if seconds > _MAX_OCTAL_SIZE or (nanoseconds and fraction):
        extra.append((b"mtime", b"%d.%09d" % (seconds, fraction)))
    for key, value, most in (
        (b"uid", member.uid, _MAX_OCTAL_ID),
        (b"gid", member.gid, _MAX_OCTAL_ID),
        (b"size", member.size, _MAX_OCTAL_SIZE),
    ):
        if value > most:
            extra.append((key, b"%d" % value))
    extra += [(b"SCHILY.xattr." + key, value) for key, value in sorted(member.xattrs.items())]
    block = _block(member, name=name, flag=member.type.value)
    if not extra:
        return block
    body = b"".join(_record(key, value) for key, value in extra)
    pax = _block(
        Member(name=b"PaxHeaders/" + name[:80], type=Type.FILE, size=len(body)),
        name=b"PaxHeaders/" + name.rstrip(b"/")[-80:],
        flag=b"x",
    )
    return pax + body + padding(len(body)) + block


def padding(size: int) -> bytes:
    """The zeros between content of ``size`` bytes and the next header."""
    return bytes(padded(size) - size)


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n`` where LENGTH counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _octal(value: int, width: int) -> bytes:
    """Digits and a NUL; 0 for what does not fit (a PAX record has the truth)."""
    digits = b"%0*o" % (width - 1, value)
    return (digits if len(digits) < width else b"0" * (width - 1)) + b"\0"


def _block(member: Member, *, name: bytes, flag: bytes) -> bytes:
    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = _octal(member.mode, 8)
    block[108:116] = _octal(member.uid, 8)
    block[116:124] = _octal(member.gid, 8)
    block[124:136] = _octal(member.size, 12)
    block[136:148] = _octal(member.mtime // 10**9, 12)
    block[148:156] = b" " * 8
    block[156:157] = flag
    block[157:257] = member.link[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\x0000"
    block[329:337] = _octal(member.major, 8)
    block[337:345] = _octal(member.minor, 8)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
