"""An instance whose guests share a small pool of memory, and what the kernel says of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from live import Live
from needs import require
from wirt.linux.cgroup import Cgroups, Mode

MIB = 2**20
POOL = 256 * MIB
HOLD = (
    'exec awk \'BEGIN { c = sprintf("%%1048000s", ""); for (i = 0; i < %d; i++) a[i] = c i; '
    'while (1) system("sleep 1000") }\''
)
"""So many MiB that a process of the guest's touches itself: such touches can be made to wait."""


CACHE = "dd if=/dev/zero of=/f bs=1M count=%d 2>/dev/null; exec sleep 1000"
"""So many MiB of a file in its cache: only such guests are held to limits that are hard."""


def serving(mib: int, tell: str) -> str:
    """Answers requests out of so many MiB, one after the other, and tells of each by ``tell``, a
    shell command with its number in ``$i``. A request that is lost ends it."""
    return rf"""
mkfifo /asked /answers
awk 'BEGIN {{
  c = sprintf("%1048000s", ""); for (i = 0; i < {mib}; i++) a[i] = c i
  while ((getline n < "/asked") > 0) {{ s = substr(a[n % {mib}], 1000000, 1); print n s; fflush() }}
}}' > /answers &
exec 3<>/asked 4<>/answers
i=0
while :; do
  i=$((i + 1)); echo $i >&3
  if read -t 20 got <&4 && [ $got = $i ]; then {tell}
  else echo lost $i; exit 1; fi
done
"""


SERVE = serving(150, "[ $((i % 100)) != 0 ] || echo served $i")
"""Tells of each hundredth."""
FORKS = "f() { f | f & }; f & "
"""A process that becomes as many as it may."""


@contextmanager
def pool(live: Live, directory: Path, *, tick: float = 0.2, **more: Any) -> Iterator[None]:
    policy = directory / "policy.toml"
    lines = [f"{key} = {value}" for key, value in more.items()]
    policy.write_text("\n".join([f"tick = {tick}", *lines, "[pool]", "memory = '256m'", ""]))
    live.wirt("governor", "policy", "set", str(policy))
    try:
        yield
    finally:
        live.wirt("rm", "-f", *live.wirt("ps", "-aq").stdout.split(), code=None)
        live.wirt("governor", "policy", "unset")


def only_version_1(marks: Iterable[pytest.MarkDecorator], why: str) -> None:
    """What these marks need has to be there, and version 1 of control groups, else tests are
    skipped, and say ``why``."""
    for mark in marks:
        if mark.name == "needs":
            require(*mark.args)
    if Cgroups.detect().mode is Mode.V2:
        pytest.skip(why)


class Groups:
    """What the kernel says of a guest, asked past wirt."""

    def __init__(self, live: Live, guest_id: str) -> None:
        found = Cgroups.detect().directory("memory", f"/{live.instance.name}/{guest_id}")
        assert found is not None
        self._place = found
        self.id = guest_id

    @property
    def ended(self) -> bool:
        return not self._place.exists()

    @property
    def limit(self) -> int:
        return int((self._place / "memory.limit_in_bytes").read_text())

    @property
    def use(self) -> int:
        return int((self._place / "memory.usage_in_bytes").read_text())

    def oom(self, key: str) -> int:
        words = (self._place / "memory.oom_control").read_text().split()
        return int(words[words.index(key) + 1])


def start(live: Live, name: str, *flags: str, does: str = "sleep 1000") -> Groups:
    made = live.wirt("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", does)
    return Groups(live, made.stdout.strip())


def status(live: Live) -> dict[str, Any]:
    found = json.loads(live.wirt("governor", "status", "--json").stdout)
    assert isinstance(found, dict)
    return found


def changes(live: Live, guest: str) -> list[dict[str, Any]]:
    found = live.ask("GET", f"/v1/governor/changes/{guest}")[1]
    assert isinstance(found, list)
    return found


def served(live: Live) -> int:
    """Requests that the guest ``server``, which does :data:`SERVE`, has answered so far."""
    words = live.wirt("logs", "--tail", "1", "server").stdout.split()
    assert words[:1] in ([], ["served"]), words
    return int(words[1]) if words else 0


def pace(live: Live, seconds: float) -> float:
    """Requests a second."""
    first, began = served(live), time.monotonic()
    time.sleep(seconds)
    return (served(live) - first) / (time.monotonic() - began)
