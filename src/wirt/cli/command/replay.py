"""``wirt replay``: a recorded day under another policy or on a smaller host, offline."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import out, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wirt.governor.replay import Outcome


def run(call: Call) -> int:
    """Decide the trace again and print the difference."""
    from dataclasses import replace

    from wirt.cli import replayed, rules
    from wirt.cli.recording import read_trace
    from wirt.governor.replay import Rules, replay

    chosen, idle = rules.read(call.text("policy")) if call.given("policy") else (Rules(), [])
    if call.given("host"):
        capacity = {**chosen.capacity, **rules.host(call.text("host"))}
        chosen = replace(chosen, capacity=capacity)
    if idle:
        warn(f"not replayed: {', '.join(idle)}; what was seen, and when, is as recorded")
    outcome = replay(read_trace(call.args[0], lead=True), chosen)
    if not outcome.ticks:
        raise misuse(
            f"{call.args[0]}: there is no tick in it, so nothing to decide again",
            hint="record while guests run: 'wirt governor record --for 1h -o FILE'",
        )
    _all_known(chosen.claims, outcome, call.args[0])
    out(replayed.json_of(outcome) if call.on("json") else replayed.table(outcome))
    return 0


def _all_known(claims: Iterable[str], outcome: Outcome, name: str) -> None:
    """Raise NotFound when the policy promises something to a guest that was never there."""
    from wirt.errors import NotFound

    names = sorted({label.name for label in outcome.labels.values()})
    for guest in claims:
        if guest not in outcome.labels and guest not in names:
            raise NotFound(
                f"guests.{guest[:80]} of the policy: there is no such guest in {name}",
                hint=f"there are {', '.join(names[:20])}" if names else "nobody is in it",
            )


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
