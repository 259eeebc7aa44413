"""What the pictures of the office's day say is what the runs say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from wirt.bench import alluvial, division, ledger, picture, report, watch
from wirt.bench.outcome import Count, Result, Run
from wirt.bench.policies import Policy
from wirt.bench.watch import Look
from wirt.bench.workload import at, office

NAMES = ("dc", "mail", "print", "erp")
Row = tuple[float, float, float, float]
STEPS = [step / 4 for step in range(97)]
PEAKS = {"dc": (7.5, 9.5), "mail": (10.5, 12.5), "print": (14.0, 16.0), "erp": (17.5, 19.5)}

STRETCHES = 3
"""Of hours in which a peak lacks memory: those of dc and mail meet at ten."""


def run(policy: Policy, series: dict[str, Sequence[Row]], guests: str = "container") -> Run:
    count = Count(offered=10, done=10, met=10, p50=1, p99=2)
    results = tuple(
        Result(name=name, antagonist=False, day=count, peak=count, hours=(None,) * 24)
        for name in series
    )
    return Run(
        variant="polite", guests=guests, policy=policy.value, seed=1, seconds=96, scale=1.0,
        results=results, series=series,
    )  # fmt: skip


def handed_over() -> dict[str, Sequence[Row]]:
    """A governor that gives whoever has its peak 320 of the 512 MiB, and 50 to all others."""
    return {
        name: tuple(
            (hour, 40.0, 320.0 if start - 0.5 < hour <= end + 0.5 else 50.0, 0.1) for hour in STEPS
        )
        for name, (start, end) in PEAKS.items()
    }


def flat(held: float, limit: float, cores: float = 0.7) -> dict[str, Sequence[Row]]:
    return {name: tuple((hour, held, limit, cores) for hour in STEPS) for name in NAMES}


def lacked(parts: division.Parts, hour: float) -> dict[str, float]:
    return {name: row[STEPS.index(hour)].lacked for name, row in parts.items()}


# --- what is hatched -------------------------------------------------------------------------


def test_an_equal_part_lacks_what_the_peak_needs_beyond_it() -> None:
    parts = division.memory(run(Policy.STATIC, flat(100, 128)))
    assert lacked(parts, 8.5) == {"dc": 300 - 128, "mail": 0, "print": 0, "erp": 0}
    assert lacked(parts, 3.0) == dict.fromkeys(NAMES, 0)
    assert parts["dc"][0].due == 128


def test_one_limit_around_all_lacks_only_while_nothing_is_free() -> None:
    full = division.memory(run(Policy.LINUX, flat(128, 0)))
    assert lacked(full, 8.5)["dc"] == 300 - 128
    assert full["dc"][0].due == full["dc"][0].used
    room = division.memory(run(Policy.LINUX, flat(60, 0)))  # 272 MiB are free
    assert lacked(room, 8.5)["dc"] == 0
    assert lacked(division.memory(run(Policy.ORACLE, flat(10, 0))), 8.5)["dc"] == 0


def test_the_governor_lacks_what_its_limits_leave_out() -> None:
    assert not any(lacked(division.memory(run(Policy.GOVERNOR, handed_over())), 8.5).values())
    small = division.memory(run(Policy.GOVERNOR, flat(100, 200)))
    assert lacked(small, 18.0) == {"dc": 0, "mail": 0, "print": 0, "erp": 100}


def test_processor_time_that_was_asked_for_and_not_got() -> None:
    parts = division.cpu(run(Policy.STATIC, flat(100, 128, cores=0.25)))
    assert lacked(parts, 8.5)["dc"] == pytest.approx(0.7 - 0.25)
    assert lacked(parts, 8.5)["mail"] == 0
    # what chance does to the number of requests is not hatched
    assert lacked(division.cpu(run(Policy.LINUX, flat(100, 0, cores=0.66))), 8.5)["dc"] == 0


def test_nobody_knows_what_an_antagonist_needs() -> None:
    plan = office("backup")
    backup = next(one for one in plan.services if one.antagonist)
    series = {**flat(100, 128, 0.0), "backup": flat(0, 0, 0.0)["dc"]}
    day = replace(run(Policy.STATIC, series), variant="backup")
    assert at(backup.working_set, 12) > 1000
    assert lacked(division.memory(day), 12.0)["backup"] == 0
    assert lacked(division.cpu(day), 12.0)["backup"] == 0


def test_a_machines_figures_are_its_guests_where_they_were_told() -> None:
    inside = division.memory(run(Policy.GOVERNOR, flat(200, 300), "microvm"))
    assert (inside["dc"][0].used, inside["dc"][0].due) == (296, 396)
    assert lacked(inside, 8.5)["dc"] == 0
    group = run(Policy.GOVERNOR, flat(300, 901.1), "microvm")
    assert division.memory(group)["dc"][0].due == 300
    assert not division.divides(group)
    assert ledger.stages(group) == []


def test_memory_of_machines_is_what_their_guests_last_told() -> None:
    looks = [Look(at=n / 5, cpu=n, memory=900, limit=990) for n in range(4)]
    said = Look(at=0.2, cpu=None, memory=70, limit=100)
    made = watch.inside(looks, [said, Look(at=0.4, cpu=None, memory=None, limit=None)])
    assert [(one.memory, one.limit) for one in made] == [(900, 990), *[(70, 100)] * 3]
    assert [one.cpu for one in made] == [0, 1, 2, 3]


# --- the ledger ------------------------------------------------------------------------------


def test_each_peak_takes_from_the_one_before() -> None:
    stages = ledger.stages(run(Policy.GOVERNOR, handed_over()))
    assert [one.title for one in stages] == [
        "night", "peak of dc", "peak of mail", "peak of print", "peak of erp", "evening",
    ]  # fmt: skip
    told = [
        [(one.source, one.target, round(one.amount)) for one in ledger.moves(*pair)]
        for pair in itertools.pairwise(stages)
    ]
    assert told == [
        [("free", "dc", 270)],
        [("dc", "mail", 270)],
        [("mail", "print", 270)],
        [("print", "erp", 270)],
        [("erp", "free", 270)],
    ]


def test_nothing_is_lost_in_the_ledger() -> None:
    rows = handed_over()
    rows["mail"] = tuple((hour, 40.0, 50.0 + hour * 1.5, 0.1) for hour in STEPS)
    stages = ledger.stages(run(Policy.GOVERNOR, rows))
    for before, after in itertools.pairwise(stages):
        flows = ledger.flows(before, after)
        for name in (*NAMES, ledger.NOBODY):
            went = sum(one.amount for one in flows if one.source == name)
            came = sum(one.amount for one in flows if one.target == name)
            assert went == pytest.approx(before.held[name], abs=2.0)
            assert came == pytest.approx(after.held[name], abs=2.0)


def test_there_is_no_ledger_where_nobody_divides() -> None:
    assert ledger.stages(run(Policy.LINUX, flat(100, 0))) == []
    assert ledger.stages(run(Policy.GOVERNOR, {})) == []
    assert alluvial.picture(run(Policy.STATIC, flat(100, 128))) == ""


# --- drawn -----------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(text).iter() if "text" in node.tag]


def test_the_ledger_is_drawn_and_told_on_the_page() -> None:
    runs = [
        run(Policy.ORACLE, flat(10, 0)), run(Policy.STATIC, flat(100, 128)),
        run(Policy.GOVERNOR, handed_over()),
    ]  # fmt: skip
    made = picture.all_of(runs)
    words = words_of(made["ledger.svg"])
    assert {"peak of mail", "10:30 to 12:30", "dc → mail  270", "free", "320"} <= set(words)
    facts = {"kernel": "6", "processors": "2", "memory": "1 GiB"}
    assert "](p/polite-ledger.svg)" in report.page(runs, facts, "p")
    assert "ledger" not in report.page(runs[:2], facts, "p")
    assert "ledger.svg" not in picture.all_of(runs[:2])


def hatched(text: str) -> int:
    return text.count('fill="url(#unmet)"')


def test_only_what_was_lacked_is_hatched_and_all_have_the_same_axes() -> None:
    good, bad = run(Policy.GOVERNOR, handed_over()), run(Policy.STATIC, flat(100, 128))
    assert hatched(picture.day([good], "memory")) == 0
    assert hatched(picture.day([bad], "memory")) == STRETCHES
    both = picture.day([good, bad], "memory")
    assert words_of(both).count("512 MiB") == 2
    assert any("hatched red" in one for one in words_of(both))


def test_who_has_all_the_memory_of_the_machine_does_not_flatten_the_others() -> None:
    oracle, bad = run(Policy.ORACLE, flat(2000, 0)), run(Policy.STATIC, flat(100, 128))
    text = picture.day([oracle, bad], "memory")
    assert "oracle (goes on above)" in words_of(text)
    assert hatched(text) == STRETCHES
