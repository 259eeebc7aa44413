"""The flags of an instruction: which there are, how often, with what values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from wirt.image.build.dockerfile.problem import Wrong, one_of, show


class Takes(Enum):
    """What a flag takes: a value, values again and again, or true/false (true when bare)."""

    VALUE = "value"
    VALUES = "values"
    SWITCH = "switch"


FLAGS: Mapping[str, Mapping[str, Takes]] = {
    "FROM": {"platform": Takes.VALUE},
    "RUN": {
        "mount": Takes.VALUES,
        "network": Takes.VALUE,
        "security": Takes.VALUE,
        "device": Takes.VALUES,
    },
    "COPY": {
        "from": Takes.VALUE,
        "chown": Takes.VALUE,
        "chmod": Takes.VALUE,
        "link": Takes.SWITCH,
        "parents": Takes.SWITCH,
        "exclude": Takes.VALUES,
    },
    "ADD": {
        "chown": Takes.VALUE,
        "chmod": Takes.VALUE,
        "link": Takes.SWITCH,
        "exclude": Takes.VALUES,
        "keep-git-dir": Takes.SWITCH,
        "checksum": Takes.VALUE,
        "unpack": Takes.SWITCH,
    },
    "HEALTHCHECK": {
        "interval": Takes.VALUE,
        "timeout": Takes.VALUE,
        "start-period": Takes.VALUE,
        "start-interval": Takes.VALUE,
        "retries": Takes.VALUE,
    },
}


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that an instruction was given."""

    single: Mapping[str, str] = field(default_factory=dict)
    many: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)


def parse(keyword: str, words: Sequence[str]) -> Options:
    """Read ``--name=value`` words against the table. Raises Wrong."""
    known = FLAGS.get(keyword, {})
    single: dict[str, str] = {}
    many: dict[str, tuple[str, ...]] = {}
    switches: dict[str, bool] = {}
    for word in words:
        name, equals, value = word[2:].partition("=")
        takes = known.get(name)
        if takes is None:
            raise _unknown(keyword, name, known)
        if name in single or name in switches:
            raise Wrong(f"the flag --{name} is given a second time", word=word)
        if takes is Takes.SWITCH:
            switches[name] = _switch(name, equals, value, word)
            continue
        if not equals:
            raise Wrong(
                f"the flag --{name} has no value", word=word, hint=f"expected --{name}=VALUE"
            )
        if takes is Takes.VALUES:
            many[name] = (*many.get(name, ()), value)
        else:
            single[name] = value
    return Options(single, many, switches)


def _unknown(keyword: str, name: str, known: Mapping[str, Takes]) -> Wrong:
    if not known:
        return Wrong(
            f"{keyword} takes no flags, found --{name[:40]}",
            word=f"--{name}",
            hint="put -- before words that begin with two dashes",
        )
    return Wrong(
        f"{keyword} has no flag --{name[:40]}",
        word=f"--{name}",
        hint=one_of(f"--{name}", [f"--{each}" for each in known]),
    )


def _switch(name: str, equals: str, value: str, word: str) -> bool:
    if not equals:
        return True
    if value.lower() not in {"true", "false"}:
        raise Wrong(
            f"the flag --{name} is {show(value)}",
            word=word,
            hint="expected true or false",
        )
    return value.lower() == "true"
