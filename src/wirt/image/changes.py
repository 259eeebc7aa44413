"""Dockerfile lines that only change an image's configuration, for ``import --change``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from wirt.errors import Invalid
from wirt.model.image import ImageConfig
from wirt.model.units import parse_duration

_PORT = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:/(?:tcp|udp|sctp))?", re.ASCII)
_SHELL = ("/bin/sh", "-c")


def apply_changes(config: ImageConfig, lines: Sequence[str]) -> ImageConfig:
    """The configuration after all lines. Raises Invalid naming the line."""
    for line in lines:
        keyword, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        change = _CHANGES.get(keyword.upper())
        if change is None:
            raise Invalid(
                f"cannot apply the change {line[:100]!r}",
                hint=f"changes are: {', '.join(sorted(_CHANGES))}",
                code="image.change",
            )
        if not rest:
            raise Invalid(f"the change {line[:100]!r} says nothing", code="image.change")
        config = change(config, rest)
    return config


def _command(rest: str) -> tuple[str, ...]:
    """The exec form (a JSON list), or the shell form."""
    if rest.startswith("["):
        try:
            found = json.loads(rest)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(word, str) for word in found):
            return tuple(found)
    return (*_SHELL, rest)


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise Invalid(f"{rest[:100]!r}: {error}", code="image.change") from error


def _list(rest: str) -> list[str]:
    if rest.startswith("["):
        return list(_command(rest))
    return _words(rest)


def _pairs(rest: str) -> dict[str, str]:
    """``k=v k2="v 2"``, or the old form ``k v``."""
    words = _words(rest)
    if "=" not in words[0]:
        key, _, value = rest.partition(" ")
        return {key: value.strip()}
    if not all("=" in word and not word.startswith("=") for word in words):
        raise Invalid(f"{rest[:100]!r} is no list of NAME=value", code="image.change")
    return dict(word.split("=", 1) for word in words)


def _env(config: ImageConfig, rest: str) -> ImageConfig:
    env = dict(entry.split("=", 1) for entry in config.env if "=" in entry)
    env.update(_pairs(rest))
    return replace(config, env=tuple(f"{key}={value}" for key, value in env.items()))


def _expose(config: ImageConfig, rest: str) -> ImageConfig:
    ports = _words(rest)
    for port in ports:
        if not _PORT.fullmatch(port):
            raise Invalid(f"{port[:40]!r} is no port", hint="write 80 or 53/udp")
    named = [port if "/" in port else f"{port}/tcp" for port in ports]
    return replace(config, exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *named))))


def _volume(config: ImageConfig, rest: str) -> ImageConfig:
    return replace(config, volumes=tuple(dict.fromkeys((*config.volumes, *_list(rest)))))


def _workdir(config: ImageConfig, rest: str) -> ImageConfig:
    if not rest.startswith("/"):
        rest = f"{config.working_dir or ''}/{rest}"
    return replace(config, working_dir=rest)


def _health(config: ImageConfig, rest: str) -> ImageConfig:
    """``[--interval=30s ...] CMD command`` or ``NONE``."""
    node: dict[str, object] = {}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
        "retries": "Retries",
    }
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        name, _, value = option[2:].partition("=")
        if name not in names:
            raise Invalid(f"unknown option of HEALTHCHECK: --{name[:40]}", code="image.change")
        node[names[name]] = _count(value) if name == "retries" else parse_duration(value)
        rest = rest.strip()
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE":
        return replace(config, healthcheck={"Test": ["NONE"]})
    if kind.upper() != "CMD" or not command.strip():
        raise Invalid("HEALTHCHECK takes CMD and a command, or NONE", code="image.change")
    words = _command(command.strip())
    shell = words[:2] == _SHELL and not command.strip().startswith("[")
    test = ["CMD-SHELL", words[2]] if shell else ["CMD", *words]
    return replace(config, healthcheck={"Test": test, **node})


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(f"{text[:40]!r} is no number of retries", code="image.change")
    return int(text)


_CHANGES: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": lambda config, rest: replace(config, cmd=_command(rest)),
    "ENTRYPOINT": lambda config, rest: replace(config, entrypoint=_command(rest)),
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health,
    "LABEL": lambda config, rest: replace(config, labels={**config.labels, **_pairs(rest)}),
    "STOPSIGNAL": lambda config, rest: replace(config, stop_signal=rest),
    "USER": lambda config, rest: replace(config, user=rest),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
