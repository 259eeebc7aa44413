"""``wirt start``."""

from __future__ import annotations

from wirt.cli.each import tell_each
from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.guestflags import DETACH_KEYS, SIG_PROXY
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Start guests that were created or have ended."""
    if not (call.on("attach") or call.on("interactive")):
        return tell_each(call, "start")
    if len(call.args) > 1:
        raise misuse("only one guest can be attached", hint="start the others without -a and -i")
    from wirt.cli.stream import Streams, attended

    told = call.daemon.call("GET", f"/v1/guests/{quote(call.args[0])}")
    spec = told["spec"]
    streams = Streams(
        tty=bool(spec.get("tty")),
        stdin=call.on("interactive") and bool(spec.get("stdin_open")),
        keys=call.text("detach-keys"),
    )
    streams.check()
    return attended(
        call.daemon,
        str(told["id"]),
        streams,
        condition="removed" if spec.get("remove_on_exit") else "next-exit",
        proxy=not call.given("sig-proxy") or call.on("sig-proxy"),
        start=True,
    )


COMMAND = Command(
    "start",
    summary="Start guests that were created or have ended",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(
        Flag(
            "attach", "a", kind="bool", help="Attach to output, pass signals on, exit as the guest"
        ),
        Flag("interactive", "i", kind="bool", help="Attach standard input too"),
        DETACH_KEYS,
        SIG_PROXY,
    ),
    run=run,
)
