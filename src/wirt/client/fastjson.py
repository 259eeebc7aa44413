"""JSON without importing :mod:`json`, which costs a client 6 ms of ``re`` and ``enum``.

CPython's C accelerator does the whole work; :mod:`json` only wraps it. Where the accelerator is
absent or has another signature, :mod:`json` itself is used: slower to import, same results.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Settings:
    """What ``_json.make_scanner`` reads from its context: strict JSON into plain values."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _make() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner

        settings: Any = _Settings  # it reads the attributes of anything
        scan = make_scanner(settings)
        chunks = make_encoder(
            None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False
        )
    except (ImportError, TypeError):  # another interpreter
        import json

        return json.loads, json.dumps

    def read(text: str) -> Any:
        text = text.strip(" \t\r\n")
        try:
            value, end = scan(text, 0)
        except StopIteration:
            raise ValueError(f"no JSON: {text[:80]!r}") from None
        if end != len(text):
            raise ValueError(f"bytes after the JSON value: {text[end : end + 80]!r}")
        return value

    def write(value: Any) -> str:
        return "".join(chunks(value, 0))

    return read, write


_read, _write = _make()


def decode(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError when it is none."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    return _read(text)


def encode(value: Any) -> bytes:
    """Compact ASCII JSON of dicts, lists, strings, numbers, truth values and None."""
    return _write(value).encode("ascii")
