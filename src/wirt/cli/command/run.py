"""``wirt run``: create, attach, wait, start; in the background: create, start."""

from __future__ import annotations

from wirt.cli.creation import abandon, create, run_streams
from wirt.cli.flags import Call, Command
from wirt.cli.guestflags import DETACH, DETACH_KEYS, GUEST_FLAGS, SIG_PROXY
from wirt.cli.output import out
from wirt.cli.stream import attended
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Run a command in a new guest; the exit code is the command's."""
    detached = call.on("detach")
    streams = run_streams(call)
    guest = create(call, attached=not detached)
    try:
        if detached:
            call.daemon.call("POST", f"/v1/guests/{quote(guest)}/start")
            out(f"{guest}\n")
            return 0
        return attended(
            call.daemon,
            guest,
            streams,
            condition="removed" if call.on("rm") else "next-exit",
            proxy=not call.given("sig-proxy") or call.on("sig-proxy"),
            start=True,
        )
    except Exception as error:
        if call.on("rm"):
            abandon(call.daemon, guest, error)
        raise


COMMAND = Command(
    "run",
    summary="Create a guest from an image and run a command in it",
    arguments="IMAGE [COMMAND] [ARG...]",
    takes=(1, None),
    flags=(*GUEST_FLAGS, DETACH, DETACH_KEYS, SIG_PROXY),
    greedy=True,
    run=run,
)
