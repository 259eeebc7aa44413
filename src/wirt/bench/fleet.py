"""The guests of one day, through the API as any user would make them."""

from __future__ import annotations

import contextlib
import io
import json
import select
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wirt.bench.workload import CALIBRATION, CONTAINER, Service
from wirt.client.daemon import Daemon
from wirt.client.frames import Demultiplexer
from wirt.client.wire import quote, target
from wirt.errors import Conflict, Exhausted, NotFound, Timeout, Unavailable, Unsupported

IMAGE = "officeday:latest"
PROGRAM = "wirt-load"
_ROOM = 256 << 20
"""Bytes of a machine's disk beside its data."""
LOOK = 0.2
"""Seconds between two looks at guests that are waited for."""
_UNDIVIDED = frozenset({"governor.not-divided", "governor.capacity-unknown"})
_READY = {CONTAINER: 180.0}
_READY_MACHINE = 900.0
"""Seconds in which a guest has to be up with its data written; emulated machines are slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A guest to make: its service, its arguments, its resources as the API takes them."""

    service: Service
    words: tuple[str, ...]
    resources: Mapping[str, Any]


def archive(program: Path) -> bytes:
    """The image: the load generator and a place for its data, the same bytes each time."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("data", "tmp"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(place)
        content = program.read_bytes()
        file = tarfile.TarInfo(PROGRAM)
        file.size, file.mode = len(content), 0o755
        tar.addfile(file, io.BytesIO(content))
    return made.getvalue()


class Fleet:
    """Makes guests, starts their day together, collects what they tell."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.ids: dict[str, str] = {}
        """By service."""
        self.divides_disk = True
        """Whether shares of the disk could be asked for so far."""

    def bring_image(self, program: Path) -> None:
        """Give the instance the image that all guests are made of."""
        change = ("change", f'ENTRYPOINT ["/{PROGRAM}"]')
        where = target("/v1/images/import", [("reference", IMAGE), change])
        told = self._daemon.upload("POST", where, [archive(program)], kind="application/x-tar")
        told.read()

    def calibrate(self, kind: str) -> int:
        """Iterations of one request's work in a guest of that kind, alone on the host."""
        name = f"calibrate-{kind}"
        disk = 0 if kind == CONTAINER else 2 * _ROOM
        size = {} if kind == CONTAINER else {"memory": 2 * _ROOM}
        guest = self._make(name, kind, CALIBRATION, size, disk=disk)
        try:
            self._verb(guest, "start")
            self._until(lambda: not self.running(guest), _READY_MACHINE, f"{name} ends")
            return int(json.loads(self.log(guest))["iterations"])
        finally:
            remove(self._daemon, guest)

    def make(self, orders: Sequence[Order]) -> None:
        """Create every guest, start those whose work begins with the day, and wait until they have
        their data."""
        for order in orders:
            one = order.service
            disk = 0 if one.kind == CONTAINER else round(one.file * (1 << 20)) + _ROOM
            made = self._make(one.name, one.kind, order.words, order.resources, disk=disk)
            self.ids[one.name] = made
        early = [order.service for order in orders if not order.service.begins]
        for service in early:
            self._verb(self.ids[service.name], "start")
        ready = [self._prepared(service) for service in early]
        if not any(ready):
            name, guest = next(iter(self.ids.items()))
            raise Unavailable(
                f"every guest ended before the day began, {name} among them",
                hint=self.log(guest, errors=True)[-300:] or "it wrote nothing",
            )

    def _prepared(self, service: Service) -> bool:
        """Wait for it; False when it ended instead, as one may that gets too little memory."""
        guest = self.ids[service.name]

        def decided() -> bool:
            return "ready" in self.log(guest) or not self.running(guest)

        self._until(decided, _READY.get(service.kind, _READY_MACHINE), f"{service.name} is ready")
        return self.running(guest)

    def join(self, service: Service, begins: float) -> None:
        """Start a guest late; its work begins at a moment of the monotonic clock, or as soon as it
        can. One that the host has no room for has lost its day."""
        with contextlib.suppress(Exhausted):
            self._verb(self.ids[service.name], "start")
            self._prepared(service)
            pause_until(begins)
            self.begin(service)

    def begin(self, *services: Service) -> None:
        """Let the day begin, in all of these guests within some milliseconds."""
        for service in services:
            with contextlib.suppress(Conflict):  # it has ended already; its day is lost
                self._verb(self.ids[service.name], "kill", ("signal", "USR1"))

    def end(self, evening: float, patience: float) -> None:
        """Ask nothing until a moment of the monotonic clock, then wait until every guest has ended
        by itself, at most ``patience`` seconds more."""
        pause_until(evening)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(map(self.running, self.ids.values())):
            pause(LOOK)

    def logs(self) -> dict[str, str]:
        """What each service told."""
        return {name: self.log(guest) for name, guest in self.ids.items()}

    def remove(self) -> None:
        """Remove every guest, running or not."""
        for guest in self.ids.values():
            remove(self._daemon, guest)
        self.ids.clear()

    def accelerators(self) -> frozenset[str]:
        """How the guests' instructions run: ``kvm``, ``tcg``, or empty for containers."""
        return frozenset(str(self._status(one).get("accelerator", "")) for one in self.ids.values())

    def running(self, guest: str) -> bool:
        """Whether it has not ended yet."""
        return self._status(guest).get("state") in {"running", "paused", "restarting"}

    def _status(self, guest: str) -> dict[str, Any]:
        try:
            return dict(self._daemon.call("GET", f"/v1/guests/{quote(guest)}")["status"])
        except NotFound:
            return {}

    def log(self, guest: str, *, errors: bool = False) -> str:
        """What a guest wrote so far; ``errors``: to its standard error."""
        query = [("stdout", not errors), ("stderr", errors)]
        answer = self._daemon.request("GET", target(f"/v1/guests/{quote(guest)}/logs", query))
        frames = Demultiplexer()
        wanted = 2 if errors else 1
        parts = [
            data
            for chunk in answer.chunks()
            for stream, data in frames.feed(chunk)
            if stream == wanted
        ]
        return b"".join(parts).decode(errors="replace")

    def _make(
        self, name: str, kind: str, words: Sequence[str], resources: Mapping[str, Any], *, disk: int
    ) -> str:
        spec: dict[str, Any] = {
            "image": IMAGE, "isolation": kind, "command": list(words), "network_mode": "none",
            "resources": dict(resources),
        }  # fmt: skip
        if disk:
            spec["disk_size"] = disk
        where = target("/v1/guests", [("name", name)])
        try:
            return str(self._daemon.call("POST", where, spec)["id"])
        except Unsupported as error:
            if error.code not in _UNDIVIDED:
                raise
        self.divides_disk = False
        spec["resources"] = {k: v for k, v in resources.items() if not k.startswith("io_")}
        return str(self._daemon.call("POST", where, spec)["id"])

    def _verb(self, guest: str, verb: str, *query: tuple[str, str]) -> None:
        where = target(f"/v1/guests/{quote(guest)}/{verb}", query)
        self._daemon.request("POST", where).read()

    def _until(self, holds: Callable[[], bool], patience: float, what: str) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                raise Timeout(f"it took longer than {patience:.0f} s until {what}")
            pause(LOOK)


def remove(daemon: Daemon, guest: str) -> None:
    """Remove a guest with its volumes, running or not, if it is still there."""
    where = target(f"/v1/guests/{quote(guest)}", [("force", True), ("volumes", True)])
    with contextlib.suppress(NotFound):
        daemon.request("DELETE", where).read()


def pause_until(moment: float) -> None:
    """Let guests work undisturbed until a moment of the monotonic clock."""
    pause(max(moment - time.monotonic(), 0.0))


def pause(seconds: float) -> None:
    """Let guests work undisturbed for a moment."""
    select.select([], [], [], seconds)
