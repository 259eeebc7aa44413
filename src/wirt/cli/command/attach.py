"""``wirt attach``: join a running guest's streams."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.guestflags import DETACH_KEYS, SIG_PROXY
from wirt.cli.stream import Streams, attended, state_of
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Attach standard input, output and error to a running guest."""
    told = call.daemon.call("GET", f"/v1/guests/{quote(call.args[0])}")
    state = state_of(told)
    asleep = state == "paused" and bool(told["status"].get("idle_since"))
    if state not in {"running", "restarting"} and not asleep:
        from wirt.errors import Conflict

        raise Conflict(
            f"the guest {call.args[0]} is {state}, not running",
            hint="'wirt unpause' it first"
            if state == "paused"
            else "start it with 'wirt start -ai'",
        )
    spec = told["spec"]
    streams = Streams(
        tty=bool(spec.get("tty")),
        stdin=not call.on("no-stdin") and bool(spec.get("stdin_open")),
        keys=call.text("detach-keys"),
    )
    streams.check()
    return attended(
        call.daemon,
        str(told["id"]),
        streams,
        condition="not-running",
        proxy=not call.given("sig-proxy") or call.on("sig-proxy"),
        start=False,
    )


COMMAND = Command(
    "attach",
    summary="Attach standard input, output and error to a running guest",
    arguments="GUEST",
    takes=(1, 1),
    flags=(
        DETACH_KEYS,
        Flag("no-stdin", kind="bool", help="Do not attach standard input"),
        SIG_PROXY,
    ),
    run=run,
)
