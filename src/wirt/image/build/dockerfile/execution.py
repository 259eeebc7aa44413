"""RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK, read but not expanded."""

from __future__ import annotations

import re

from wirt.errors import Invalid
from wirt.image.build.dockerfile import heredoc, mount, shellword
from wirt.image.build.dockerfile.ast import Cmd, Entrypoint, Healthcheck, Mount, Run, Shell
from wirt.image.build.dockerfile.call import Call, command, some
from wirt.image.build.dockerfile.problem import Wrong, one_of, show
from wirt.image.build.dockerfile.words import halves, json_list
from wirt.model.units import parse_duration

_MILLISECOND = 1_000_000
MAX_RETRIES = 2**31 - 1


def run(call: Call) -> Run:
    """RUN."""
    if "device" in call.options.many:
        raise Wrong(
            "RUN --device is not supported", word="--device", hint="no device enters a build"
        )
    found = command(some(call, "command"))
    if not found.words or not found.words[0]:
        raise Wrong("RUN has an empty list", word=call.rest, hint='expected ["program", ...]')
    return Run(
        at=call.at,
        command=found,
        heredocs=call.heredocs,
        script=bool(call.heredocs) and heredoc.parse(call.rest) is not None,
        mounts=tuple(_mount(text, call) for text in call.options.many.get("mount", ())),
        network=_choice(call, "network", ("default", "none", "host")),
        security=_choice(call, "security", ("sandbox", "insecure")),
    )


def _mount(text: str, call: Call) -> Mount:
    """The mount; only its text when it holds variables, for the expansion to read again."""
    return mount.parse_early(text, lambda value: shellword.expand(value, {}, escape=call.escape))


def _choice(call: Call, name: str, choices: tuple[str, ...]) -> str:
    value = call.options.single.get(name, choices[0])
    if value not in choices:
        raise Wrong(
            f"--{name} is {show(value)}", word=f"--{name}={value}", hint=one_of(value, choices)
        )
    return value


def cmd(call: Call) -> Cmd:
    """CMD."""
    return Cmd(at=call.at, command=command(some(call, "command, or CMD [] for none")))


def entrypoint(call: Call) -> Entrypoint:
    """ENTRYPOINT."""
    rest = some(call, "command, or ENTRYPOINT [] for none")
    return Entrypoint(at=call.at, command=command(rest))


def shell(call: Call) -> Shell:
    """SHELL."""
    listed = json_list(some(call, '["program", "argument"]'))
    if not listed:
        raise Wrong(
            f"SHELL {show(call.rest)} is no list",
            word=call.rest,
            hint='expected SHELL ["program", "argument"]',
        )
    return Shell(at=call.at, words=listed)


def healthcheck(call: Call) -> Healthcheck:
    """HEALTHCHECK."""
    kind, rest = halves(some(call, "CMD command, or HEALTHCHECK NONE"))
    given = call.options.single
    if kind.upper() == "NONE":
        if rest or given:
            raise Wrong(
                "HEALTHCHECK NONE takes nothing else", word=rest, hint="expected HEALTHCHECK NONE"
            )
        return Healthcheck(at=call.at, command=None)
    if kind.upper() != "CMD":
        raise Wrong(f"HEALTHCHECK has no kind {show(kind)}", word=kind, hint="expected CMD or NONE")
    found = command(rest)
    if not rest or not found.words:
        raise Wrong("HEALTHCHECK CMD has no command", word=kind)
    return Healthcheck(
        at=call.at,
        command=found,
        interval=_duration("interval", given.get("interval")),
        timeout=_duration("timeout", given.get("timeout")),
        start_period=_duration("start-period", given.get("start-period")),
        start_interval=_duration("start-interval", given.get("start-interval")),
        retries=_retries(given.get("retries")),
    )


def _duration(name: str, text: str | None) -> int | None:
    """Nanoseconds; 0 stands for the default, less than a millisecond for a mistake."""
    if text is None:
        return None
    word = f"--{name}={text}"
    try:
        found = parse_duration(text)
    except Invalid as error:
        raise Wrong(f"--{name}: {error.message}", word=word, hint=error.hint) from None
    if 0 < found < _MILLISECOND:
        raise Wrong(f"--{name} is {text}", word=word, hint="the shortest is 1ms")
    return found


def _retries(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\+?[0-9]{1,10}", text) or int(text) > MAX_RETRIES:
        raise Wrong(
            f"--retries is {show(text)}",
            word=f"--retries={text}",
            hint=f"expected 0 to {MAX_RETRIES}",
        )
    return int(text)
