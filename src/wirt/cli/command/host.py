"""``wirt host ...``: the host as a whole."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, Group, misuse, moment
from wirt.cli.output import STDOUT, write

FORMATS = ("svg", "json", "csv")
OTHERS = frozenset({"png", "jpg", "jpeg", "gif", "webp", "pdf", "ps", "eps", "html", "htm", "xlsx"})


def plot(call: Call) -> int:
    """Draw what was due, wanted and used over time; of this host, or of a trace."""
    import time

    from wirt.cli import daydata, dayplot
    from wirt.cli.recording import read_trace, trace_lines
    from wirt.governor.trace import decode

    since = moment(call, "since")
    name = call.text("output") or "-"
    kind = call.text("format") or _kind(name)
    if call.given("trace"):
        day = daydata.gather(read_trace(call.text("trace")), since=since or 0)
    else:
        since = time.time_ns() - 3600 * 10**9 if since is None else since
        day = daydata.gather(decode(trace_lines(call.daemon, since=since)), since=since)
    make = {"json": daydata.as_json, "csv": daydata.as_csv}.get(kind, dayplot.svg)
    data = make(day).encode("utf-8", "backslashreplace")
    if name == "-":
        write(STDOUT, data)
    else:
        with open(name, "wb") as file:  # noqa: PTH123 - as above
            file.write(data)
    return 0


def _kind(name: str) -> str:
    """What the name of a file says. Raises Invalid for pictures that are not made."""
    ending = name.rpartition("/")[2].rpartition(".")[2] if "." in name else ""
    if ending.lower() in OTHERS:
        raise misuse(
            f"no .{ending} is drawn, as {name!r} asks for",
            hint=f"write .{', .'.join(FORMATS)}, or --format; rsvg-convert makes others of an .svg",
        )
    return ending


COMMAND = Group(
    "host",
    summary="The host as a whole",
    verbs={
        "plot": Command(
            "host plot",
            summary="Draw what guests were due, wanted and used of late",
            flags=(
                Flag("since", value="TIME", help="From that time on, as 30m (ago); 1h"),
                Flag("output", "o", value="FILE", help="Where to; standard output"),
                Flag("format", value="FORMAT", choices=FORMATS,
                     help="svg, json or csv; as the name of the file says, else svg"),
                Flag("trace", value="FILE", help="Draw what 'wirt governor record' wrote"),
            ),
            run=plot,
        ),
    },
)  # fmt: skip
