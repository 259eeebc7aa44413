"""``wirt replay``: a recorded day under another policy or on a smaller host, offline."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import out, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wirt.governor.trace import Record


def run(call: Call) -> int:
    """Decide the trace again and print the difference."""
    from dataclasses import replace

    from wirt.cli import replayed, rules
    from wirt.cli.recording import file_lines
    from wirt.governor.replay import Rules, replay
    from wirt.governor.trace import decode

    chosen, idle = rules.read(call.text("policy")) if call.given("policy") else (Rules(), [])
    if call.given("host"):
        capacity = {**chosen.capacity, **rules.host(call.text("host"))}
        chosen = replace(chosen, capacity=capacity)
    if idle:
        warn(f"not replayed: {', '.join(idle)}; what was seen, and when, is as recorded")
    name = call.args[0]
    with open(0 if name == "-" else name, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
        outcome = replay(_named(decode(file_lines(file)), name), chosen)
    out(replayed.json_of(outcome) if call.on("json") else replayed.table(outcome))
    return 0


def _named(records: Iterator[Record], name: str) -> Iterator[Record]:
    """The records; what is wrong with one tells the file too."""
    from wirt.errors import Invalid

    try:
        yield from records
    except Invalid as error:
        raise Invalid(f"{name}: {error.message}", hint=error.hint, code=error.code) from error


COMMAND = Command(
    "replay",
    summary="Try a recorded day under another policy, without a daemon",
    arguments="TRACE",
    takes=(1, 1),
    flags=(
        Flag("policy", value="FILE", help="Policy in TOML; [guests.NAME.memory] changes claims"),
        Flag("host", value="SIZE", help="Another host for guests, as cpu=2,memory=4g"),
        Flag("json", kind="bool", help="All figures as JSON"),
    ),
    run=run,
)
