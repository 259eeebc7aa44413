"""``wirt image tree``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.output import harmless, out
from wirt.cli.view import human
from wirt.model.image import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def tree(call: Call) -> int:
    """Show the layers of images, those that several have once."""
    layers = call.daemon.call("GET", "/v1/layers")
    below: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        below.setdefault(layer["parent"], []).append(layer)
    heads: dict[str, list[dict[str, Any]]] = {}
    for image in call.daemon.call("GET", "/v1/images"):
        if image["chain_ids"]:
            heads.setdefault(image["chain_ids"][-1], []).append(image)
    out("".join(f"{line}\n" for line in _branches(below, heads, "", "")))
    return 0


def _branches(
    below: dict[str, list[dict[str, Any]]],
    heads: dict[str, list[dict[str, Any]]],
    parent: str,
    indent: str,
) -> list[str]:
    """One line for each layer, its images behind it; a layer without branches is not indented."""
    lines = []
    found = below.get(parent, [])
    for number, layer in enumerate(found):
        last = number == len(found) - 1
        mark, inner = ("└─", "  ") if last else ("├─", "│ ")
        if len(found) == 1 and parent:
            mark = inner = ""
        shown = ", ".join(_named(image) for image in heads.get(layer["chain_id"], ()))
        size = human.decimal_size(layer["size"])
        head = f"{indent}{mark}{human.short(layer['chain_id'])} {size}"
        lines.append(f"{head}  {shown}" if shown else head)
        lines += _branches(below, heads, layer["chain_id"], indent + inner)
    return lines


def _named(image: dict[str, Any]) -> str:
    names = [Reference.parse(name).familiar for name in image["references"]]
    return harmless(", ".join(names)) or f"<none> ({human.short(image['id'])})"


TREE = Command("image tree", summary="Show which layers images share", run=tree)
