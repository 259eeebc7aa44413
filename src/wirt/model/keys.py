"""Keys that leave an attached guest running, as docker writes them: ``ctrl-p,ctrl-q``."""

from __future__ import annotations

from wirt.errors import Invalid

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""What is pressed with Ctrl, in the order of the codes 0 to 31."""


def parse_detach_keys(text: str) -> bytes:
    """The bytes of the sequence; empty text means none. Raises :class:`Invalid`."""
    return bytes(_key(part, text) for part in text.split(",")) if text else b""


def _key(part: str, text: str) -> int:
    if len(part) == 1 and part.isascii():
        return ord(part)
    name = part.lower().removeprefix("ctrl-")
    if len(name) == 1 and name in _CONTROL and len(part) == 6:
        return _CONTROL.index(name)
    raise Invalid(
        f"invalid detach key {part[:20]!r} in {text[:40]!r}",
        hint="write single characters or ctrl-<letter>, as ctrl-p,ctrl-q",
    )
