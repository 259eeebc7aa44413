"""The reference page of the Dockerfile language: what the tables in the source say."""

from __future__ import annotations

from wirt.image.build.dockerfile import lines, options, parse, ports, shellword
from wirt.image.build.dockerfile.ast import MountKind
from wirt.image.build.dockerfile.lint.rules import RULES
from wirt.image.build.dockerfile.mount import keys_of

HEAD = """# The Dockerfile language

`wirt build` reads the whole language of docker's
[reference](https://docs.docker.com/reference/dockerfile/): directives (`syntax`, `escape`,
`check`), heredocs, every form of `${name...}`, multi-stage files, ONBUILD. The frontend is built
in: a `# syntax=` line may name `docker/dockerfile` of any version, and no other.

Errors name file, line and column: `Dockerfile:7:12: RUN has no flag --mont`, with a hint what was
probably meant.
"""

CHECKS = """`wirt build --check PATH` looks for these without building, shows the lines and ends
with 1 when there are any; a build tells them as warnings. `# check=skip=NAME,NAME` at the top of a
file leaves some out (`skip=all`: all), `# check=error=true` makes them fail the build, and
`# check=experimental=NAME` asks for experimental ones. `--build-arg
BUILDKIT_DOCKERFILE_CHECK=...` says the same from outside.
"""

DIFFERENCES = """## Where docker is different

- Variables that have no value make an empty source of COPY, an empty WORKDIR, USER or VOLUME: that
  is an error here, since it is never meant.
- ENV goes before an ARG of the same name wherever the ARG stands, as docker's reference says.
- `RUN --device` is refused: no device enters a build.
"""


def page() -> str:
    """The whole page."""
    rows = [HEAD, "## Flags", "", "| instruction | flags |", "| --- | --- |"]
    for keyword, flags in options.FLAGS.items():
        names = (
            f"`--{name}`" + (" (repeatable)" if takes is options.Takes.VALUES else "")
            for name, takes in flags.items()
            if name != "device"
        )
        rows.append(f"| {keyword} | {', '.join(names)} |")
    rows += ["", "`RUN --mount=type=...` takes:", "", "| type | keys |", "| --- | --- |"]
    rows += [f"| `{kind.value}` | {keys_of(kind)} |" for kind in MountKind]
    rows += ["", "## Checks", "", CHECKS, "| name | asks for |", "| --- | --- |"]
    for rule in RULES:
        mark = " (experimental)" if rule.experimental else ""
        rows.append(f"| `{rule.name}`{mark} | {rule.description} |")
    rows += ["", DIFFERENCES, "## Limits", "", *_limits()]
    return "\n".join(rows) + "\n"


def _limits() -> list[str]:
    return [
        f"A file has at most {lines.MAX_BYTES // 1024} KiB, {lines.MAX_LINES} lines, "
        f"{lines.MAX_INSTRUCTIONS} instructions and",
        f"{parse.MAX_STAGES} stages; substitutions nest {shellword.MAX_NESTING} deep; what "
        "variables put into one word has at",
        f"most {shellword.MAX_RESULT // 1024} KiB; one EXPOSE names at most {ports.MAX_PORTS} "
        "ports.",
    ]
