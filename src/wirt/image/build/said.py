"""How the image's history words each instruction (``created_by``), as docker's builder does."""

from __future__ import annotations

import json
from collections.abc import Sequence

from wirt.image.build.dockerfile import ast
from wirt.image.build.settings import Settings


def history_text(
    instruction: ast.Instruction, settings: Settings, args: Sequence[tuple[str, str]]
) -> str:
    """The line of an expanded instruction. ``settings``: after it. ``args``: those that a RUN saw,
    without the predefined proxies."""
    match instruction:
        case ast.Run():
            return _run(instruction, settings, args)
        case ast.Env(pairs=pairs):
            return "ENV " + " ".join(f"{pair.key}={pair.value}" for pair in pairs)
        case ast.Label(pairs=pairs):
            return "LABEL " + " ".join(f"{pair.key}={pair.value}" for pair in pairs)
        case ast.Cmd(command=command):
            return "CMD " + json.dumps(settings.argv(command), ensure_ascii=False)
        case ast.Entrypoint(command=command):
            return "ENTRYPOINT " + json.dumps(settings.argv(command), ensure_ascii=False)
        case ast.Workdir():
            return f"WORKDIR {settings.cwd}"
        case ast.Arg(declarations=declarations):
            told = dict(args)
            names = [d.name for d in declarations]
            return "ARG " + " ".join(f"{n}={told[n]}" if n in told else n for n in names)
        case _:
            return _words(instruction)


def _words(instruction: ast.Instruction) -> str:
    match instruction:
        case ast.Copy() | ast.Add():
            sources = [*instruction.sources, *(doc.name for doc in instruction.inline)]
            keyword = "ADD" if isinstance(instruction, ast.Add) else "COPY"
            return f"{keyword} {' '.join((*_flags(instruction), *sources))} " + (
                instruction.destination
            )
        case ast.User(user=user):
            return f"USER {user}"
        case ast.Volume(paths=paths):
            return f"VOLUME [{' '.join(paths)}]"
        case ast.Expose(ports=ports):
            return f"EXPOSE [{' '.join(ports)}]"
        case ast.Stopsignal(signal=signal):
            return f"STOPSIGNAL {signal}"
        case _:
            keyword, _, rest = instruction.at.text.partition(" ")
            return f"{keyword.upper()} {rest.strip()}"


def _flags(instruction: ast.Copy | ast.Add) -> list[str]:
    found = [("chown", instruction.chown), ("chmod", instruction.chmod)]
    if isinstance(instruction, ast.Copy):
        found.insert(0, ("from", instruction.origin))
    return [f"--{name}={value}" for name, value in found if value]


def _run(run: ast.Run, settings: Settings, args: Sequence[tuple[str, str]]) -> str:
    seen = "".join(f" {name}={value}" for name, value in args)
    front = f"|{len(args)}{seen} " if args else ""
    heredocs = "".join(f" <<{doc.name} ({len(doc.content)} bytes)" for doc in run.heredocs)
    words = settings.argv(run.command) if not run.script else settings.shell
    return f"RUN {front}{' '.join(words)}{heredocs if run.script else ''}"
