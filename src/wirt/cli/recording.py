"""``wirt governor record``: the governor's ticks into a file, for ``wirt replay``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse, moment
from wirt.cli.output import STDOUT, out, warn, write
from wirt.client.daemon import unreachable
from wirt.client.wire import Lost, target
from wirt.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wirt.client.daemon import Daemon
    from wirt.governor.trace import Record


def trace_lines(daemon: Daemon, *, since: int, seconds: float = 0.0) -> Iterator[bytes]:
    """Lines of a trace from Unix nanoseconds on, then for so many seconds what happens. Raises
    Unavailable when the daemon is lost."""
    where = target("/v1/governor/trace", [("since", since), ("seconds", f"{seconds:.3f}")])
    try:
        yield from daemon.request("GET", where).lines()
    except (OSError, Lost) as error:
        raise unreachable(daemon.path, error) from error


def read_trace(name: str, *, lead: bool = False) -> Iterator[Record]:
    """The records of a file (``-``: standard input), see :func:`wirt.governor.trace.decode`. Raises
    Invalid naming the file and the line.

    A last line that is cut off, as when the recording was killed, is left out with a warning.
    """
    from wirt.errors import Invalid
    from wirt.governor.trace import decode

    with open(0 if name == "-" else name, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
        try:
            yield from decode(_lines(file, name), lead=lead)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}", hint=error.hint, code=error.code) from error


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Lines of a file, none of which is read farther than a trace's may go."""
    from wirt.governor.trace import LONGEST_LINE

    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if number > 1 and _torn(line, LONGEST_LINE):
            warn(f"{name} ends within line {number}: what is before it is used")
            return
        yield line


def _torn(line: bytes, longest: int) -> bool:
    """Whether it is the end of a file, and half a record."""
    from wirt.errors import Invalid
    from wirt.governor import strict

    if line.endswith(b"\n") or len(line) > longest:
        return False
    try:
        strict.parse(line, "")
    except Invalid:
        return True
    return False


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
    try:
        file = open(name, "wb" if call.on("force") else "xb")  # noqa: PTH123, SIM115 - costs 8 ms; below
    except FileExistsError:
        raise Conflict(f"{name} exists", hint="--force writes over it") from None
    with file:
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
            ticks += b'"tick":' in line and _at(line) >= since
    except KeyboardInterrupt:
        if length is None:
            raise
    return ticks


def _at(line: bytes) -> int:
    """When a tick was, by which each begins; those before are only there to learn from."""
    return int(line.partition(b",")[0].partition(b":")[2])


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
