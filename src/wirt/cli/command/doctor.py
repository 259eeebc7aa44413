"""``wirt doctor``: what this host can do for each kind of guest; it needs no daemon."""

from __future__ import annotations

import posix
import sys

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.client.daemon import DEFAULT_SOCKET


def run(call: Call) -> int:
    """Become the doctor: it looks at the host itself, with the daemon's own probes."""
    root = __file__.rpartition("/wirt/cli/")[0].encode()
    own = posix.environ.get(b"PYTHONPATH", b"")
    environ = {**posix.environ, b"PYTHONPATH": root + (b":" + own if own else b"")}
    if b"WIRT_HOST" in posix.environ or call.daemon.path != DEFAULT_SOCKET:
        environ[b"WIRT_HOST"] = call.daemon.path.encode("utf-8", "surrogateescape")
    words = [sys.executable, "-X", "utf8", "-m", "wirt.daemon.doctor"]
    if call.on("json"):
        words.append("--json")
    try:
        posix.execve(sys.executable, words, environ)
    except OSError as error:
        raise misuse(
            f"cannot start {sys.executable}: {error.strerror}", hint="run 'make setup' again"
        ) from error


COMMAND = Command(
    "doctor",
    summary="Show what this host can do for each kind of guest, and the cures",
    flags=(Flag("json", kind="bool", help="Print JSON"),),
    run=run,
)
