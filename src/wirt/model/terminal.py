"""Docker's notation for the keys that detach a client from a terminal."""

from __future__ import annotations

from wirt.errors import Invalid

_CONTROL = {chr(ord("a") + n): n + 1 for n in range(26)} | {
    "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31,
}  # fmt: skip
MAX_KEYS = 16


def parse_detach_keys(text: str) -> bytes:
    """The bytes of ``ctrl-p,ctrl-q``: single characters, or ``ctrl-`` and one of ``a-z@[\\]^_``.

    Empty text means no keys. Raises :class:`~wirt.errors.Invalid`.
    """
    parts = text.split(",") if text else []
    keys = bytearray()
    for part in parts:
        lowered = part.lower()
        if len(part) == 1 and part.isascii():
            keys.append(ord(part))
        elif lowered.startswith("ctrl-") and lowered[5:] in _CONTROL:
            keys.append(_CONTROL[lowered[5:]])
        else:
            raise Invalid(
                f"invalid detach key {part[:20]!r} in {text[:40]!r}",
                hint="write single characters or ctrl-<letter>, as ctrl-p,ctrl-q",
            )
    if len(keys) > MAX_KEYS:
        raise Invalid(f"more than {MAX_KEYS} detach keys", hint="two are customary, ctrl-p,ctrl-q")
    return bytes(keys)
