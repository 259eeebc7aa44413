"""What ends an instance in the kernel: asking its helper, and doing without it. Standard library
only, as :mod:`instance`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance import Instance


class Trouble(Exception):
    """What went wrong, in one sentence, and what would help."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def sweep(instance: Instance) -> None:
    """Let the helper undo what is left of guests and networks, then remove what held them.

    The state stays: everything that lies in the state directory is named as in use.
    """

    def names(directory: str, prefix: str = "") -> list[str]:
        path = instance.state / directory
        found = [entry.name.partition(".")[0] for entry in path.iterdir()] if path.is_dir() else []
        return [prefix + name for name in found if name]

    kept = {
        "guests": names("guests"),
        "volumes": names("volumes"),
        "layers": names("layers", "sha256:"),
        "images": names("disks", "sha256:"),
    }
    ask_helper(instance, {"verb": "sweep", "running": [], **kept})
    ask_helper(instance, {"verb": "set-networks", "bridges": []})
    ask_helper(instance, {"verb": "set-swap", "size": 0})  # the next start makes it again


def remove_roots(instance: Instance) -> None:
    """End what is still in the instance's cgroups, then remove these, and its nft table."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    groups = [Path(group) for root in roots for group, _, _ in os.walk(root / instance.name)]
    _thaw(groups)
    deadline = time.monotonic() + 5
    while (left := _members(groups)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for group in reversed(groups):
        with contextlib.suppress(OSError):
            group.rmdir()
    subprocess.run(
        [*instance.enter, "nft", "delete", "table", "inet", instance.name],
        capture_output=True,
        check=False,
    )


def _thaw(groups: Sequence[Path]) -> None:
    """With version 1 nobody dies who is frozen."""
    for group in groups:
        for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                (group / name).write_text(text)


def _members(groups: Sequence[Path]) -> set[int]:
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    return found


def ask_helper(instance: Instance, message: dict[str, object]) -> dict[str, object]:
    """One request to the helper: ``u32 length, u32 id, JSON`` both ways."""
    body = json.dumps(message).encode()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(60)
        link.connect(str(instance.run / "helper.sock"))
        link.sendall(struct.pack(">II", len(body), 1) + body)
        with link.makefile("rb") as stream:
            length, _ = struct.unpack(">II", stream.read(8))
            answer = json.loads(stream.read(length))
    if failure := answer.get("failure"):
        raise Trouble(
            f"the helper: {failure['message']}", hint=failure.get("hint") or "see its log"
        )
    return dict(answer["answer"])


def helper_answers(instance: Instance) -> bool:
    """Whether the helper answers."""
    try:
        ask_helper(instance, {"verb": "ping"})
    except (OSError, struct.error):  # not yet, or the one before it has just ended
        return False
    return True
