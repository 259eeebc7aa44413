"""Reservations, limits, shares and groups: what is typed, what is asked, what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.client import Run, client
from fakes.daemon import FakeDaemon
from fakes.words import refused, spec
from wirt.errors import Invalid
from wirt.model.guest import GuestClass
from wirt.model.resources import Resources
from wirt.model.units import parse_cpus, parse_rate

MIB = 1 << 20


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cpu-reservation", "0.5", "--cpus", "4"],
         Resources(cpu_reservation=500, cpu_millis=4000)),
        (["--cpu-reservation", "0", "--memory-reservation", "0"],
         Resources(cpu_reservation=0, memory_reservation=0)),
        (["--cpu-shares", "2000", "--memory-shares", "7"],
         Resources(cpu_shares=2000, memory_shares=7)),
        (["--memory-reservation", "256m", "-m", "2g"],
         Resources(memory_reservation=256 * MIB, memory=2048 * MIB)),
        (["--io-reservation", "1m", "--io-limit", "2m", "--io-shares", "5"],
         Resources(io_reservation=MIB, io_limit=2 * MIB, io_shares=5)),
        (["--net-reservation", "64k", "--net-limit", "50m", "--net-shares", "9"],
         Resources(net_reservation=64_000, net_limit=50_000_000, net_shares=9)),
        (["--net-limit", "1.5gbit"], Resources(net_limit=1_500_000_000)),
        (["--net-limit", "0", "--io-limit", "0"], Resources(net_limit=0, io_limit=0)),
        (["--blkio-weight", "500"], Resources(io_shares=1000)),
        (["--blkio-weight", "0"], Resources(io_shares=0)),
        (["--cpus", "0", "-m", "0", "--memory-swap", "0", "--pids-limit", "0", "-c", "0"],
         Resources(cpu_millis=0, memory=0, memory_swap=0, pids=0, cpu_shares=0)),
        (["--cpu-quota", "1"], Resources(cpu_millis=1)),
        (["--cpu-quota", "50000"], Resources(cpu_millis=500)),
        (["--cpu-quota", "30000", "--cpu-period", "20000"], Resources(cpu_millis=1500)),
        (["--cpu-quota", "-1"], Resources(cpu_millis=0)),
        (["--device-read-bps", "/dev/sda:1m", "--device-write-bps", "/dev/sda:1m"],
         Resources(io_limit=MIB)),
    ],
)  # fmt: skip
def test_flags(words: list[str], expected: Resources) -> None:
    assert spec(*words, "x").resources == expected


def test_flags_of_the_guest_itself() -> None:
    made = spec("--group", "a/b", "--class", "batch", "--oom-rank", "0", "x")
    assert (made.group, made.guest_class, made.oom_rank) == ("a/b", GuestClass.BATCH, 0)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--cpu-reservation", "-1"], "'-1' for --cpu-reservation"),
        (["--cpu-reservation", "nan"], "'nan' for --cpu-reservation"),
        (["--cpu-reservation", "1e30"], "'1e30' for --cpu-reservation"),
        (["--cpu-reservation", "0.0004"], "'0.0004' CPUs are none"),
        (["--memory-reservation", "NaN"], "'NaN' for --memory-reservation"),
        (["--memory-reservation", "-5m"], "'-5m' for --memory-reservation"),
        (["--memory-reservation", "1" + "0" * 30], "for --memory-reservation"),
        (["--memory-reservation", "5q"], "'5q' for --memory-reservation"),
        (["--memory-reservation", "5p" * 2], "'5p5p' for --memory-reservation"),
        (["--net-limit", "fast"], "'fast' for --net-limit"),
        (["--net-limit", "-1m"], "'-1m' for --net-limit"),
        (["--net-limit", "inf"], "'inf' for --net-limit"),
        (["--net-limit", "1e30"], "'1e30' for --net-limit"),
        (["--net-limit", "99999999p"], "'99999999p' for --net-limit"),
        (["--io-limit", "5 parsecs"], "'5 parsecs' for --io-limit"),
        (["--io-shares", "1.5"], "'1.5' for --io-shares"),
        (["--memory-shares", "1" + "0" * 30], "for --memory-shares"),
        (["--class", "urgent"], "'urgent' for --class"),
        (["--oom-rank", "low"], "'low' for --oom-rank"),
        (["--blkio-weight", "9"], "9 for --blkio-weight"),
        (["--blkio-weight", "1001"], "1001 for --blkio-weight"),
        (["--blkio-weight", "500", "--io-shares", "1"], "--blkio-weight and --io-shares exclude"),
        (["--blkio-weight-device", "/dev/sda:5"], "--blkio-weight-device cannot be followed"),
        (["--device-read-iops", "/dev/sda:5"], "--device-read-iops cannot be followed"),
        (["--device-write-iops", "/dev/sda:5"], "--device-write-iops cannot be followed"),
        (["--device-read-bps", "/dev/sda:5"], "must be given both"),
        (["--device-read-bps", "/dev/a:5", "--device-write-bps", "/dev/a:6"], "with one rate"),
        (["--device-read-bps", "sda:5", "--device-write-bps", "sda:5"], "'sda:5' for --device-rea"),
        (["--device-read-bps", "/dev/a:5", "--device-write-bps", "/dev/a:5", "--io-limit", "5"],
         "--io-limit and --device-read-bps exclude"),
        (["--cpu-period", "5000"], "--cpu-period without --cpu-quota"),
        (["--cpu-quota", "5000", "--cpus", "1"], "--cpus and --cpu-quota exclude"),
        (["--cpu-quota", "-7"], "-7 for --cpu-quota"),
        (["--cpu-quota", "5000", "--cpu-period", "5"], "5 for --cpu-quota or --cpu-period"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_named(words: list[str], part: str) -> None:
    assert part in refused(*words, "x")


@given(st.integers(0, 10**12), st.sampled_from(["", "k", "m", "g", "K", "M"]))
def test_rates_are_powers_of_a_thousand(number: int, unit: str) -> None:
    scale = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[unit.lower()]
    for ending in ("", "bit", "bps", "bit/s"):
        if number * scale <= 2**62:
            assert parse_rate(f"{number}{unit}{ending}") == number * scale
        else:
            with pytest.raises(Invalid, match="too large"):
                parse_rate(f"{number}{unit}{ending}")


@given(st.text(max_size=12))
def test_no_text_breaks_the_parsers(text: str) -> None:
    for parse in (parse_rate, parse_cpus):
        told = ""
        try:
            assert 0 <= parse(text) <= 2**62
        except Invalid as error:
            told = error.message
        assert repr(text) in told or not told


def test_what_was_asked_for_is_not_silently_nothing() -> None:
    assert parse_cpus("0") == 0
    with pytest.raises(Invalid, match="none"):
        parse_cpus("0.0001")


def test_update_says_what_was_typed(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/guests/w/update"] = lambda x: x.answer({"warnings": []})
    words = ("--cpu-reservation", "0", "--group", "", "--class", "normal", "--oom-rank", "3")
    assert run("update", *words, "w") == (0, "w\n", "")
    assert daemon.requests[-1].json == {
        "resources": {"cpu_reservation": 0},
        "group": "",
        "guest_class": "normal",
        "oom_rank": 3,
    }


def portion(own: int = 0, inner: int = 0, limit: int | None = None) -> dict[str, Any]:
    return {
        "reservation": own, "limit": limit, "shares": 1000, "promised": inner,
        "unreserved": own - inner,
    }  # fmt: skip


def account(path: str, *guests: dict[str, Any], **portions: Any) -> dict[str, Any]:
    return {
        "path": path,
        "expandable": path == "sales/web",
        "guests": list(guests),
        "portions": {
            name: portions.get(name, portion()) for name in ("cpu", "memory", "disk", "net")
        },
    }


def guest(name: str, *, running: bool = True, **reservations: int) -> dict[str, Any]:
    return {"id": "1" * 64, "name": name, "running": running, "reservations": reservations}


ACCOUNTS = [
    account("", guest("free"), cpu=portion(1900, 500), memory=portion(8 << 30, 1 << 30)),
    account("it"),
    account("sales", guest("db", memory=512 * MIB), cpu=portion(500, 250, 1500),
            memory=portion(1 << 30, 512 * MIB)),
    account("sales/web", guest("w\x1b[2J", running=False), cpu=portion(0, 250),
            net=portion(limit=50_000_000)),
]  # fmt: skip


def test_groups(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/groups"] = lambda x: x.answer(account("sales/web"), status=201)
    words = ("--cpu-reservation", "2", "--cpus", "0", "-m", "2g", "--expandable")
    assert run("group", "create", *words, "sales/web") == (0, "sales/web\n", "")
    resources = {"cpu_reservation": 2000, "cpu_millis": 0, "memory": 2048 * MIB}
    body = {"path": "sales/web", "resources": resources, "expandable": True}
    assert daemon.requests[-1].json == body
    daemon.routes["POST /v1/groups/sales/web"] = lambda x: x.answer(account("sales/web"))
    assert run("group", "set", "--expandable=false", "--net-limit", "1g", "sales/web")[0] == 0
    assert daemon.requests[-1].json == {"resources": {"net_limit": 10**9}, "expandable": False}
    assert run("group", "set", "sales/web")[0] == 2
    assert run("group", "rm", "")[0] == 2
    daemon.routes["DELETE /v1/groups/sales"] = lambda x: x.problem(
        "conflict", "it is not empty", status=409
    )
    assert run("group", "rm", "sales")[0] == 4
    daemon.routes["GET /v1/groups"] = lambda x: x.answer(ACCOUNTS)
    assert run("group", "ls", "-q")[1] == "it\nsales\nsales/web\n"
    shown = [line.split("   ") for line in run("group", "ls")[1].splitlines()]
    assert shown[0][0] == "GROUP"
    assert run("group", "ls", "--format", "{{.Path}} {{.Cpu}} {{.Net}}")[1].splitlines() == [
        "it - -",
        "sales 0.25/0.5 max 1.5 -",
        "sales/web 0.25/0 0bit/s/0bit/s max 50Mbit/s",
    ]


def test_each_failure_is_told_and_the_rest_is_done(daemon: FakeDaemon, run: Run) -> None:
    for name in ("a", "b"):
        daemon.routes[f"DELETE /v1/groups/{name}"] = lambda x: x.problem(
            "not-found", f"no such group: {x.request.path[-1]}", status=404
        )
    daemon.routes["DELETE /v1/groups/c"] = lambda x: x.answer(None, status=204)
    code, out, err = run("group", "rm", "a", "b", "c")
    assert (code, out) == (3, "c\n")
    assert [name in err for name in ("group: a", "group: b")] == [True, True]


def test_the_tree_of_groups(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/groups"] = lambda x: x.answer(ACCOUNTS)
    daemon.routes["GET /v1/groups/sales/web"] = lambda x: x.answer(ACCOUNTS[-1])
    daemon.routes["GET /v1/groups/nosuch"] = lambda x: x.problem(
        "not-found", "no such group: nosuch", status=404
    )
    assert run("group", "tree")[1] == (
        "host  cpu 0.5/1.9  memory 1GiB/8GiB\n"
        "├─ free\n"
        "├─ it/\n"
        "└─ sales/  cpu 0.25/0.5 max 1.5  memory 512MiB/1GiB\n"
        "   ├─ db  memory 512MiB\n"
        "   └─ web/  cpu 0.25/0  net 0bit/s/0bit/s max 50Mbit/s  expandable\n"
        "      └─ w\\x1b[2J  (down)\n"
    )
    assert run("group", "tree", "sales/web")[1].splitlines()[0].startswith("sales/web  cpu")
    assert run("group", "tree", "nosuch")[0] == 3
