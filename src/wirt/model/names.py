"""Identifiers and the rules for names that users choose.

A guest, network or exec id is 64 lower-case hex digits, as docker's; people see the first 12.
"""

from __future__ import annotations

import re
import secrets

from wirt.errors import Invalid

ID_LENGTH = 64
SHORT_LENGTH = 12

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}")
_HOST_LABEL = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?", re.ASCII)

_LEFT = (
    "amber", "brisk", "calm", "clever", "cosy", "crisp", "eager", "early", "fair", "fond", "gentle",
    "glad", "grand", "hardy", "humble", "jolly", "keen", "kind", "lively", "lucid", "merry", "mild",
    "neat", "noble", "patient", "placid", "prime", "quiet", "ready", "serene", "sharp", "silent",
    "snug", "steady", "sunny", "swift", "tidy", "warm", "wise", "witty",
)  # fmt: skip
_RIGHT = (
    "alder", "aspen", "badger", "beech", "birch", "brook", "cedar", "clover", "crane", "dune",
    "falcon", "fern", "finch", "fjord", "grove", "harbor", "hazel", "heron", "inn", "juniper",
    "lake", "lark", "linden", "maple", "meadow", "oak", "otter", "pine", "plover", "raven", "reed",
    "ridge", "rowan", "sparrow", "spruce", "swan", "tavern", "thrush", "willow", "wren",
)  # fmt: skip


def new_id() -> str:
    """A fresh random id; its first 12 digits are never all decimal, so it is no number."""
    while True:
        candidate = secrets.token_hex(ID_LENGTH // 2)
        if not candidate[:SHORT_LENGTH].isdigit():
            return candidate


def short(identifier: str) -> str:
    """The first 12 characters, as people see them."""
    return identifier[:SHORT_LENGTH]


def is_id(text: str) -> bool:
    """Whether this is a full id: 64 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def invent_name() -> str:
    """A friendly random name such as ``quiet_heron``; the caller checks that it is free."""
    return f"{secrets.choice(_LEFT)}_{secrets.choice(_RIGHT)}"


def check_name(text: str, what: str) -> str:
    """The name itself when it follows docker's rule, else :class:`Invalid` naming ``what``."""
    if not _NAME.fullmatch(text):
        raise Invalid(
            f"invalid {what} name {text[:80]!r}",
            hint="a name starts with a letter or digit, then letters, digits, '_', '.', '-', "
            "at most 128 characters",
        )
    return text


def check_hostname(text: str) -> str:
    """The host name itself when it is valid (RFC 1123 labels, ``_`` allowed, at most 63)."""
    if len(text) > 63 or not all(_HOST_LABEL.fullmatch(part) for part in text.split(".")):
        raise Invalid(
            f"invalid host name {text[:80]!r}",
            hint="a host name has letters, digits and '-', at most 63 characters",
        )
    return text
