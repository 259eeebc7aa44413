"""``wirt guest ...`` (and ``wirt container ...``): the guest verbs under their noun."""

from __future__ import annotations

from wirt.cli.flags import Group

VERBS = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs",
    "pause", "port", "ps", "rename", "restart", "rm", "run", "start", "stats", "stop", "top",
    "unpause", "update", "wait",
)  # fmt: skip

COMMAND = Group(
    "guest",
    summary="Guests",
    verbs={"ls": "ps", **{verb: verb for verb in VERBS}},
)
