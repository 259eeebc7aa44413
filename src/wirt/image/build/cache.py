"""Keys of the build cache: a step's inputs by name, and their digest.

An input is what can change the result: parent layers, the command, variables, files by content,
mode and owner. Times are none, and of secrets only the ids count. The inputs are kept beside the
key (as digests, no values), so that a miss can be explained by comparing with the last time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_NAMED = 2000
"""Files of one step that are remembered one by one; of more, only all together."""

_EDITION = "1"
"""Changes when the same inputs are to give another layer than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a step depends on. ``parts``: name to digest. ``site``: where in which build it is, by
    which the last time is found."""

    site: str
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The cache key."""
        text = json.dumps([_EDITION, sorted(self.parts.items())], separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def encode(self) -> str:
        """The inputs as stored."""
        return json.dumps(dict(self.parts), separators=(",", ":"), ensure_ascii=True)


def digest(value: object) -> str:
    """A short digest of any JSON value; what is shown and stored instead of it."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def files(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Inputs of copied files: (path, fingerprint) each, all in one where they are very many."""
    listed = sorted(found)
    if len(listed) <= MAX_NAMED:
        return {f"file {path}": print_ for path, print_ in listed}
    return {f"{len(listed)} files": digest(listed)}


def explain(inputs: Inputs, earlier: Iterable[str]) -> str:
    """Why a step missed, for people. ``earlier``: stored inputs of the last times, of which the
    most similar is compared with."""
    differences = [_differences(inputs.parts, json.loads(before)) for before in earlier]
    if not differences:
        return "it was never built here"
    told = min(differences, key=len)
    if not told:
        return "its result is no longer kept"
    rest = f", and {len(told) - 5} more" if len(told) > 5 else ""
    return ", ".join(told[:5]) + rest


def _differences(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    return [
        *(f"{name} changed" for name in sorted(new) if name in old and new[name] != old[name]),
        *(f"{name} is new" for name in sorted(set(new) - set(old))),
        *(f"{name} is gone" for name in sorted(set(old) - set(new))),
    ]
