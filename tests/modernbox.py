"""A host inside with version 2 of control groups, whose guests share a pool of memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from hostbox import NAME, Hostbox
from waiting import until

MIB = 2**20
POOL = 128 * MIB
TOP = f"/sys/fs/cgroup/{NAME}"
NONE = 2**62
PATIENCE = 120.0


@contextmanager
def governed(
    box: Hostbox, *, tick: float = 0.5, memory: str | None = "128m", disk: str | None = None
) -> Iterator[None]:
    """A policy of the governor's; afterwards it is unset, and no guest is left."""
    set_policy(box, tick=tick, memory=memory, disk=disk)
    try:
        yield
    finally:
        until(lambda: box.wirt("ps", "-aq", code=None).returncode == 0, "it answers", PATIENCE)
        if names := box.wirt("ps", "-aq").stdout.split():
            box.wirt("rm", "-f", *names, code=None)
        box.wirt("governor", "policy", "unset")
    left = box.sh(f"cd {TOP}; cat memory.max memory.min memory.low").stdout.split()
    assert left == ["max", "0", "0"], "who is gone needs nothing"


def set_policy(box: Hostbox, *, tick: float, memory: str | None, disk: str | None = None) -> None:
    given = {"memory": memory, "disk": disk}
    pool = [f"{name} = '{value}'\n" for name, value in given.items() if value is not None]
    box.sh("cat > /policy.toml", feed=f"tick = {tick}\n[pool]\n{''.join(pool)}")
    box.wirt("governor", "policy", "set", "/policy.toml")


class Guest:
    """A running container inside, asked past wirt."""

    def __init__(self, box: Hostbox, name: str, *flags: str, does: str) -> None:
        words = ["run", "-d", "--name", name, *flags, "busybox", "sh", "-c", does]
        self.id = box.wirt(*words).stdout.strip()
        self.name = name
        self._box = box

    def figure(self, name: str) -> int:
        """Bytes of a file of its group's."""
        text = self._box.group(self.id, f"memory.{name}")
        return NONE if text == "max" else int(text)

    @property
    def holds(self) -> int:
        return self.figure("current")

    @property
    def high(self) -> int:
        return self.figure("high")

    @property
    def low(self) -> int:
        return self.figure("low")

    def spared_by_kills(self) -> bool:
        return "oom_kill 0" in self._box.group(self.id, "memory.events")

    def reasons(self) -> set[str]:
        """Why the governor did something to it."""
        lines = self._box.wirt("why", self.name, "--json").stdout.splitlines()
        return {json.loads(line)["reason"] for line in lines}


def above(box: Hostbox, name: str) -> int:
    """Bytes of a file of the group above all guests."""
    return int(box.sh(f"cat {TOP}/memory.{name}").stdout)


def together(box: Hostbox, *guests: Guest) -> int:
    """Bytes of what guests may hold, all read at once."""
    files = " ".join(f"{TOP}/{guest.id}/memory.high" for guest in guests)
    return sum(
        NONE if text == "max" else int(text) for text in box.sh(f"cat {files}").stdout.split()
    )
