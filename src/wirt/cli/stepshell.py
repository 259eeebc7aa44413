"""``wirt build --debug-shell``: a shell in what a failed RUN has left."""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import say
from wirt.cli.signals import Ended, Signals
from wirt.cli.stream import Streams, ask, flow, follow, join, terminal_fd
from wirt.client.wire import quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.client.daemon import Daemon


def check_terminal() -> None:
    """Raise Invalid where nobody could type into a shell; before the build begins."""
    if not posix.isatty(0) or terminal_fd() is None:
        raise misuse("--debug-shell needs a terminal", hint="run it without a pipe")


def look_into(daemon: Daemon, step: str, message: str) -> None:
    """Open a shell there until the user leaves it; the step is gone afterwards."""
    say(message)
    say("a shell in the step's files; leave it with 'exit'")
    fd = terminal_fd()
    query: list[tuple[str, str | int | bool | None]] = []
    if fd is not None:
        from wirt.cli.terminal import size

        rows, columns = size(fd)
        query = [("rows", rows), ("columns", columns)]
    path = f"/v1/build/steps/{quote(step)}"
    streams = Streams(tty=True, stdin=True)
    stream = ask(daemon, target(f"{path}/shell", query))
    try:
        with Signals() as signals, streams.raw():
            pump = join(stream, streams)
            follow(signals, streams, path=daemon.path, where=f"{path}/resize")
            flow(pump, signals, daemon.path)
    except Ended:
        return
