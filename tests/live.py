"""A whole wirt for tests: helper and daemon with a name of its own, in a network of its own.

Its bridges, rules and mounts live in private namespaces, so the host's network is never touched;
the sockets are reachable from outside, since ``/run`` is shared.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import instance as local
from waiting import until

ROOT = Path(__file__).resolve().parent.parent


class Live:
    """A running instance: ask it over its socket, use the client, kill its parts."""

    def __init__(self, instance: local.Instance) -> None:
        self.instance = instance
        """Its ``enter`` are the words that bring a command into the instance's namespaces."""

    @property
    def socket(self) -> Path:
        return self.instance.socket

    def wirt(
        self, *words: str, code: int | None = 0, feed: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the client as a user would. ``code``: the exit code to insist on; None: any."""
        done = subprocess.run(
            [ROOT / "bin" / "wirt", *words],
            env={**os.environ, "WIRT_HOST": f"unix://{self.socket}"},
            stdin=subprocess.DEVNULL if feed is None else None,
            input=feed,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"wirt {' '.join(words)}: exit code {done.returncode}, not {code}\n"
                f"{done.stdout}{done.stderr}\n{self.log()}"
            )
        return done

    def pipe(self, *words: str, feed: bytes = b"", timeout: float = 60) -> bytes:
        """Run the client with these bytes as its input; its output. It must end with 0."""
        return subprocess.run(
            [ROOT / "bin" / "wirt", *words],
            env={**os.environ, "WIRT_HOST": f"unix://{self.socket}"},
            input=feed,
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=True,
        ).stdout

    def ask(self, verb: str, target: str, *, timeout: float = 30) -> tuple[int, Any]:
        """One API request without a body: status, and the decoded JSON (None when empty)."""
        status, body = local.request(self.socket, verb, target, timeout=timeout)
        return status, json.loads(body) if body else None

    def inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the instance's network and mount namespaces."""
        return subprocess.run(
            [*self.instance.enter, *argv], capture_output=True, text=True, check=False, timeout=60
        )

    def pid(self, role: str) -> int:
        """The pid of ``local.SUPERVISOR``, ``HELPER`` or ``DAEMON``."""
        found: list[int] = []

        def alone() -> bool:
            pids = {p for p, has in local.processes(self.instance).items() if has == role}
            # a child that the helper has forked for slow work has the same command line
            found[:] = [pid for pid in pids if _parent(pid) not in pids]
            return len(found) == 1

        until(alone, f"one {role} runs")
        return found[0]

    def kill(self, role: str) -> None:
        """``kill -9`` a part; the loop starts it again."""
        os.kill(self.pid(role), signal.SIGKILL)

    def log(self) -> str:
        """The last lines that helper and daemon wrote."""
        return local.tail(self.instance, 0)


def _parent(pid: int) -> int | None:
    """The parent of a process; None when there is no such process any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


OWN_INTERFACES = (
    "mount -t sysfs none /mnt; "
    "for place in devices/virtual/net class/net; do mount --bind /mnt/$place /sys/$place; done; "
    "umount -l /mnt"
)
"""A sysfs shows the interfaces of the namespace in which it was mounted."""


@contextmanager
def apart(prepare: str = "true") -> Iterator[tuple[str, ...]]:
    """Fresh network and mount namespaces with a loopback; words that bring a command into them.

    ``prepare``: a shell command that changes the mounts there; the host's stay as they are.
    """
    ready = f"set -e; ip link set lo up; {OWN_INTERFACES}; {prepare}; echo; exec sleep infinity"
    with subprocess.Popen(
        ["unshare", "-n", "-m", "--propagation", "slave", "sh", "-c", ready],
        stdout=subprocess.PIPE,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n", "no namespaces"
            yield ("nsenter", "-t", str(holder.pid), "-n", "-m", "--")
        finally:
            holder.kill()


@contextmanager
def running(name: str, *, prepare: str = "true") -> Iterator[Live]:
    """A fresh instance with the busybox image, gone without a trace afterwards.

    ``prepare``: see :func:`apart`.
    """
    state = Path("/var/tmp") / name
    with apart(prepare) as enter:
        wish = local.Instance(
            name=name, state=state, run=Path("/run") / name, user="wirt", enter=enter
        )
        instance = local.readable(wish)
        try:
            local.up(instance)
            local.images(instance, "busybox:latest")
            yield Live(instance)
        finally:
            local.down(instance)
            shutil.rmtree(state, ignore_errors=True)


@contextmanager
def faulted(name: str) -> Iterator[tuple[Live, Path]]:
    """As :func:`running`, with a file that orders the instance's next fault (see
    :mod:`wirt.privileged.faults`) and is empty when it was reached."""
    order = Path(f"/var/tmp/{name}.fault")
    order.write_text("")
    order.chmod(0o666)
    os.environ["WIRT_FAULT_FILE"] = str(order)
    try:
        with running(name) as live:
            yield live, order
    finally:
        del os.environ["WIRT_FAULT_FILE"]
        order.unlink()
