"""``wirt exec``: a further process in a running guest."""

from __future__ import annotations

from wirt.cli.creation import check_text
from wirt.cli.flags import Call, Command, Flag
from wirt.cli.guestflags import DETACH_KEYS
from wirt.cli.output import out
from wirt.cli.spec import environment
from wirt.cli.stream import Streams, executed, terminal_fd
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Run a command in a running guest; the exit code is the command's."""
    guest, *command = call.args
    streams = Streams(
        tty=call.on("tty"), stdin=call.on("interactive"), keys=call.text("detach-keys")
    )
    if not call.on("detach"):
        streams.check()
    spec: dict[str, object] = {"command": command}
    parts = {
        "env": environment(call.many("env-file"), call.many("env")),
        "user": call.text("user"),
        "working_dir": call.text("workdir"),
        "tty": streams.tty,
        "stdin": streams.stdin and not call.on("detach"),
        "privileged": call.on("privileged"),
        "detach_keys": streams.keys,
    }
    spec.update((name, value) for name, value in parts.items() if value)
    fd = terminal_fd() if streams.tty else None
    if fd is not None:
        from wirt.cli.terminal import size

        spec["rows"], spec["columns"] = size(fd)
    check_text(spec)
    made = call.daemon.call("POST", f"/v1/guests/{quote(guest)}/exec", spec)
    path = f"/v1/exec/{quote(str(made['id']))}"
    if call.on("detach"):
        call.daemon.call("POST", target(f"{path}/start", [("detach", True)]))
        out(f"{made['id']}\n")
        return 0
    return executed(call.daemon, path, streams)


COMMAND = Command(
    "exec",
    summary="Run a command in a running guest",
    arguments="GUEST COMMAND [ARG...]",
    takes=(2, None),
    flags=(
        Flag("detach", "d", kind="bool", help="Run in the background"),
        DETACH_KEYS,
        Flag("env", "e", kind="list", value="NAME[=VALUE]", help="Set an environment variable"),
        Flag("env-file", kind="list", value="FILE", help="Read environment variables from a file"),
        Flag("interactive", "i", kind="bool", help="Keep standard input open"),
        Flag("privileged", kind="bool", help="Give the command all capabilities the host allows"),
        Flag("tty", "t", kind="bool", help="Give the command a terminal"),
        Flag("user", "u", value="USER[:GROUP]", help="User and group, names or numbers"),
        Flag("workdir", "w", value="PATH", help="Working directory inside the guest"),
    ),
    greedy=True,
    run=run,
)
