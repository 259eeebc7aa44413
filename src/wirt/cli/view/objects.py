"""Whole objects for ``inspect``: indented JSON, one line of JSON, or the user's template."""

from __future__ import annotations

import json

from wirt.cli.each import failed
from wirt.cli.flags import Flag
from wirt.cli.output import out, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wirt.cli.flags import Call

FORMAT = Flag("format", "f", value="FORMAT", help="json, or a template such as '{{.State}}'")


def inspect(call: Call, get: Callable[[str], Any]) -> int:
    """Show what ``get`` finds for every argument; failures are told, the first is the exit code."""
    wanted = call.text("format")
    template = None
    if wanted not in {"", "json"}:
        from wirt.cli.view.template import Template

        template = Template(wanted)
    found = []
    result = 0
    for name in call.args:
        try:
            thing = get(name)
        except Exception as error:  # noqa: BLE001 - judged by failed()
            result = result or failed(call, error)
            continue
        if template is not None:
            out(template.render(thing) + "\n")
        found.append(thing)
    if template is None:
        out(_json(found, indented=not wanted))
    return result


def _json(value: Any, *, indented: bool) -> str:
    if indented:
        return visible(json.dumps(value, indent=4, ensure_ascii=False)) + "\n"
    return visible(json.dumps(value, separators=(",", ":"), ensure_ascii=False)) + "\n"
