"""``wirt host ...``: the host as a whole."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, Group, moment
from wirt.cli.output import STDOUT, write

FORMATS = ("svg", "json", "csv")


def plot(call: Call) -> int:
    """Draw what was due, wanted and used over time; of this host, or of a trace."""
    import time

    from wirt.cli import daydata, dayplot
    from wirt.cli.recording import file_lines, trace_lines
    from wirt.governor.trace import decode

    since = moment(call, "since")
    if call.given("trace"):
        with open(call.text("trace"), "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
            day = daydata.gather(decode(file_lines(file)), since=since or 0)
    else:
        since = time.time_ns() - 3600 * 10**9 if since is None else since
        day = daydata.gather(decode(trace_lines(call.daemon, since=since)), since=since)
    name = call.text("output") or "-"
    kind = call.text("format") or ("" if name == "-" else name.rpartition(".")[2])
    make = {"json": daydata.as_json, "csv": daydata.as_csv}.get(kind, dayplot.svg)
    data = make(day).encode("utf-8", "backslashreplace")
    if name == "-":
        write(STDOUT, data)
    else:
        with open(name, "wb") as file:  # noqa: PTH123 - as above
            file.write(data)
    return 0


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
