#!/usr/bin/env python3
"""The loop that keeps one instance's helper and daemon running; ``instance.py up`` starts it.

It knows nothing of guests and may itself be killed at any moment.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

from instance import Instance

BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next start of something that ended by itself; the last one repeats."""
STEADY = 10.0
"""Seconds after which a process counts as started well, so that the back-off begins anew."""


class Loop:
    """Keeps the helper and the daemon running until SIGTERM."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._due = {"wirt.privileged": 0.0, "wirt.daemon": 0.0}

    def run(self) -> None:
        """Return after SIGTERM or SIGINT, with both processes killed."""
        signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        while True:
            self._start_what_is_due()
            wait = min((due - time.monotonic() for due in self._due.values()), default=3600.0)
            heard = signal.sigtimedwait(signals, max(wait, 0.0))
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                break
            self._note_what_ended()
        for role in ("wirt.daemon", "wirt.privileged"):
            if role in self._running:
                self._running[role].kill()
                self._running[role].wait()

    def _start_what_is_due(self) -> None:
        for role, due in tuple(self._due.items()):
            if due > time.monotonic():
                continue
            del self._due[role]
            self._since[role] = time.monotonic()
            environment = {name: text for name, text in os.environ.items() if name[:5] == "WIRT_"}
            environment["PATH"] = os.environ["PATH"] + ":/usr/sbin:/sbin"
            environment["LC_ALL"] = "C.UTF-8"
            self._running[role] = subprocess.Popen(
                self._instance.argv(role),
                cwd="/",
                env=environment,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
            )

    def _note_what_ended(self) -> None:
        for role, process in tuple(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[role]
            steady = time.monotonic() - self._since[role] > STEADY
            failures = 0 if steady else self._failures.get(role, 0)
            pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
            self._failures[role] = failures + 1
            self._due[role] = time.monotonic() + pause
            print(f"{role} ended ({process.returncode}), again in {pause} s", flush=True)


def main() -> None:
    """Be the loop. Only one per instance: the lock in the state directory says so."""
    parser = argparse.ArgumentParser(description="keep one wirt running")
    parser.add_argument("--name", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--user", required=True)
    instance = Instance(**vars(parser.parse_args()))
    lock = os.open(instance.state / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    Loop(instance).run()


if __name__ == "__main__":
    main()
