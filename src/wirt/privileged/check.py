"""Checks of what the daemon sends: nothing becomes a path before it went through here."""

from __future__ import annotations

from pathlib import Path

from wirt.errors import Invalid
from wirt.model.names import is_id

FILES = frozenset({"hosts", "hostname", "resolv.conf"})
MAX_FILE = 1024 * 1024


def guest_id(text: str) -> str:
    """The id itself, or Invalid."""
    if not is_id(text):
        raise Invalid(f"invalid guest id {text[:80]!r}")
    return text


def files(contents: dict[str, str]) -> dict[str, str]:
    """The contents of a guest's managed files, or Invalid for another name or too much."""
    for name, text in contents.items():
        if name not in FILES or len(text) > MAX_FILE:
            raise Invalid(f"file {name[:80]!r} of {len(text)} characters is not managed by wirt")
    return contents


def absolute(text: str, what: str) -> Path:
    """An absolute path without NUL, or Invalid naming ``what``."""
    if not text.startswith("/") or "\0" in text:
        raise Invalid(f"invalid {what} {text[:200]!r}", hint="it must be an absolute path")
    return Path(text)
