"""From runs to what is claimed, and to what people see of it."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.bench import picture, report, score, watch
from wirt.bench.governing import Moment, broken
from wirt.bench.outcome import Acts, Count, Noise, Result, Run, as_json, from_json
from wirt.bench.policies import ALL, Policy
from wirt.bench.targets import COLUMNS, TARGETED, TARGETS, of_column, reached
from wirt.bench.watch import Look, Machine
from wirt.bench.workload import Day, at, office
from wirt.errors import Invalid

NAMES = ("dc", "mail", "print", "erp")
HOURS = ((10.0, 20.0), *[None] * 22, (5.0, 2000.0))


def some_run(
    policy: Policy, *, met: int = 100, done: int = 100, p99: float = 50.0, seed: int = 1
) -> Run:
    """Each of the four services was asked for 100 requests, half of them in its peak."""
    day = Count(offered=100, done=done, met=met, p50=p99 / 2, p99=p99)
    peak = Count(offered=50, done=done // 2, met=met // 2, p50=p99 / 2, p99=p99)
    made = [Result(name=name, antagonist=False, day=day, peak=peak, hours=HOURS) for name in NAMES]
    rows = tuple((float(hour), 30.0, 60.0, 0.1) for hour in range(24))
    return Run(
        variant="polite", guests="container", policy=policy.value, seed=seed, seconds=96,
        scale=1.0, results=tuple(made), series=dict.fromkeys(NAMES, rows),
    )  # fmt: skip


def a_day(seed: int = 1) -> list[Run]:
    """One run of every policy."""
    acts = Acts(handover=2.4, moved=50.0, cost=1.2)
    return [
        some_run(Policy.ORACLE, seed=seed),
        some_run(Policy.STATIC, met=0, done=50, p99=2000, seed=seed),
        some_run(Policy.VMLIKE, met=20, p99=1200, seed=seed),
        some_run(Policy.LINUX, met=98, seed=seed),
        some_run(Policy.TUNED, seed=seed),
        replace(some_run(Policy.GOVERNOR, met=99, p99=60, seed=seed), acts=acts),
    ]


def by_policy(runs: list[Run]) -> Mapping[Policy, Run]:
    return {Policy(run.policy): run for run in runs}


def test_the_governor_is_scored_against_the_others() -> None:
    those = by_policy(a_day())
    made = score.score(those[Policy.GOVERNOR], those)
    assert made.oracle == pytest.approx(0.99)
    assert made.static == pytest.approx(2.0)
    assert made.static_peak == pytest.approx(2.0)
    assert made.peak_vmlike == pytest.approx(196 / 40)
    assert made.linux == pytest.approx(99 / 98)
    assert made.latency == pytest.approx(1.2)
    assert (made.kills, made.violations) == (0, 0)
    assert made.p99_peak == 60


def test_a_gain_over_nothing_is_not_told() -> None:
    those = {Policy.VMLIKE: some_run(Policy.VMLIKE, met=0)}
    assert score.score(some_run(Policy.GOVERNOR), those).peak_vmlike is None
    told = score.line(some_run(Policy.GOVERNOR), {})
    assert "OR" not in told
    assert "inf" not in told


def test_the_line_has_everything_that_can_be_said() -> None:
    those = by_policy(a_day())
    told = score.line(those[Policy.GOVERNOR], those)
    assert told.startswith("officeday polite container governor: done 100.0%")
    for part in ("OR 0.99", "SG 2.00x", "SGp 2.00x", "LR 1.20", "RV 0.0", "K 0", "T 2.4s", "O 1.2%",
                 "(G 3.5/2.9)"):  # fmt: skip
        assert part in told
    assert "T never" in score.line(replace(those[Policy.GOVERNOR], acts=Acts()), those)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_fairness_lies_between_one_alone_and_all_alike(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= score.jain(shares) <= 1 + 1e-9


def test_fairness_of_the_alike_is_one() -> None:
    assert score.jain([3.0] * 7) == pytest.approx(1)
    assert score.jain([5.0, 0.0]) == pytest.approx(0.5)
    assert score.jain([]) == 1.0


def test_everybody_polite_is_entitled_to_all_that_is_asked() -> None:
    plan = office("polite")
    entitled = score.entitled(plan, 96)
    for one in plan.services:
        asked = sum(
            rate * 96 / 240 for step in range(240) for rate in [at(one.rate(), (step + 0.5) / 10)]
        )
        assert entitled[one.name] == pytest.approx(asked, rel=0.05)


def test_shares_decide_who_is_entitled_where_two_peaks_meet() -> None:
    entitled = score.entitled(office("overlap"), 96)
    polite = score.entitled(office("polite"), 96)
    assert entitled["mail"] < 0.75 * polite["mail"]
    assert entitled["dc"] > 1.2 * entitled["mail"]
    assert entitled["erp"] == pytest.approx(polite["erp"])


def test_disturbed_runs_do_not_count() -> None:
    assert score.disturbed(Noise(others=0.05, pinned=0.05, steal=0.01)) == ()
    assert "stolen" in score.disturbed(Noise(steal=0.03))[0]
    assert "machine" in score.disturbed(Noise(others=0.11))[0]
    assert "simulated" in score.disturbed(Noise(pinned=0.11))[0]


def test_an_oracle_has_to_get_things_done() -> None:
    assert score.incomplete(some_run(Policy.ORACLE, done=99)) == ()
    assert score.incomplete(some_run(Policy.ORACLE, done=98)) != ()
    assert score.incomplete(some_run(Policy.STATIC, done=10)) == ()


def test_an_oracle_has_to_do_no_more_than_there_is_time_for() -> None:
    """For two hours, and a little of the ramps, two peaks that meet and two calm services ask for
    137 % of the host; the whole day for 9.76 hours of it."""
    assert score.feasible(office("polite")) == pytest.approx(1, abs=0.001)
    part = score.feasible(office("overlap"))
    assert part == pytest.approx(1 - 0.37 * 2.15 / 9.76, abs=0.003)
    for done, counts in ((92, True), (91, False)):
        run = replace(some_run(Policy.ORACLE, done=done), variant="overlap")
        assert (score.incomplete(run) == ()) is counts


def test_a_seed_without_its_oracle_is_left_out() -> None:
    spoiled = [replace(run, invalid=("noise",)) if run.policy == "oracle" else run
               for run in a_day(seed=2)]  # fmt: skip
    found = score.by_seed([*a_day(seed=1), *spoiled])
    assert set(found) == {1}
    assert len(score.scores([*a_day(1), *spoiled, *a_day(3)], Policy.GOVERNOR)) == 2


def test_kills_and_guests_that_are_gone_are_counted() -> None:
    one = some_run(Policy.STATIC).results[0]
    assert score.kills([one, replace(one, whole=False), replace(one, kills=3, whole=False)]) == 4


def test_a_spread_is_the_median_with_its_range() -> None:
    assert score.spread([None]) is None
    found = score.spread([3.0, None, 1.0, 2.0])
    assert found == score.Spread(median=2.0, least=1.0, most=3.0)
    assert str(found) == "2.00 (1.00-3.00)"


# --- noise, hand-over, promises --------------------------------------------------------------


def test_noise_is_what_neither_guests_nor_their_servants_used() -> None:
    idle = {0: 0.0, 1: 0.0}
    before = Machine(busy=idle, steal=idle, ours=idle, servants={}, rest={}, kernel={}, at=100.0)
    after = Machine(
        busy={0: 4.0, 1: 8.0}, steal={0: 0.0, 1: 0.2}, ours={0: 0.0, 1: 7.5}, servants={7: 1.0},
        rest={8: 0.5, 9: 0.5}, kernel={2: 0.5}, at=110.0,
    )  # fmt: skip
    found = watch.noise(before, after, frozenset({1}))
    assert found == Noise(others=0.1, pinned=0.0, steal=0.01)
    assert watch.grown({1: 2.0, 2: 5.0}, {1: 3.0, 4: 0.5}) == 1.5
    quiet = replace(after, kernel={})
    assert watch.noise(before, quiet, frozenset({1})) == Noise(
        others=0.125, pinned=0.05, steal=0.01
    )
    whole = replace(after, ours={-1: 7.5})  # a kernel that tells the sum only
    assert watch.noise(replace(before, ours={-1: 0.0}), whole, frozenset({1})) == found


def looks(limits: Sequence[int | None], *, every: float = 0.2) -> list[Look]:
    return [
        Look(at=number * every, cpu=number, memory=1 << 20, limit=limit)
        for number, limit in enumerate(limits)
    ]


def test_a_hand_over_counts_from_the_need_to_the_limit() -> None:
    service = office("polite").services[0]  # 300 MiB from 7:30, 90 % of it from 7:27 on
    day = Day(seconds=96, seed=1)
    need = 29.77  # seconds
    enough = 280 << 20
    ticks = round(96 / 0.2)
    rise = round((need + 2.0) / 0.2)
    found = watch.handover(looks([50 << 20] * rise + [enough] * (ticks - rise)), service, day)
    assert found == pytest.approx(2.0, abs=0.3)
    assert watch.handover(looks([50 << 20] * ticks), service, day) is None
    assert watch.handover(looks([None] * ticks), service, day) == 0.0
    assert watch.handover(looks([enough] * 3), service, day) is None


def test_what_is_moved_is_counted_once() -> None:
    give = looks([100 << 20, 50 << 20, 50 << 20])
    take = looks([0, 50 << 20, 50 << 20])
    assert watch.moved({"a": give, "b": take}) == pytest.approx(50 / 0.4)
    assert watch.moved({}) == 0.0


def test_a_series_is_thin_and_keeps_the_hours() -> None:
    made = watch.series({"dc": looks([1 << 20] * 481)}, Day(seconds=96, seed=1))["dc"]
    assert len(made) <= 240
    assert made[0][0] == 0.0
    assert made[-1][0] < 24
    assert {row[2] for row in made} == {1.0}
    assert watch.series({"dc": []}, Day(seconds=96, seed=1)) == {"dc": []}


def moment(used: int | None, waited: int | None, limit: int | None = None) -> Moment:
    return Moment(at=0.0, seconds=0.2, used=used, waited=waited, memory=None, limit=limit)


def test_a_promise_is_broken_only_to_one_who_never_rests() -> None:
    starved, resting, served = moment(50, 950), moment(50, 100), moment(100, 900)
    assert broken([starved] * 10, millis=100, memory=0) == pytest.approx(2.0)
    assert broken([resting] * 10, millis=100, memory=0) == 0
    assert broken([served] * 10, millis=100, memory=0) == 0
    assert broken([moment(None, None)] * 10, millis=100, memory=0) == 0
    assert broken([moment(0, 0, 31 << 20)] * 3, millis=0, memory=32 << 20) == pytest.approx(0.6)
    assert broken([moment(0, 0, 32 << 20)] * 3, millis=0, memory=32 << 20) == 0


# --- files, tables, pictures -----------------------------------------------------------------


def test_runs_survive_a_file() -> None:
    runs = a_day()
    again = report.load(report.document(runs), "results")
    assert [as_json(run) for run in again] == [as_json(run) for run in runs]
    assert from_json(json.loads(json.dumps(as_json(runs[0])))).results == runs[0].results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version":9,"runs":[]}', '{"version":1}',
                                  '{"version":1,"runs":[{}]}'])  # fmt: skip
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"results\.json holds no results"):
        report.load(text, "results.json")


def test_what_is_kept_is_valid_new_and_has_pictures_once() -> None:
    better = replace(a_day()[0], noise=Noise(others=0.01))
    spoiled = replace(a_day()[1], invalid=("noise",), noise=Noise(others=0.9))
    kept = report.merge([*a_day(1), *a_day(2)], [better, spoiled])
    assert len(kept) == 12
    assert better in kept
    assert all(run.noise.others < 0.5 for run in kept)
    assert {bool(run.series) for run in kept if run.seed == 1} == {True}
    assert {bool(run.series) for run in kept if run.seed == 2} == {False}


def test_the_page_tells_what_is_missed_and_every_column() -> None:
    runs = [*a_day(1), *a_day(2), *a_day(3)]
    page = report.page(runs, {"kernel": "6", "processors": "2", "memory": "1 GiB"}, "pictures")
    assert "## polite" in page
    assert "## backup" not in page
    assert "| 12 (≤ 15) |" in page  # the hand-over, in ticks
    assert "**2** (≥ 2.2)" in page  # inside peaks
    assert "| governor | 100% | 99% |" in page
    assert "![polite: memory](pictures/polite-memory.svg)" in page


def test_targets_have_a_bound_for_each_column() -> None:
    runs = a_day()
    for target in TARGETS:
        assert len(target.bounds) == len(TARGETED)
        assert reached(target, runs) is not None
    assert set(TARGETED) < set(COLUMNS)
    assert of_column(runs, "backup") == []
    assert len(of_column(runs, "polite")) == len(ALL)
    gain = TARGETS[1]
    assert gain.reached("polite", 1.5) is True
    assert gain.reached("polite", 1.4) is False
    assert gain.reached("mixed", 0.0) is None


def test_the_table_has_a_line_for_each_policy() -> None:
    lines = report.table(a_day()).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [policy.value for policy in ALL]
    assert len({line.rstrip().count("%") for line in lines[1:]}) == 1


def test_pictures_are_drawn_for_every_policy() -> None:
    runs = a_day()
    made = picture.all_of(runs)
    each = ("latency.svg", "requests.svg", "memory.svg", "cpu.svg")
    assert set(made) == {*each, "ledger.svg"}
    for text in map(made.__getitem__, each):
        root = ElementTree.fromstring(text)
        words = [node.text for node in root.iter() if node.tag.endswith("text")]
        assert {policy.value for policy in ALL} <= set(words)
    coordinates = [
        float(number)
        for node in ElementTree.fromstring(made["memory.svg"]).iter()
        for number in itertools.chain(*(p.split(",") for p in node.get("points", "").split()))
    ]
    assert min(coordinates) >= 0
    assert picture.all_of([]) == {}


def test_nothing_that_was_told_reaches_a_picture_as_markup() -> None:
    runs = [replace(a_day()[0], policy="<b>&")]
    assert "&lt;b&gt;&amp;" in picture.bars(runs)
