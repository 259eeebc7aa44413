"""``wirt update``."""

from __future__ import annotations

from wirt.cli.claimflags import OF_GUESTS
from wirt.cli.each import each
from wirt.cli.flags import Call, Command, misuse
from wirt.cli.guestflags import GUEST_FLAGS
from wirt.cli.output import warn
from wirt.cli.spec import idle, resources, restart
from wirt.client.wire import quote

CHANGEABLE = frozenset({
    *(flag.name for flag in OF_GUESTS), "cpus", "cpuset-cpus", "memory", "memory-swap",
    "pids-limit", "restart",
})  # fmt: skip


def run(call: Call) -> int:
    """Change limits, group and restart policy of guests, running or not."""
    body: dict[str, object] = {"resources": resources(call)}
    if call.given("restart"):
        body["restart"] = restart(call.text("restart"), removes=False) or {"name": "no"}
    if call.given("group"):
        body["group"] = call.text("group")
    if call.given("class"):
        body["guest_class"] = call.text("class")
    if call.given("oom-rank"):
        body["oom_rank"] = call.number("oom-rank")
    if wish := idle(call):
        body["idle"] = wish
    if body == {"resources": {}}:
        raise misuse("nothing to change", hint="see 'wirt update --help' for what can be changed")

    def update(name: str) -> None:
        told = call.daemon.call("POST", f"/v1/guests/{quote(name)}/update", body)
        for warning in told.get("warnings") or ():
            warn(str(warning))

    return each(call, update)


COMMAND = Command(
    "update",
    summary="Change limits, group and restart policy of guests",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=tuple(flag for flag in GUEST_FLAGS if flag.name in CHANGEABLE),
    run=run,
)
