"""The instructions that only say something about the image, read but not expanded."""

from __future__ import annotations

import re

from wirt.image.build.dockerfile.ast import (
    Arg,
    Declaration,
    Env,
    Expose,
    From,
    Label,
    Maintainer,
    Pair,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from wirt.image.build.dockerfile.call import Call, some
from wirt.image.build.dockerfile.problem import Wrong, show
from wirt.image.build.dockerfile.words import fields, halves, json_list, quoted_words

_STAGE = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)


def start(call: Call) -> From:
    """FROM."""
    given = fields(some(call, "image [AS name]"))
    if len(given) == 1:
        return From(at=call.at, image=given[0], platform=call.options.single.get("platform"))
    if len(given) != 3 or given[1].lower() != "as":
        raise Wrong(
            f"after the image {show(given[0])} stands {show(' '.join(given[1:]))}",
            word=given[1],
            hint="expected FROM image or FROM image AS name",
        )
    if not _STAGE.fullmatch(given[2].lower()):
        raise Wrong(
            f"{show(given[2])} is no name of a stage",
            word=given[2],
            hint="a name begins with a letter; then letters, digits and _ - . may follow",
        )
    return From(
        at=call.at,
        image=given[0],
        platform=call.options.single.get("platform"),
        name=given[2].lower(),
        name_as_written=given[2],
        separator=given[1],
    )


def arg(call: Call) -> Arg:
    """ARG."""
    found = []
    for word in quoted_words(some(call, "name[=default]"), call.escape):
        name, equals, default = word.partition("=")
        if not name:
            raise Wrong(f"{show(word)} has no name", word=word, hint="expected name=default")
        found.append(Declaration(name, default if equals else None))
    return Arg(at=call.at, declarations=tuple(found))


def _pairs(call: Call) -> tuple[tuple[Pair, ...], bool]:
    """``key=value ...``, or the old form ``key value``."""
    given = quoted_words(some(call, "key=value"), call.escape)
    if given and "=" not in given[0]:
        key, value = halves(call.rest)
        if not value:
            raise Wrong(
                f"{call.keyword} {show(key)} has no value",
                word=key,
                hint=f"expected {call.keyword} key=value",
            )
        return (Pair(key, value),), True
    found = []
    for word in given:
        key, equals, value = word.partition("=")
        if not equals:
            raise Wrong(
                f"{show(word)} is no key=value",
                word=word,
                hint='put quotes around a value with blanks: key="a value"',
            )
        if not key:
            raise Wrong(f"{show(word)} has no name", word=word, hint="expected key=value")
        found.append(Pair(key, value))
    return tuple(found), False


def env(call: Call) -> Env:
    """ENV."""
    pairs, legacy = _pairs(call)
    return Env(at=call.at, pairs=pairs, legacy=legacy)


def label(call: Call) -> Label:
    """LABEL."""
    pairs, legacy = _pairs(call)
    return Label(at=call.at, pairs=pairs, legacy=legacy)


def maintainer(call: Call) -> Maintainer:
    """MAINTAINER."""
    return Maintainer(at=call.at, name=some(call, "name"))


def workdir(call: Call) -> Workdir:
    """WORKDIR."""
    return Workdir(at=call.at, path=some(call, "path"))


def user(call: Call) -> User:
    """USER."""
    return User(at=call.at, user=some(call, "name[:group]"))


def stopsignal(call: Call) -> Stopsignal:
    """STOPSIGNAL."""
    return Stopsignal(at=call.at, signal=some(call, "signal"))


def volume(call: Call) -> Volume:
    """VOLUME."""
    rest = some(call, "path ...")
    listed = json_list(rest)
    paths = fields(rest) if listed is None else [path.strip() for path in listed]
    if not paths or not all(paths):
        raise Wrong("VOLUME has an empty path", word=rest, hint="expected VOLUME path ...")
    return Volume(at=call.at, paths=tuple(paths))


def expose(call: Call) -> Expose:
    """EXPOSE."""
    return Expose(at=call.at, ports=tuple(fields(some(call, "port[/protocol] ..."))))
