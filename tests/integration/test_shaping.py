"""Shaping of guests' traffic: iproute2 looks at it, and real bytes go through it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from needs import needs
from netlab import Box, isolated, plug
from wirt.errors import Conflict, Invalid
from wirt.layout import Layout
from wirt.privileged import links, netstate, shape
from wirt.privileged.netlink import Netlink
from wirt.privileged.netstate import Card, NetState
from wirt.privileged.protocol import LinkPlan, TrafficClass

root = needs("root", "netns")
A, B, SERVER = "a" * 64, "b" * 64, "c" * 64
MBIT = 1_000_000


class Lab:
    """A bridge with three guests, of which two are pumped from and to the third."""

    def __init__(self, base: Path) -> None:
        self.layout = Layout(name="wt", state=base / "s", run=base / "r")
        self.layout.net_run.mkdir(parents=True)
        with Netlink() as netlink:
            links.add_bridge(netlink, name="wt0", mac="02:42:0a:d2:00:01", mtu=1500, alias="x")
            links.set_link(netlink, name="wt0", up=True)
            links.add_address(netlink, interface="wt0", address="10.210.0.1/22")
        self.boxes = {guest: Box() for guest in (A, B, SERVER)}
        for number, (guest, box) in enumerate(self.boxes.items()):
            card = f"wtv{guest[:8]}"
            address = f"10.210.0.{10 + number}/22"
            plug(
                box, bridge="wt0", address=address, gateway="10.210.0.1", host=card,
                alias=self.layout.link_alias(guest),
            )  # fmt: skip
            run = self.layout.guest_run(guest)
            run.mkdir(parents=True)
            link = LinkPlan(bridge="wt0", address=address, mac="")
            netstate.write(run, NetState(cards=(Card(host=card, link=link),)))

    def shape(self, *classes: TrafficClass) -> None:
        shape.set_classes(self.layout, classes)

    def pump(self, sources: Iterable[str], *, down: bool, until: int) -> dict[str, int]:
        """Bytes that came through for each guest when one of them had ``until``, all at once."""
        done = threading.Event()
        flows = {guest: Flow(*self._pair(guest), down=down) for guest in sources}
        for flow in flows.values():
            flow.begin(done, until)
        assert done.wait(100)
        for flow in flows.values():
            flow.end()
        return {guest: flow.count for guest, flow in flows.items()}

    def _pair(self, guest: str) -> tuple[socket.socket, socket.socket]:
        """A connection from a guest to the server: its end and the server's."""
        with self.boxes[SERVER].inside():
            listener = socket.create_server(("", 0))
        with self.boxes[guest].inside():
            inner = socket.socket()
        with listener:
            inner.settimeout(30)
            listener.settimeout(30)
            inner.connect((self.boxes[SERVER].address, listener.getsockname()[1]))
            outer, _ = listener.accept()
        outer.settimeout(30)
        return inner, outer


class Flow:
    """One connection on which bytes go in one direction, as fast as they can."""

    def __init__(self, inner: socket.socket, outer: socket.socket, *, down: bool) -> None:
        self._source, self._sink = (outer, inner) if down else (inner, outer)
        self.count = 0

    def begin(self, done: threading.Event, until: int) -> None:
        """Go until ``done`` is set, which this one does when ``until`` bytes have come."""
        work = (lambda: self._send(done)), (lambda: self._receive(done, until))
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for stream in (self._source, self._sink):
            with suppress(OSError):  # the other end may have gone first
                stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._source.close()
        self._sink.close()

    def _send(self, done: threading.Event) -> None:
        with suppress(OSError):
            while not done.is_set():
                self._source.send(bytes(65_536))

    def _receive(self, done: threading.Event, until: int) -> None:
        while not done.is_set() and (data := self._sink.recv(65_536)):
            self.count += len(data)
            if self.count >= until:
                done.set()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


def guest(of: str, **figures: Any) -> TrafficClass:
    return TrafficClass(name=f"guest:{of}", **figures)


def tc(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["tc", "-j", *words], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def classes(device: str) -> list[tuple[str, str]]:
    """Parent (``root`` at the top) and ceiling (``8Mbit``) of each class."""
    words = ["tc", "class", "show", "dev", device]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return sorted(re.findall(r"^class htb \S+ (?:parent )?(\S+) .*? ceil (\S+)", text, re.M))


@root
@isolated
def test_a_limit_holds_both_ways_and_can_be_lifted(base: Path) -> None:
    lab = Lab(base)
    lab.shape(guest(A, ceiling=8 * MBIT))
    for down in (True, False):
        began = time.monotonic()
        lab.pump([A], down=down, until=3_000_000)
        # a full bucket at the start, and what was still under way at the end
        assert time.monotonic() - began > (3_000_000 - 400_000) / 1_000_000
    (free,) = lab.pump([B], down=True, until=3_000_000).values()
    assert free >= 3_000_000
    lab.shape()
    assert {link["ifname"] for link in ip("link", "show", "type", "ifb")} == set()
    assert tc("filter", "show", "dev", f"wtv{A[:8]}", "ingress") == []
    assert not list(lab.layout.net_run.iterdir())
    lab.pump([A], down=True, until=3_000_000)


@root
@isolated
def test_what_is_left_goes_by_shares(base: Path) -> None:
    lab = Lab(base)
    lab.shape(
        TrafficClass(name="group:", rate=16 * MBIT, ceiling=16 * MBIT),
        guest(A, parent="group:", ceiling=16 * MBIT, shares=1000),
        guest(B, parent="group:", ceiling=16 * MBIT, shares=3000),
    )
    counts = lab.pump([A, B], down=True, until=8_000_000)
    assert 1.7 < counts[B] / counts[A] < 5
    began = time.monotonic()
    lab.pump([A], down=True, until=4_000_000)  # alone it has everything, and no more
    assert time.monotonic() - began > (4_000_000 - 400_000) / 2_000_000


@root
@isolated
def test_a_reservation_is_kept_against_shares(base: Path) -> None:
    lab = Lab(base)
    lab.shape(
        TrafficClass(name="group:", rate=16 * MBIT, ceiling=16 * MBIT),
        guest(A, parent="group:", rate=12 * MBIT, ceiling=16 * MBIT, shares=1),
        guest(B, parent="group:", ceiling=16 * MBIT, shares=10_000),
    )
    counts = lab.pump([A, B], down=False, until=6_000_000)
    assert counts[A] > 1.7 * counts[B]


@root
@isolated
def test_classes_come_change_move_and_go(base: Path) -> None:
    lab = Lab(base)
    group = TrafficClass(name="group:x", rate=10 * MBIT, ceiling=50 * MBIT, shares=2000)
    lab.shape(group, guest(A, parent="group:x", ceiling=50 * MBIT), guest(B, ceiling=9 * MBIT))
    for device in ("wtd", "wtu"):
        assert classes(device) == [("1:1", "50Mbit"), ("root", "50Mbit"), ("root", "9Mbit")]
    before = (lab.layout.net_run / shape.FILE).read_bytes()
    lab.shape(group, guest(A, parent="group:x", ceiling=20 * MBIT), guest(B, ceiling=9 * MBIT))
    assert (lab.layout.net_run / shape.FILE).read_bytes() == before
    assert ("1:1", "20Mbit") in classes("wtd")
    lab.shape(group, guest(A, ceiling=20 * MBIT), guest(B, parent="group:x", ceiling=1 << 45))
    assert [parent for parent, _ in classes("wtu")] == ["1:1", "root", "root"]
    # one leaves its group, and the group, later in the list, gets a parent
    above = TrafficClass(name="group:above", ceiling=60 * MBIT)
    below = TrafficClass(name="group:x", parent="group:above", ceiling=50 * MBIT)
    lab.shape(guest(B, ceiling=9 * MBIT), above, below, guest(A, parent="group:x", ceiling=MBIT))
    for device in ("wtd", "wtu"):
        ceilings = sorted(ceiling for _, ceiling in classes(device))
        assert ceilings == ["1Mbit", "50Mbit", "60Mbit", "9Mbit"]
    lab.shape(guest(A, ceiling=20 * MBIT))
    assert len(classes("wtu")) == 1
    assert tc("filter", "show", "dev", f"wtv{B[:8]}", "egress") == []
    lab.pump([A, B], down=True, until=1_000_000)


@root
@isolated
def test_a_card_that_went_is_forgotten_and_one_that_came_is_led(base: Path) -> None:
    lab = Lab(base)
    lab.shape(guest(A, ceiling=8 * MBIT), guest(B, ceiling=8 * MBIT))
    lab.boxes[A].end()
    with Netlink() as netlink:
        links.delete_link(netlink, name=f"wtv{A[:8]}")
    lab.boxes[A] = Box()
    plug(
        lab.boxes[A], bridge="wt0", address="10.210.0.10/22", gateway="10.210.0.1",
        host=f"wtv{A[:8]}", alias=lab.layout.link_alias(A),
    )  # fmt: skip
    lab.shape(guest(A, ceiling=8 * MBIT), guest(B, ceiling=8 * MBIT))
    began = time.monotonic()
    lab.pump([A], down=False, until=2_000_000)
    assert time.monotonic() - began > 1.5
    assert len({one["pref"] for one in tc("filter", "show", "dev", "wtd")}) == 2


@root
@isolated
@pytest.mark.parametrize("where", ["shape.begun", "shape.half", "shape.device"])
def test_whoever_was_killed_is_made_good(base: Path, where: str) -> None:
    lab = Lab(base)
    if where != "shape.device":
        lab.shape(guest(B, ceiling=30 * MBIT))
    with cut(where), pytest.raises(Cut):
        lab.shape(guest(A, ceiling=8 * MBIT), TrafficClass(name="group:y", ceiling=MBIT))
    lab.shape(guest(A, ceiling=8 * MBIT))
    for device in ("wtd", "wtu"):
        assert classes(device) == [("root", "8Mbit")]
    began = time.monotonic()
    lab.pump([A], down=True, until=2_000_000)
    assert time.monotonic() - began > 1.5


@root
@isolated
def test_somebody_elses_interface_is_left_alone(base: Path) -> None:
    lab = Lab(base)
    subprocess.run(["ip", "link", "add", "wtd", "type", "bridge"], check=True)
    with pytest.raises(Conflict, match="wtd that is not wirt's"):
        lab.shape(guest(A, ceiling=MBIT))
    assert ip("link", "show", "wtd")


@root
@isolated
def test_the_devices_are_not_wirts_until_they_bear_its_mark(base: Path) -> None:
    lab = Lab(base)
    with Netlink() as netlink:
        links.add_intermediate(netlink, name="wtd", alias="another:shape")
    with pytest.raises(Conflict):
        lab.shape(guest(A, ceiling=MBIT))


@pytest.mark.parametrize(
    "classes",
    [
        [TrafficClass(name="guest:short", ceiling=MBIT)],
        [TrafficClass(name="what", ceiling=MBIT)],
        [guest(A, ceiling=MBIT), guest(A, ceiling=MBIT)],
        [guest(A, ceiling=MBIT, parent="group:missing")],
        [guest(A, ceiling=MBIT, rate=2 * MBIT)],
        [guest(A, ceiling=-1)],
        [guest(A, ceiling=MBIT, shares=0)],
        [
            TrafficClass(name=f"group:{n}", parent=f"group:{n - 1}" if n else "", ceiling=MBIT)
            for n in range(9)
        ],
    ],
)
def test_nonsense_is_refused(tmp_path: Path, classes: list[TrafficClass]) -> None:
    with pytest.raises(Invalid):
        shape.set_classes(Layout(name="wt", state=tmp_path, run=tmp_path), classes)


class Cut(Exception):
    """The process was killed here."""


@contextmanager
def cut(where: str) -> Iterator[None]:
    def fault(name: str) -> None:
        if name == where:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "fault", fault)
        yield


def ip(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found
