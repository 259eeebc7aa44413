"""The processes of a guest as ``ps`` shows them, for ``top``: titles, and rows of its own pids."""

from __future__ import annotations

from collections.abc import Collection

from wirt.errors import Invalid
from wirt.linux import spawn

Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


async def listing(pids: Collection[int], ps_args: str) -> Table:
    """Run ``ps`` on the host with docker's ``ps_args`` (``-ef`` when empty), rows of ``pids`` only.

    Raises Invalid when ps does not take the arguments or shows no column PID.
    """
    words = ps_args.split() or ["-ef"]
    if "\0" in ps_args or len(ps_args) > 4096:
        raise Invalid("invalid arguments for ps", hint="write options of ps(1), as aux")
    wanted = ",".join(map(str, sorted(pids))) or "0"
    done = await spawn.run(("ps", *words, "-q", wanted), ok=None)
    if done.code != 0 and not done.stdout:
        # Some options (as f) cannot be combined with -q.
        done = await spawn.run(("ps", *words), ok=None)
    if done.code != 0 and not done.stdout.strip():
        raise Invalid(
            f"ps {ps_args[:100]} failed: {done.complaint.split(' | ')[0] or 'no message'}",
            hint="write options of ps(1), as -ef or aux",
        )
    return parse(done.text, frozenset(pids))


def parse(text: str, pids: Collection[int]) -> Table:
    """Titles and the rows whose PID is one of ``pids``; the last column may hold spaces."""
    lines = text.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise Invalid(
            "ps shows no column PID with these arguments", hint="add pid to the list after -o"
        )
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > column and fields[column].isdecimal() and int(fields[column]) in pids:
            rows.append(tuple(fields))
    return titles, tuple(rows)
