"""Lists of things as tables, ids, JSON lines, or through the user's template."""

from __future__ import annotations

from wirt.cli.flags import Flag, misuse
from wirt.cli.output import cell, out, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wirt.cli.flags import Call

    Row = dict[str, object]

GAP = 3

FORMAT = Flag(
    "format",
    value="FORMAT",
    help="table, json, a template such as '{{.Name}}', or 'table {{.Name}}'",
)
QUIET = Flag("quiet", "q", kind="bool", help="Only print the ids or names")
NO_TRUNC = Flag("no-trunc", kind="bool", help="Do not shorten ids and commands")
FILTER = Flag("filter", "f", kind="list", value="KEY=VALUE", help="Only list what matches")


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the left with three blanks between, the last one ragged. Names and labels
    may come from guests and images, so control characters are spelled out."""
    if not rows:
        return ""
    shown = [[cell(text) for text in row] for row in rows]
    widths = [max(map(len, column)) + GAP for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        lines.append("".join(padded).rstrip() + "\n")
    return "".join(lines)


def show(call: Call, rows: list[Row], *, columns: Sequence[tuple[str, str]], identity: str) -> None:
    """Print rows as ``--quiet`` and ``--format`` say.

    ``columns``: heading and field of the default table. ``identity``: field printed by ``-q``.
    """
    wanted = call.text("format")
    if call.on("quiet") and not wanted:
        out("".join(f"{row[identity]}\n" for row in rows))
    elif wanted in {"", "table"}:
        headings = [heading for heading, _ in columns]
        body = [[text(row[name]) for _, name in columns] for row in rows]
        out(grid([headings, *body]))
    elif wanted == "json":
        from wirt.client.fastjson import encode

        out("".join(visible(encode(row).decode()) + "\n" for row in rows))
    else:
        _templated(wanted, rows, headings={name: heading for heading, name in columns})


def text(value: object) -> str:
    """A field as a cell of one line."""
    if isinstance(value, dict):
        return ",".join(f"{key}={inner}" if inner else str(key) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(str(inner) for inner in value)
    return str(value)


def _templated(wanted: str, rows: list[Row], *, headings: dict[str, str]) -> None:
    from wirt.cli.view.template import Template

    table = wanted.startswith("table ")
    source = wanted.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(source)
    lines = [template.render(row) for row in rows]
    if not table:
        out("".join(f"{line}\n" for line in lines))
        return
    head = {name: headings.get(name, name.upper()) for row in rows[:1] for name in row}
    top = [template.render(head or headings_only(headings))]
    cells = [line.split("\t") for line in top + lines]
    width = max(len(row) for row in cells)
    out(grid([row + [""] * (width - len(row)) for row in cells]))


def headings_only(headings: dict[str, str]) -> Row:
    """Headings as a row, for a table without rows."""
    return dict(headings)


def query_filters(call: Call) -> list[tuple[str, str]]:
    """``--filter`` flags as query pairs. Raises Invalid for one without ``=``."""
    for one in call.many("filter"):
        key, equals, _ = one.partition("=")
        if not key or not equals:
            raise misuse(f"invalid filter {one!r}", hint="write KEY=VALUE, as status=running")
    return [("filter", one) for one in call.many("filter")]
