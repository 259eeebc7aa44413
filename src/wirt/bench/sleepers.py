"""Guests that have nothing to do and are paused, of which one an hour is asked for something."""

from __future__ import annotations

import socket
import statistics
import time
from dataclasses import dataclass
from typing import Any

from wirt.bench.fleet import LOOK, pause, remove
from wirt.client.daemon import Daemon
from wirt.client.wire import quote, target
from wirt.errors import Timeout

AFTER = 10**9
"""Nanoseconds for which they are idle before they are paused."""
PATIENCE = 120.0
_PORT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Naps:
    """``guests``: how many sleep. ``calls``: how often one was sent a datagram while it slept,
    ``woken``: how often it woke by that. ``median``, ``worst``: microseconds from the arrival of
    the frame until the guest went on."""

    guests: int
    calls: int
    woken: int
    median: float
    worst: float


class Sleepers:
    """Makes them, calls them, tells how long it took. Use it as a context manager."""

    def __init__(self, daemon: Daemon, image: str, count: int) -> None:
        self._daemon = daemon
        self._image = image
        self._count = count
        self._addresses: dict[str, str] = {}
        self._calls = 0

    def __enter__(self) -> Sleepers:
        try:
            for number in range(self._count):
                self._make(f"sleeper{number}")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def wait(self) -> None:
        """Until all of them sleep. Raises Timeout."""
        deadline = time.monotonic() + PATIENCE
        while not all(map(self._sleeps, self._addresses)):
            if time.monotonic() > deadline:
                raise Timeout(
                    f"idle guests were not paused within {PATIENCE:.0f} s",
                    hint="'wirt top' shows what they do",
                )
            pause(LOOK)

    def call(self, number: int) -> None:
        """Send a datagram to one of them that sleeps."""
        guest, address = list(self._addresses.items())[number % len(self._addresses)]
        if not self._sleeps(guest):
            return
        self._calls += 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"wake", (address, _PORT))

    def naps(self) -> Naps:
        """How long it took, as the governor's journal has it."""
        took: list[float] = []
        for guest in self._addresses:
            changes = self._daemon.call("GET", f"/v1/governor/changes/{quote(guest)}")
            took += [
                one["inputs"]["woken_after_us"]
                for one in changes
                if one["reason"] == "traffic" and "woken_after_us" in one["inputs"]
            ]
        return Naps(
            guests=len(self._addresses), calls=self._calls, woken=len(took),
            median=statistics.median(took) if took else 0.0, worst=max(took, default=0.0),
        )  # fmt: skip

    def _make(self, name: str) -> None:
        spec: dict[str, Any] = {
            "image": self._image, "command": ["run", "day=3600", "wait=1", "rate=0=0"],
            "idle": {"action": "pause", "after": AFTER},
        }  # fmt: skip
        made = self._daemon.call("POST", target("/v1/guests", [("name", name)]), spec)
        guest = str(made["id"])
        self._addresses[guest] = ""
        self._daemon.request("POST", f"/v1/guests/{quote(guest)}/start").read()
        about = self._daemon.call("GET", f"/v1/guests/{quote(guest)}")
        self._addresses[guest] = str(about["endpoints"][0]["address"])

    def _sleeps(self, guest: str) -> bool:
        status = self._daemon.call("GET", f"/v1/guests/{quote(guest)}")["status"]
        return status["state"] == "paused" and bool(status.get("idle_since"))

    def _remove(self) -> None:
        for guest in self._addresses:
            remove(self._daemon, guest)
        self._addresses.clear()


def told(naps: Naps) -> str:
    """For people, in one line."""
    return (
        f"{naps.guests} guests slept; {naps.woken} of {naps.calls} calls woke one, after "
        f"{naps.median / 1000:.2f} ms (median), {naps.worst / 1000:.2f} ms at worst"
    )
