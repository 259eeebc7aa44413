"""``wirt governor record``: the governor's ticks into a file, for ``wirt replay``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse, moment
from wirt.cli.output import STDOUT, out, write
from wirt.client.daemon import unreachable
from wirt.client.wire import Lost, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wirt.client.daemon import Daemon


def trace_lines(daemon: Daemon, *, since: int, seconds: float = 0.0) -> Iterator[bytes]:
    """Lines of a trace from Unix nanoseconds on, then for so many seconds what happens. Raises
    Unavailable when the daemon is lost."""
    where = target("/v1/governor/trace", [("since", since), ("seconds", f"{seconds:.3f}")])
    try:
        yield from daemon.request("GET", where).lines()
    except (OSError, Lost) as error:
        raise unreachable(daemon.path, error) from error


def file_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file, none of which is read farther than a trace's may go."""
    from wirt.governor.trace import LONGEST_LINE

    while line := file.readline(LONGEST_LINE + 1):
        yield line


def run(call: Call) -> int:
    """Write what the governor remembers, or what happens from now on for a while."""
    length = call.number("for")
    if length is not None and call.given("since"):
        raise misuse("--for and --since exclude each other", hint="--for records from now on")
    name = call.text("output")
    if not name:
        raise misuse("where to?", hint="write -o FILE, or -o - for standard output")
    if name == "-":
        _copy(call, STDOUT, length)
        return 0
    with open(name, "wb" if call.on("force") else "xb") as file:  # noqa: PTH123 - pathlib costs 8 ms
        ticks = _copy(call, file.fileno(), length)
    out(f"{ticks} ticks in {name}\n")
    return 0


def _copy(call: Call, fd: int, length: int | None) -> int:
    import time

    since = moment(call, "since")
    since = (0 if length is None else time.time_ns()) if since is None else since
    ticks = 0
    try:
        for line in trace_lines(call.daemon, since=since, seconds=(length or 0) / 1e9):
            write(fd, line + b"\n")
            ticks += b'"tick":' in line
    except KeyboardInterrupt:
        if length is None:
            raise
    return ticks


RECORD = Command(
    "governor record",
    summary="Write what the governor saw and did into a file",
    flags=(
        Flag("output", "o", value="FILE", help="Where to; - is standard output"),
        Flag("since", value="TIME", help="From that time on, as 30m (ago); all it remembers"),
        Flag("for", kind="duration", value="DURATION", help="Record from now on, so long"),
        Flag("force", "f", kind="bool", help="Write over a file that exists"),
    ),
    run=run,
)
