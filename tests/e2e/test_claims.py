"""Reservations, limits, shares and groups through the command line, on the real host."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import instance as local
from e2e.test_bad_input import Client
from e2e.test_life import eventually, inspect, state
from live import Live
from needs import needs
from waiting import until
from wirt.linux.cgroup import Cgroups, Mode

CPUS = os.cpu_count() or 1
RESERVE = max(0.1, CPUS / 20)
"""CPUs that the host keeps."""


@contextlib.contextmanager
def guests(live: Live, *names: str) -> Iterator[None]:
    """Whatever becomes of these guests, none is left."""
    try:
        yield
    finally:
        for name in names:
            live.wirt("rm", "-f", name, code=None)


@contextlib.contextmanager
def groups(live: Live, *paths: str) -> Iterator[None]:
    try:
        yield
    finally:
        for path in sorted(paths, reverse=True):
            live.wirt("group", "rm", path, code=None)


def spec(live: Live, name: str) -> dict[str, Any]:
    found = inspect(live, name)["spec"]
    assert isinstance(found, dict)
    return found


def limits(live: Live, name: str) -> dict[str, str]:
    """What the kernel has of a running guest's limits."""
    group = f"/{live.instance.name}/{inspect(live, name)['id']}"
    found = {}
    for controller in ("cpu", "memory", "pids"):
        directory = Cgroups.detect().directory(controller, group)
        assert directory is not None
        for file in (
            "cpu.cfs_quota_us", "cpu.shares", "cpu.max", "cpu.weight", "memory.limit_in_bytes",
            "memory.soft_limit_in_bytes", "memory.max", "memory.low", "pids.max",
        ):  # fmt: skip
            if (directory / file).exists():
                found[file] = (directory / file).read_text()
    return found


def test_what_is_asked_for_is_shown_and_can_be_changed(shared_instance: Live) -> None:
    live = shared_instance
    with groups(live, "sales", "sales/web"), guests(live, "c1"):
        live.wirt(
            "group", "create", "--cpu-reservation", "0.5", "--memory-reservation", "512m", "sales"
        )
        live.wirt("group", "create", "--expandable", "sales/web")
        live.wirt(
            "run", "-d", "--name", "c1", "--cpu-reservation", "0.5", "--cpus", "1",
            "--cpu-shares", "2000", "--memory-reservation", "64m", "-m", "256m",
            "--memory-shares", "50", "--group", "sales/web", "--class", "interactive",
            "--oom-rank", "900", "busybox", "sleep", "1000",
        )  # fmt: skip
        made = spec(live, "c1")
        assert {name: n for name, n in made["resources"].items() if n is not None} == {
            "cpu_reservation": 500, "cpu_millis": 1000, "cpu_shares": 2000,
            "memory_reservation": 64 << 20, "memory": 256 << 20, "memory_shares": 50,
        }  # fmt: skip
        assert (made["group"], made["guest_class"]) == ("sales/web", "interactive")
        assert made["oom_rank"] == 900
        tree = live.wirt("group", "tree").stdout
        assert "└─ sales/  cpu 0.5/0.5  memory 64MiB/512MiB" in tree
        assert "└─ c1  cpu 0.5  memory 64MiB" in tree
        before = limits(live, "c1")
        for words, code in (
            (("--memory-reservation", "300m"), 2),
            (("--memory-reservation", "256m", "--cpus", "0.3"), 2),
            (("--cpu-reservation", "1e30"), 2),
            (("--group", "nosuch", "--cpus", "0.7"), 3),
            (("--net-shares", "5", "--cpus", "0.7"), 7),
            (("--io-shares", "5", "-m", "200m"), 7),
            (("--oom-rank", "1001", "-m", "200m"), 2),
            (("--memory-shares", "10001", "-m", "200m"), 2),
            (("--net-limit", "1", "-m", "200m"), 2),
            (("-m", "0", "--memory-swap", "300m"), 2),
        ):
            refused = live.wirt("update", *words, "c1", code=code).stderr
            assert refused.startswith("wirt: ")
            assert "hint: " in refused
            assert spec(live, "c1") == made
            assert limits(live, "c1") == before
        live.wirt("update", "--cpus", "0.7", "--group", "", "--class", "batch",
                  "--cpu-reservation", "0", "c1")  # fmt: skip
        changed = spec(live, "c1")
        assert (changed["group"], changed["guest_class"]) == ("", "batch")
        assert changed["resources"]["cpu_reservation"] is None
        assert limits(live, "c1") != before
        live.wirt("group", "rm", "sales/web", "sales")


def test_nought_takes_back_what_was_given(shared_instance: Live) -> None:
    """At once, after the next start, and of a new guest: as if it had never been given."""
    live = shared_instance
    given = {
        "--cpus": "0.5", "--cpu-reservation": "0.1", "--cpu-shares": "2000", "-m": "256m",
        "--memory-reservation": "64m", "--memory-shares": "50", "--pids-limit": "20",
    }  # fmt: skip
    none = [word for flag in given for word in (flag, "0")]
    with guests(live, "plain", "c1", "c2"):
        live.wirt("run", "-d", "--name", "plain", "busybox", "sleep", "1000")
        live.wirt("run", "-d", "--name", "c1", *(word for pair in given.items() for word in pair),
                  "busybox", "sleep", "1000")  # fmt: skip
        assert all(limits(live, "c1")[file] != n for file, n in limits(live, "plain").items())
        assert live.wirt("update", *none, "c1").stderr == ""
        until(lambda: limits(live, "c1") == limits(live, "plain"), "all is as it is without")
        live.wirt("restart", "-t", "0", "c1")
        live.wirt("run", "-d", "--name", "c2", *none, "busybox", "sleep", "1000")
        until(
            lambda: limits(live, "c1") == limits(live, "c2") == limits(live, "plain"), "so do new"
        )
        assert spec(live, "c1")["resources"] == spec(live, "plain")["resources"]
        assert spec(live, "c2")["resources"] == spec(live, "plain")["resources"]


def test_a_promise_that_cannot_be_kept_is_refused(shared_instance: Live) -> None:
    live = shared_instance
    most, half = CPUS - RESERVE, (CPUS - RESERVE) / 2 + 0.1
    with guests(live, "big", "a", "b", "free"):
        refused = live.wirt(
            "run", "--name", "big", "--cpu-reservation", str(most + 0.1), "busybox", code=125
        )
        assert f"needs {most + 0.1:g} CPUs guaranteed, {most:g} CPUs are unreserved" in (
            refused.stderr
        )
        assert state(live, "big") == "created"
        assert "unreserved" in live.wirt("start", "big", code=6).stderr
        for name in ("a", "b"):
            live.wirt("create", "--name", name, "--cpu-reservation", f"{half:.3f}", "busybox",
                      "sleep", "1000")  # fmt: skip
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda name: live.wirt("start", name, code=None), ("a", "b")))
        assert sorted(one.returncode for one in done) == [0, 6]
        winner, loser = ("a", "b") if done[0].returncode == 0 else ("b", "a")
        told = "".join(one.stderr for one in done)
        assert f"guest {winner!r} has the most to release" in told
        live.wirt("run", "-d", "--name", "free", "busybox", "sleep", "1000")
        live.wirt("update", "--cpu-reservation", f"{half:.3f}", "free", code=6)
        live.wirt("update", "--cpu-reservation", "0.1", winner)
        live.wirt("start", loser)
        live.wirt("restart", "-t", "0", loser)


@pytest.mark.parametrize("kind", ["microvm", "vm"])
def test_a_machine_is_promised_no_more_than_its_size(shared_instance: Live, kind: str) -> None:
    live = shared_instance
    with guests(live, "m"):
        for words in (
            ("--memory-reservation", "600m"),
            ("--memory-reservation", "300m", "-m", "256m"),
            ("--cpu-reservation", "1.1"),
            ("--cpu-reservation", "0.4", "--cpus", "0.3"),
        ):
            refused = live.wirt("create", "--as", kind, *words, "busybox", code=125).stderr
            assert "reservation" in refused
        live.wirt("create", "--name", "m", "--as", kind, "--memory-reservation", "200m",
                  "--cpu-reservation", "0.4", "busybox")  # fmt: skip
        live.wirt("update", "--memory-reservation", "600m", "m", code=2)


def test_groups_are_of_any_depth_and_go_only_when_empty(shared_instance: Live) -> None:
    live = shared_instance
    paths = ["t", "t/d", "t/d/x", "t/d/x/y"]
    with groups(live, *paths), guests(live, "deep"):
        assert "no such group" in live.wirt("group", "create", "t/d", code=3).stderr
        for path in paths:
            assert live.wirt("group", "create", path).stdout == f"{path}\n"
        assert "exists already" in live.wirt("group", "create", "t", code=4).stderr
        live.wirt("group", "set", "--cpu-reservation", "0.5", "t")
        assert "needs 0.2 CPUs" in live.wirt(
            "run", "--name", "deep", "--cpu-reservation", "0.2", "--group", "t/d/x/y", "busybox",
            "true", code=125,
        ).stderr  # fmt: skip
        for path in paths[1:]:
            live.wirt("group", "set", "--expandable", path)
        live.wirt("start", "deep")
        assert "is not empty: deep" in live.wirt("group", "rm", "t/d/x/y", code=4).stderr
        assert "is not empty: t/d" in live.wirt("group", "rm", "t", code=4).stderr
        listed = live.wirt("group", "ls", "--format", "{{.Path}} {{.Expandable}} {{.Guests}}")
        assert "t/d/x/y true deep" in listed.stdout
        for path, shown in (("t", "deep\n"), ("t/d/x", "deep\n"), ("t/d/x/y/z", "")):
            rows = live.wirt("ps", "-a", "--filter", f"group={path}", "--format", "{{.Names}}")
            assert rows.stdout == shown
        live.wirt("rm", "-f", "deep")
        for path in reversed(paths):
            live.wirt("group", "rm", path)
        assert live.wirt("group", "ls", "-q").stdout == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--cpu-reservation", "2", "--cpus", "1"), 2),
        (("--memory-reservation", "-5m"), 2),
        (("--memory-reservation", "NaN"), 2),
        (("--memory-reservation", "5 bananas"), 2),
        (("--net-reservation", "1m"), 7),
        (("--io-shares", "5"), 7),
        (("--cpu-reservation", "100000"), 6),
        (("--memory-reservation", "100p"), 6),
    ],
)
def test_groups_take_no_nonsense(shared_instance: Live, words: tuple[str, ...], code: int) -> None:
    live = shared_instance
    with groups(live, "odd"):
        refused = live.wirt("group", "create", *words, "odd", code=code).stderr
        assert "hint: " in refused
        assert live.wirt("group", "ls", "-q").stdout == ""
        for path in ("../etc", "a b", "", "x" * 65):
            live.wirt("group", "create", path, code=2)


def test_a_new_daemon_knows_the_groups_and_takes_over_the_guests(shared_instance: Live) -> None:
    live = shared_instance
    with groups(live, "kept"), guests(live, "k"):
        live.wirt("group", "create", "--cpu-reservation", "0.4", "kept")
        live.wirt("run", "-d", "--name", "k", "--group", "kept", "--cpu-reservation", "0.4",
                  "busybox", "sleep", "1000")  # fmt: skip
        before = inspect(live, "k")["status"]
        live.kill(local.DAEMON)
        eventually(lambda: live.wirt("ps", code=None).returncode == 0)
        assert inspect(live, "k")["status"] == before
        assert "kept/  cpu 0.4/0.4" in live.wirt("group", "tree").stdout
        assert (
            "0.4 CPUs would be promised in group 'kept', which has 0.1 CPUs"
            in live.wirt("group", "set", "--cpu-reservation", "0.1", "kept", code=6).stderr
        )


def test_the_api_refuses_numbers_that_are_none(shared_instance: Live) -> None:
    live = shared_instance
    for value in ("1e30", "-1", "NaN", "1.5", '"much"', "18446744073709551616"):
        for field in ("cpu_reservation", "net_limit", "memory_shares"):
            body = f'{{"path": "odd", "resources": {{"{field}": {value}}}}}'
            with contextlib.closing(Client(live)) as client:
                client.request("POST", "/v1/groups", body)
                answer = client.getresponse()
                told = answer.read()
            assert answer.status == 400, (field, value, told)
    assert live.wirt("group", "ls", "-q").stdout == ""


@needs("disk-limits")
def test_a_containers_disks_are_limited(shared_instance: Live) -> None:
    """6 MiB at 2 MiB a second take two seconds and more; never less, however fast the host is."""
    live = shared_instance
    write = "time dd if=/dev/zero of=/x bs=1M count=6 oflag=direct"
    with guests(live, "slow", "limited"):
        made = live.wirt("run", "-d", "--name", "slow", "--io-limit", "2m", "busybox",
                         "sleep", "1000")  # fmt: skip
        if Cgroups.detect().mode is not Mode.V2:
            assert "not what is written through the host's cache" in made.stderr
        assert _seconds(live, "slow", write) >= 2
        assert _seconds(live, "slow", "time dd if=/x of=/dev/null bs=1M iflag=direct") >= 2
        live.wirt("update", "--io-limit", "12m", "slow")
        assert spec(live, "slow")["resources"]["io_limit"] == 12 << 20
        assert _seconds(live, "slow", write.replace("count=6", "count=18")) >= 1
        before = _rates(live, "slow")
        assert f" {12 << 20}" in before or f"rbps={12 << 20}" in before
        live.wirt("update", "--io-limit", "0", "slow")
        assert str(12 << 20) not in _rates(live, "slow")
    for kind in ("microvm", "vm"):
        refused = live.wirt("create", "--as", kind, "--io-limit", "32k", "busybox", code=125)
        assert f"32KiB a second are too little for the disk of a {kind}" in refused.stderr


@needs("disk-limits")
def test_a_groups_disks_are_limited(shared_instance: Live, tmp_path: Path) -> None:
    """Guests who read without end share 12 MiB a second as their inner groups say, three to one."""
    live = shared_instance
    (tmp_path / "p.toml").write_text("tick = 0.2\n[pool]\ndisk = '100g'\n")
    read = (
        "dd if=/dev/zero of=/x bs=1M count=4 oflag=direct; "
        "while :; do dd if=/x of=/dev/null bs=256k iflag=direct; done"
    )
    live.wirt("governor", "policy", "set", str(tmp_path / "p.toml"))
    try:
        with groups(live, "shop", "shop/big", "shop/small"), guests(live, "one", "two", "three"):
            live.wirt("group", "create", "--io-limit", "12m", "shop")
            live.wirt("group", "create", "--io-shares", "3000", "shop/big")
            live.wirt("group", "create", "--io-shares", "1000", "shop/small")
            for name, group in (
                ("one", "shop/big"),
                ("two", "shop/small"),
                ("three", "shop/small"),
            ):
                live.wirt(
                    "run", "-d", "--name", name, "--group", group, "busybox", "sh", "-c", read
                )

            def divided() -> bool:
                one, two, three = (_rate(live, name) for name in ("one", "two", "three"))
                return (
                    abs(one - (9 << 20)) < 1 << 20
                    and abs(two + three - (3 << 20)) < 1 << 20
                    and one + two + three <= (12 << 20) + 3
                )

            eventually(divided)
            names = ("one", "two", "three")
            begun = time.monotonic()
            before = {name: _read(live, name) for name in names}
            eventually(lambda: _read(live, "one") - before["one"] >= 36 << 20)
            moved = {name: _read(live, name) - before[name] for name in names}
            took = time.monotonic() - begun
            assert sum(moved.values()) <= 1.3 * 12 * (1 << 20) * took
            assert 2 <= moved["one"] / (moved["two"] + moved["three"]) <= 4.5, moved
            live.wirt("governor", "pause")
            eventually(lambda: [_rate(live, name) >> 19 for name in names] == [18, 3, 3])
            live.wirt("group", "set", "--io-limit", "8m", "shop")
            eventually(lambda: [_rate(live, name) >> 20 for name in names] == [6, 1, 1])
            live.wirt("rm", "-f", "three")
            eventually(lambda: [_rate(live, name) >> 20 for name in names[:2]] == [6, 2])
            live.wirt("governor", "resume")
            live.wirt("group", "set", "--io-limit", "0", "shop")
            eventually(lambda: not any(_rate(live, name) for name in names[:2]))
    finally:
        live.wirt("governor", "resume")
        live.wirt("governor", "policy", "unset")


def _rate(live: Live, name: str) -> int:
    """Bytes a second that the kernel lets a guest read, 0: as many as it can."""
    found = re.search(r"(?:rbps=|\d+:\d+ )(\d+)", _rates(live, name))
    return int(found[1]) if found else 0


def _read(live: Live, name: str) -> int:
    """Bytes that a guest has read from disks."""
    group = f"/{live.instance.name}/{inspect(live, name)['id']}"
    cgroups = Cgroups.detect()
    if cgroups.mode is Mode.V2:
        directory, pattern, file = cgroups.directory("io", group), r"rbytes=(\d+)", "io.stat"
    else:
        directory = cgroups.directory("blkio", group)
        pattern, file = r"\d+:\d+ Read (\d+)", "blkio.throttle.io_service_bytes"
    assert directory is not None
    return sum(int(one) for one in re.findall(pattern, (directory / file).read_text()))


def _seconds(live: Live, name: str, line: str) -> float:
    """How long a shell line in the guest took by its own clock: ``real 0m 3.01s``."""
    told = live.wirt("exec", name, "sh", "-c", line).stderr
    words = next(row for row in told.splitlines() if row.startswith("real")).split()
    return 60 * float(words[1].rstrip("m")) + float(words[2].rstrip("s"))


def _rates(live: Live, name: str) -> str:
    group = f"/{live.instance.name}/{inspect(live, name)['id']}"
    cgroups = Cgroups.detect()
    names = ("io", "io.max") if cgroups.mode is Mode.V2 else (
        "blkio", "blkio.throttle.read_bps_device",
    )  # fmt: skip
    directory = cgroups.directory(names[0], group)
    assert directory is not None
    return (directory / names[1]).read_text()
