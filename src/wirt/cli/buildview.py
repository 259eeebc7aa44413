"""What a build's progress looks like: a plain log, a live picture on a terminal, JSON, or nothing.

All of it goes to standard error: standard output is for results. What steps print is shown with
control characters spelled out, since a build's words must not drive the terminal.
"""

from __future__ import annotations

import posix

from wirt.cli.output import STDERR, harmless, warn, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Line = dict[str, Any]


class View:
    """Shows nothing. A context manager."""

    def __enter__(self) -> View:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def show(self, raw: bytes, line: Line) -> None:
        """One line of the daemon: as it came, and decoded."""

    def close(self) -> None:
        """The build is over."""


class RawView(View):
    """The daemon's lines."""

    def show(self, raw: bytes, line: Line) -> None:
        write(STDERR, raw + b"\n")


def say(text: str) -> None:
    """A line on standard error."""
    write(STDERR, f"{text}\n".encode("utf-8", "backslashreplace"))


def warning(line: Line) -> bool:
    """Say a warning of the checks, if the line is one."""
    found = line.get("warning")
    if not isinstance(found, dict):
        return False
    where = found.get("where", "")
    text = f"{found.get('rule', '')}: {found.get('message', '')}"
    warn(harmless(f"{text} ({where})" if where else text))
    for row in str(found.get("excerpt", "")).splitlines():
        say(f"  {harmless(row)}")
    return True


class PlainView(View):
    """A log: each line begins with its step's number."""

    def __init__(self) -> None:
        self._half: dict[int, str] = {}

    def show(self, raw: bytes, line: Line) -> None:
        if warning(line) or "step" not in line:
            return
        number = int(line["step"])
        if "name" in line:
            say(f"#{number} {harmless(str(line['name']))}")
        elif "log" in line:
            self._log(number, str(line["log"]))
        elif "explain" in line:
            say(f"#{number} ran because {harmless(str(line['explain']))}")
        else:
            self._end(number)
            told = _status(line)
            if told:
                say(f"#{number} {told}")

    def _log(self, number: int, text: str) -> None:
        *lines, rest = (self._half.pop(number, "") + text).split("\n")
        for one in lines:
            say(f"#{number} {harmless(last_form(one))}")
        if rest:
            self._half[number] = rest[-65536:]

    def _end(self, number: int) -> None:
        if rest := self._half.pop(number, ""):
            say(f"#{number} {harmless(last_form(rest))}")


def last_form(line: str) -> str:
    """A line as it looks in the end: what a carriage return has overwritten is gone."""
    return line.rstrip("\r").rpartition("\r")[2]


def _status(line: Line) -> str:
    status = line.get("status", "")
    if status == "cached":
        return "CACHED"
    if status == "done":
        return f"DONE {float(line.get('seconds', 0)):.1f}s"
    if status == "failed":
        return f"ERROR: {harmless(str(line.get('error', '')))}"
    return ""


def view_for(form: str) -> View:
    """The view of a ``--progress`` value; ``auto``: by what standard error is."""
    if form == "quiet":
        return View()
    if form == "rawjson":
        return RawView()
    if form == "tty" or (
        form == "auto" and posix.isatty(STDERR) and posix.environ.get(b"TERM") != b"dumb"
    ):
        from wirt.cli.buildlive import LiveView

        return LiveView()
    return PlainView()
