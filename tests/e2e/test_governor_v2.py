"""The governor on a host with version 2 of control groups alone: memory goes where it is needed,
what is promised or due is spared, and its end harms nobody. What is read is the kernel's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from governedbox import FORKS, HOLD, serving
from hostbox import NAME, NEEDS, Hostbox, booted
from modernbox import (
    MIB,
    NONE,
    PATIENCE,
    POOL,
    TOP,
    Guest,
    above,
    governed,
    set_policy,
    together,
)  # fmt: skip
from needs import needs, require
from waiting import until

pytestmark = [needs(*NEEDS), pytest.mark.timeout(300)]
CACHE = "head -c %dm /dev/zero > /x; sync; cat /x > /dev/null; exec sleep 1000"
"""So many MiB of a file in its cache, which it does not use any more."""
WORK = "head -c %dm /dev/zero > /y; sync; while :; do cat /y > /dev/null; done"
"""So many MiB of a file that it reads again and again."""


@pytest.fixture(scope="module")
def box(session_tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostbox]:
    """The host inside, booted once."""
    require(*NEEDS)
    with booted(f"wt{session_tag}v", tmp_path_factory.mktemp("modules")) as inside:
        yield inside


def last_tick(box: Hostbox) -> int:
    """When the governor has last looked, in nanoseconds of the host's inside."""
    return int(json.loads(box.wirt("governor", "status", "--json").stdout)["last_tick"])


def take(box: Hostbox, group: str, mib: int) -> None:
    """Have the kernel take memory from all in a group; more than there is fails, after that."""
    box.sh(f"echo {mib}m > {group}/memory.reclaim", code=None)


def test_what_slows_down_is_the_governors_and_its_users_limit_is_kept(box: Hostbox) -> None:
    with governed(box):
        a = Guest(box, "a", does="exec sleep 1000")
        b = Guest(box, "b", "-m", "100m", "--memory-reservation", "16m", does=HOLD % 70)
        until(lambda: together(box, a, b) <= POOL, "memory is divided", PATIENCE)
        until(lambda: b.holds > 70 * MIB, "b grows", PATIENCE)
        assert together(box, a, b) <= POOL
        until(lambda: a.figure("max") < POOL - 64 * MIB, "it ends before b has to", PATIENCE)
        assert b.figure("max") <= 100 * MIB
        assert b.spared_by_kills()
        assert (b.figure("min"), above(box, "min")) == (16 * MIB, 16 * MIB)
        box.wirt("update", "--memory-reservation", "24m", "b")
        until(lambda: b.figure("min") == 24 * MIB, "it is promised more", PATIENCE)
        assert above(box, "max") == POOL
        box.wirt("update", "-m", "96m", "b")
        assert b.figure("max") <= 96 * MIB
        box.wirt("update", "--memory-swap", "200m", "b")
        box.wirt("governor", "pause")
        try:
            assert a.high == b.high == NONE
            assert (a.figure("max"), b.figure("max")) == (NONE, 96 * MIB)
            assert b.figure("swap.max") == 104 * MIB, "the user's limit counts, not the line"
            assert (a.low, b.low, above(box, "low")) == (0, 24 * MIB, 24 * MIB)
        finally:
            box.wirt("governor", "resume")


def test_a_hungry_guest_gets_what_an_idle_one_does_not_use(box: Hostbox) -> None:
    with governed(box):
        idle = Guest(box, "idle", "--memory-reservation", "24m", does=CACHE % 80)
        until(lambda: idle.holds > 80 * MIB, "it has its cache", PATIENCE)
        busy = Guest(box, "busy", does=WORK % 80)
        until(lambda: min(busy.high, busy.holds) > 80 * MIB, "it has what it needs", PATIENCE)
        until(lambda: idle.high <= POOL - 80 * MIB, "the other has made room", PATIENCE)
        assert idle.high >= 24 * MIB, "a promise is kept"
        assert idle.holds >= 20 * MIB, "the kernel takes some MiB more than it is asked to"
        assert "hungry" in busy.reasons()
        assert busy.spared_by_kills()
        assert idle.spared_by_kills()


def test_what_is_due_is_spared_when_others_take_memory(box: Hostbox) -> None:
    """The kernel takes from the host's other programs first, as long as it is governed; the group
    above the guests protects as much as they are, or they would be protected by nothing."""
    other = "/sys/fs/cgroup/other"
    fill = "echo $BASHPID > %s/cgroup.procs; head -c 48m /dev/zero > /state/other; sync; exit"
    look = f"cat {other}/memory.current"
    with governed(box, memory="256m"):
        a, b = Guest(box, "a", does=CACHE % 40), Guest(box, "b", does=CACHE % 40)
        until(lambda: min(a.holds, b.holds) > 40 * MIB, "both have caches", PATIENCE)
        until(lambda: min(a.low, b.low) > 48 * MIB, "both are entitled to more", PATIENCE)
        until(lambda: above(box, "low") == a.low + b.low, "so is the group", PATIENCE)
        assert a.low + b.low <= 256 * MIB
        box.sh(f"mkdir {other}")
        try:
            box.sh(f"({fill % other})")
            assert int(box.sh(look).stdout) > 48 * MIB

            def emptied() -> bool:
                take(box, "/sys/fs/cgroup", 32)
                return int(box.sh(look).stdout) < 12 * MIB

            until(emptied, "the others' memory is taken", PATIENCE)
            assert min(a.holds, b.holds) > 38 * MIB
        finally:
            box.sh(f"rmdir {other}; rm -f /state/other")
        box.wirt("governor", "pause")
        try:
            assert (a.low, b.low, above(box, "low")) == (0, 0, 0)

            def unprotected() -> bool:
                take(box, "/sys/fs/cgroup", 32)
                return a.holds + b.holds < 40 * MIB

            until(unprotected, "without it theirs is taken too", PATIENCE)
        finally:
            box.wirt("governor", "resume")


def test_what_is_promised_stays_when_memory_is_taken_back(box: Hostbox) -> None:
    """``memory.min`` of the guest and of the group above it; a neighbour without it is emptied."""
    with governed(box, memory=None):
        kept = Guest(box, "kept", "--memory-reservation", "16m", does=CACHE % 24)
        plain = Guest(box, "plain", does=CACHE % 24)
        until(lambda: kept.figure("min") == 16 * MIB, "it is written", PATIENCE)
        assert (plain.figure("min"), above(box, "min")) == (0, 16 * MIB)
        until(lambda: min(kept.holds, plain.holds) > 24 * MIB, "both have caches", PATIENCE)

        def emptied() -> bool:
            take(box, TOP, 64)
            return plain.holds < 12 * MIB

        until(emptied, "its neighbour is emptied", PATIENCE)
        assert kept.holds > 15 * MIB
        box.wirt("update", "--memory-reservation", "8m", "kept")
        until(lambda: kept.figure("min") == 8 * MIB, "it is lowered", PATIENCE)
        until(lambda: above(box, "min") == 8 * MIB, "the group above follows", PATIENCE)


def test_who_starts_is_held_before_any_tick_to_what_others_do_not_keep(box: Hostbox) -> None:
    with governed(box, tick=10):
        calm = Guest(box, "calm", does=HOLD % 80)
        until(lambda: calm.holds > 80 * MIB, "calm has what it needs", PATIENCE)
        before = last_tick(box)
        until(lambda: last_tick(box) > before, "that is seen", PATIENCE)
        new = Guest(box, "new", does="exec sleep 1000")
        assert new.high < 48 * MIB
        assert new.figure("max") < 48 * MIB, "nor may it end others"
        until(lambda: "fence" in new.reasons(), "it is looked at, too", PATIENCE)
        box.wirt("governor", "pause")
        try:
            assert Guest(box, "late", does="exec sleep 1000").high == NONE
            assert new.high == new.figure("max") == NONE
        finally:
            box.wirt("governor", "resume")


SERVER = serving(70, "echo $i > /served; sleep 0.05")


@contextmanager
def laboratory(box: Hostbox) -> Iterator[None]:
    """A group that may have 48 MiB."""
    box.wirt("group", "create", "lab", "-m", "48m")
    try:
        yield
    finally:
        box.wirt("group", "rm", "lab")


def met(box: Hostbox) -> str:
    """How often the killer was called at the limit of all together."""
    lines = box.sh(f"cat {TOP}/memory.events.local").stdout.splitlines()
    return next(line for line in lines if line.startswith("oom "))


def served(box: Hostbox) -> int:
    return int(box.wirt("exec", "server", "cat", "/served").stdout)


def test_a_bomb_without_a_limit_ends_and_its_neighbour_goes_on(box: Hostbox) -> None:
    """It crept above what it was given, keepers came on top, and the pool's limit killed the
    neighbour."""
    bombs = {
        "grows": ((), HOLD % 400),
        "forks": (("--pids-limit", "200"), FORKS + HOLD % 400),
        "grouped": (("--group", "lab"), HOLD % 400),
    }
    with laboratory(box), governed(box, tick=1):
        server = Guest(box, "server", does=SERVER)
        until(lambda: server.holds > 70 * MIB, "it has what it needs", PATIENCE)
        pool = met(box)
        for number, (kind, (flags, does)) in enumerate(2 * list(bombs.items())):
            bomb = Guest(box, f"{kind}{number}", *flags, does=does)
            box.wirt("wait", bomb.name)
            status = box.status(bomb.name)
            assert (kind, status["exit_code"], status["oom_killed"]) == (kind, 137, True)
            until(lambda: "fence" in bomb.reasons(), f"{kind}: it is told", PATIENCE)  # noqa: B023
            assert server.spared_by_kills(), kind
        assert met(box) == pool, "the pool was never full"
        before = served(box)
        until(lambda: served(box) > before + 5, "requests are answered", PATIENCE)
        assert box.wirt("logs", "server").stdout == "", "none was lost"


def test_pressure_wakes_the_governor_between_ticks(box: Hostbox) -> None:
    """With a tick a minute a guest that stands still is given memory by what the kernel tells."""
    with governed(box):
        idle = Guest(box, "idle", does=CACHE % 80)
        busy = Guest(box, "busy", does="exec sleep 1000")
        until(lambda: together(box, idle, busy) <= POOL, "memory is divided", PATIENCE)
        until(lambda: idle.holds > 70 * MIB, "it has its cache", PATIENCE)
        set_policy(box, tick=60, memory="128m")

        box.sh("sleep 2")  # the last of the quick ticks may be under way
        before, was = last_tick(box), busy.high
        assert was < 80 * MIB
        box.wirt("exec", "-d", "busy", "sh", "-c", HOLD % 80)
        until(lambda: busy.high > 80 * MIB, "it is given more", 50)
        assert together(box, busy, idle) <= POOL, "and the safe plan was not carried out meanwhile"
        until(lambda: last_tick(box) > before, "that was thought about", 50)
        assert last_tick(box) - before < 55 * 10**9
        assert busy.holds < busy.high
        assert busy.spared_by_kills()


def test_a_killed_governor_lets_go_and_the_next_start_goes_on(box: Hostbox) -> None:
    with governed(box):
        a = Guest(box, "a", "--memory-reservation", "8m", does=CACHE % 80)
        b = Guest(box, "b", "-m", "100m", does=WORK % 80)
        until(lambda: together(box, a, b) <= POOL, "memory is divided", PATIENCE)
        until(lambda: b.low > 8 * MIB, "what is due is spared", PATIENCE)
        box.sh(
            f"pkill -9 -f '[s]upervisor.py .*--name {NAME} '\n"
            f"pkill -9 -f 'wirt[.]daemon .*--name {NAME} '"
        )
        try:
            until(lambda: a.high == b.high == NONE, "nobody is held any more", PATIENCE)
            assert a.figure("max") == NONE
            until(lambda: above(box, "low") == 8 * MIB, "nor spared for ever", PATIENCE)
            assert (a.low, b.low, b.figure("max")) == (8 * MIB, 0, 100 * MIB)
            assert above(box, "min") == 8 * MIB, "a promise holds without a governor"
        finally:
            box.instance("up", "--no-images", "--patience", str(PATIENCE))
        until(lambda: together(box, a, b) <= POOL, "it governs again", PATIENCE)
        until(lambda: b.low > 8 * MIB, "and spares again", PATIENCE)
        box.sh(f"pkill -9 -f 'wirt[.](daemon|privileged) .*--name {NAME} '")
        alive = ("exec", "a", "echo", "alive")
        until(lambda: box.wirt(*alive, code=None).stdout == "alive\n", "both are back", PATIENCE)
        until(lambda: min(b.high, b.holds) > 80 * MIB, "and moves memory again", PATIENCE)
        assert a.spared_by_kills()
        assert b.spared_by_kills()


@pytest.mark.timeout(600)
def test_a_machine_is_governed_by_its_group_and_its_balloon(box: Hostbox) -> None:
    """An emulated microVM in an emulated host: its boot alone takes about 50 s."""
    fill = "dd if=/dev/zero of=/x bs=1M count=120; echo filled; exec sleep 1000"
    with governed(box, memory="440m"):
        flags = ("--as", "microvm", "-m", "256m", "--cpu-shares", "2048")
        machine = Guest(box, "machine", *flags, does=fill)
        assert box.group(machine.id, "cpu.weight") == "200"
        until(lambda: "filled" in box.wirt("logs", "machine").stdout, "it has a cache", PATIENCE)

        def moved(act: str) -> list[int]:
            lines = box.wirt("why", "machine", "--json").stdout.splitlines()
            told = [json.loads(line) for line in lines]
            return [c["after"] for c in told if (c["resource"], c["act"]) == ("memory", act)]

        busy = Guest(box, "busy", does=WORK % 130)
        until(lambda: min(busy.high, busy.holds) > 130 * MIB, "it has what it needs", PATIENCE)
        until(lambda: moved("shrink") != [], "the balloon has taken some", PATIENCE)
        assert min(moved("shrink")) >= 128 * MIB
        assert machine.high == NONE, "a machine's memory is its balloon's"
        box.wirt("pause", "machine")
        assert "frozen 1" in box.group(machine.id, "cgroup.events")
        box.wirt("unpause", "machine")
        assert "frozen 0" in box.group(machine.id, "cgroup.events")
        assert box.wirt("exec", "machine", "echo", "alive").stdout == "alive\n"
        assert busy.spared_by_kills()
        assert machine.spared_by_kills()
        box.wirt("rm", "-f", "busy")
        set_policy(box, tick=0.5, memory=None)
        until(lambda: 256 * MIB in moved("grow"), "it gets back what its user allowed", PATIENCE)


@contextmanager
def weighed_disk(box: Hostbox) -> Iterator[str]:
    """The disk of the guests' files (``major:minor``), shared by weight, slow enough to be short:
    8 MiB or 2000 requests a second."""
    disk = box.sh("awk '$5 == \"/state\" { print $3 }' /proc/self/mountinfo").stdout.strip()
    rates = " ".join(f"{way}bps={8 * MIB}" for way in "rw")
    counts = " ".join(f"{way}{kind}iops=2000" for way in "rw" for kind in ("seq", "rand"))
    goals = "rpct=0 rlat=0 wpct=0 wlat=0 min=100 max=100"
    on = "cd /sys/fs/cgroup\n"
    box.sh(
        f"{on}echo '{disk} ctrl=user model=linear {rates} {counts}' > io.cost.model\n"
        f"echo '{disk} enable=1 ctrl=user {goals}' > io.cost.qos"
    )
    try:
        yield disk
    finally:
        box.sh(f"{on}echo '{disk} enable=0' > io.cost.qos")


def test_disks_are_shared_by_weight_where_the_kernel_can(box: Hostbox) -> None:
    """Shares need no policy that says what the disks can do, only a kernel that weighs."""
    does = (
        "head -c 8m /dev/zero > /d; sync; until [ -e /go ]; do sleep 0.1; done; "
        "while :; do dd if=/d of=/dev/null bs=64k iflag=direct 2> /dev/null; done"
    )
    shares = ("--io-shares", "3000", "busybox", "true")
    refused = box.wirt("run", "--rm", *shares, code=125).stderr
    assert "cannot divide its disk between guests, only limit it" in refused
    with governed(box, memory=None), weighed_disk(box) as disk:
        refused = box.wirt("create", "--io-reservation", "1m", *shares, code=125).stderr
        assert "cannot divide its disk between guests, only limit and weigh it" in refused
        most = Guest(box, "most", "--io-shares", "3000", does=does)
        least = Guest(box, "least", does=does)

        def weight(guest: Guest) -> str:
            return box.group(guest.id, "io.weight")

        def moved(guest: Guest) -> int:
            lines = box.group(guest.id, "io.stat").splitlines()
            words = next((line.split() for line in lines if line.startswith(f"{disk} ")), [])
            return next((int(w[7:]) for w in words if w.startswith("rbytes=")), 0)

        until(lambda: weight(most) == "default 150", "its shares are in the kernel", PATIENCE)
        until(lambda: weight(least) == "default 50", "the other's too", PATIENCE)
        for guest in (most, least):
            box.wirt("exec", guest.name, "touch", "/go")
        until(lambda: moved(least) > 2 * MIB, "both read", PATIENCE)
        before = moved(most), moved(least)
        until(lambda: moved(most) - before[0] > 24 * MIB, "for a while", PATIENCE)
        assert moved(most) - before[0] > 1.8 * (moved(least) - before[1])
        assert "weigh" in box.wirt("why", "most", "--json").stdout
        box.wirt("governor", "pause")
        try:
            assert weight(most) == weight(least) == "default 100"
        finally:
            box.wirt("governor", "resume")
