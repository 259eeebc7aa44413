"""Nested facts (``info``, ``version``) for people, as JSON, or through a template."""

from __future__ import annotations

import json

from wirt.cli.flags import Flag
from wirt.cli.output import harmless, out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wirt.cli.flags import Call

FORMAT = Flag("format", "f", value="FORMAT", help="json, or a template such as '{{.Version}}'")
JSON = Flag("json", kind="bool", help="Print JSON")


def show(call: Call, facts: dict[str, Any]) -> int:
    """Print facts as ``--json`` and ``--format`` say."""
    wanted = "json" if call.on("json") else call.text("format")
    if wanted == "json":
        out(json.dumps(facts, indent=2) + "\n")
    elif wanted:
        from wirt.cli.view.template import Template

        out(Template(wanted).render(facts) + "\n")
    else:
        out("".join(f"{line}\n" for line in lines(facts)))
    return 0


def lines(facts: dict[str, Any], depth: int = 0) -> list[str]:
    """``Name: value`` lines, inner objects indented."""
    made = []
    for name, value in facts.items():
        title = f"{'  ' * depth}{name.replace('_', ' ').capitalize()}:"
        if isinstance(value, dict):
            made += [title, *lines(value, depth + 1)]
        else:
            made.append(f"{title} {_shown(name, value)}")
    return made


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "not reachable"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "memory" and isinstance(value, int):
        from wirt.cli.view.human import binary_size

        return binary_size(value)
    if isinstance(value, list):
        return harmless(", ".join(str(inner) for inner in value)) or "none"
    return harmless(str(value))
