"""The office: what is asked for, what each policy gives, and what guests told."""

from __future__ import annotations

import itertools
import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.bench import policies
from wirt.bench.fleet import archive
from wirt.bench.host import split
from wirt.bench.outcome import LOST, count, quantile, read, result
from wirt.bench.policies import Policy
from wirt.bench.workload import (
    KINDS,
    VARIANTS,
    Day,
    Service,
    at,
    gain,
    office,
    words,
    write,
)
from wirt.errors import Exhausted, Invalid

DAY = Day(seconds=96, seed=3, iterations=dict.fromkeys(("container", "microvm", "vm"), 7))


@pytest.mark.parametrize(("variant", "guests"), list(itertools.product(VARIANTS, KINDS)))
def test_every_office_can_be_built(variant: str, guests: str) -> None:
    plan = office(variant, guests=guests, scale=0.5)
    late = ["spare"] if variant == "failover" else []
    assert [one.name for one in plan.scored] == ["dc", "mail", "print", "erp", *late]
    assert len({one.name for one in plan.services}) == len(plan.services)
    for number, service in enumerate(plan.services):
        assert all(word.split("=", 1)[1] for word in words(service, number, DAY)[1:])
        for policy in Policy:
            assert policies.resources(policy, service, plan) is not None


def test_the_polite_office_is_the_one_that_is_documented() -> None:
    plan = office("polite")
    most = gain(plan.services)
    assert (round(most.cpu, 1), round(most.memory, 1)) == (3.5, 2.9)
    hours = [step / 10 for step in range(241)]
    assert max(sum(at(one.load, hour) for one in plan.services) for hour in hours) < 0.85
    sets = [sum(at(one.working_set, hour) for one in plan.services) for hour in hours]
    assert max(sets) < plan.pool.memory / (1 << 20) < sum(one.peak_set for one in plan.services)


def test_machines_ask_for_half_and_containers_between_them_stay() -> None:
    mixed = office("polite", guests="mixed")
    assert [one.kind for one in mixed.services] == ["microvm", "container"] * 2
    half, whole = office("polite", guests="vm").services[0], office("polite").services[0]
    assert [value * 2 for _, value in half.load] == [value for _, value in whole.load]


@pytest.mark.parametrize(
    ("variant", "guests", "scale", "told"),
    [
        ("rude", "container", 1.0, "'rude'"),
        ("polite", "jail", 1.0, "'jail'"),
        ("polite", "container", 0.0, "0"),
        ("polite", "container", float("nan"), "nan"),
        ("polite", "container", 1e30, "1e+30"),
    ],
)
def test_what_is_no_office_is_refused(variant: str, guests: str, scale: float, told: str) -> None:
    with pytest.raises(Invalid, match=told.replace("+", r"\+")) as caught:
        office(variant, guests=guests, scale=scale)
    assert caught.value.hint


def test_scale_takes_everything_with_it() -> None:
    one, double = office("backup"), office("backup", scale=2)
    assert double.pool.memory == 2 * one.pool.memory
    assert double.pool.reads == 2 * one.pool.reads
    for small, large in zip(one.services, double.services, strict=True):
        assert large.peak_set == 2 * small.peak_set
        assert at(large.load, 8) == 2 * at(small.load, 8)
        assert large.hogs == 2 * small.hogs


points = st.lists(
    st.tuples(st.floats(0, 24), st.floats(0, 1e6)),
    min_size=1,
    max_size=10,
    unique_by=lambda p: p[0],
).map(lambda found: tuple(sorted(found)))


@given(points, st.floats(0, 24))
def test_a_curve_stays_between_its_points(curve: tuple[tuple[float, float], ...], h: float) -> None:
    values = [value for _, value in curve]
    assert min(values) - 1e-6 <= at(curve, h) <= max(values) + 1e-6
    assert at(curve, curve[0][0]) == pytest.approx(curve[0][1])
    assert write(curve).count("=") == len(curve)


def test_services_of_one_day_have_different_seeds_and_days_too() -> None:
    plan = office("polite")
    seeds = {
        word
        for seed in (1, 2, 3)
        for number, one in enumerate(plan.services)
        for word in words(one, number, Day(seconds=96, seed=seed, iterations=DAY.iterations))
        if word.startswith("seed=")
    }
    assert len(seeds) == 12


def test_policies_give_what_they_say() -> None:
    plan = office("backup")
    backup, dc = plan.services[-1], plan.services[0]
    part = plan.pool.memory // 5
    assert policies.resources(Policy.ORACLE, dc, plan) == {"cpu_shares": 1024}
    assert policies.resources(Policy.LINUX, backup, plan) == {}
    assert policies.resources(Policy.STATIC, dc, plan) == {
        "memory": part,
        "cpu_millis": 200,
        "memory_swap": -1,
    }
    assert "cpu_millis" not in policies.resources(Policy.VMLIKE, dc, plan)
    tuned = [policies.resources(Policy.TUNED, one, plan)["cpu_shares"] for one in (dc, backup)]
    assert tuned == [1024, 102]
    governed = policies.resources(Policy.GOVERNOR, dc, plan)
    assert governed["memory_reservation"] == 32 << 20
    assert governed["cpu_shares"] == 1024
    assert "cpu_reservation" not in policies.resources(Policy.GOVERNOR, backup, plan)
    assert [policies.confined(policy) for policy in Policy] == [False, *[True] * 5]


def test_promises_fit_into_the_host() -> None:
    for variant, guests in itertools.product(VARIANTS, KINDS):
        plan = office(variant, guests=guests)
        promised = [policies.promise(one, plan) for one in plan.services]
        assert sum(one.memory for one in promised) <= plan.pool.memory
        assert sum(one.millis for one in promised) <= plan.pool.cpus * 1000


def test_a_fixed_part_of_a_machine_leaves_room_for_its_emulator() -> None:
    plan = office("polite", guests="microvm")
    sizes = [policies.resources(Policy.VMLIKE, one, plan)["memory"] for one in plan.services]
    assert sum(sizes) + 4 * (96 << 20) == plan.pool.memory
    assert policies.resources(Policy.LINUX, plan.services[0], plan) == {"memory": 512 << 20}


def test_without_swap_a_fixed_part_is_all_there_is() -> None:
    plan = office("oom")
    given_to = policies.resources(Policy.STATIC, plan.services[0], plan)
    assert given_to["memory_swap"] == given_to["memory"] == plan.pool.memory // 4


def test_one_processor_is_left_for_the_measuring() -> None:
    assert split(1.0, [0, 1]) == (frozenset({1}), frozenset({0}))
    assert split(1.5, [0, 2, 4, 6]) == (frozenset({4, 6}), frozenset({0, 2}))
    assert split(0.25, [3, 5]) == (frozenset({5}), frozenset({3}))
    with pytest.raises(Exhausted, match="2 cores needs 3 processors, there are 2"):
        split(2.0, [0, 1])


def test_the_image_is_the_program_and_a_place_for_data(tmp_path: Path) -> None:
    program = tmp_path / "wirt-load"
    program.write_bytes(b"\x7fELF")
    made = archive(program)
    assert made == archive(program)
    with tarfile.open(fileobj=BytesIO(made)) as tar:
        assert {one.name: (one.isdir(), one.mode) for one in tar} == {
            "data": (True, 0o755), "tmp": (True, 0o755), "wirt-load": (False, 0o755),
        }  # fmt: skip


TOLD = """{"ready":{"offered":4}}
{"start":1795743776985838}
{"done":[[1000,2000],[5000,-1]]}
{"done":[[3000,260000]]}
"""


def test_what_the_generator_told_is_read() -> None:
    served = read(TOLD)
    assert (served.offered, served.start, served.whole) == (4, 1795743776985838, False)
    assert served.ends == ((1000, 2000), (5000, LOST), (3000, 260000))
    assert read(TOLD + '{"end":{"offered":4,"done":2,"lost":2}}\n').whole


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        "3",
        '{"ready":{}}',
        '{"ready":{"offered":-1}}',
        '{"ready":{"offered":1e99}}',
        '{"done":[[1]]}',
        '{"done":[[1,"x"]]}',
        '{"done":[[1,-2]]}',
        '{"done":[[true,1]]}',
        '{"done":[[1,1],[2,2]]}',
    ],
)
def test_a_guest_that_tells_nonsense_is_refused(line: str) -> None:
    with pytest.raises(Invalid):
        read(line + "\n")


def test_what_a_guest_that_died_could_not_tell_of_is_lost() -> None:
    service = Service(name="dc", load=((0, 1),), working_set=((0, 1),), peaks=((0.0, 12.0),))
    day = Day(seconds=24, seed=1)
    planned = [1_000_000, 2_000_000, 13_000_000, 23_999_999]
    told = json.dumps({"done": [[1_000_000, 100_000], [13_000_000, 900_000]]})
    served = read(f'{{"ready":{{"offered":4}}}}\n{told}\n{{"done":[[2000')
    made = result(service, served, day, planned=planned, kills=1)
    assert (made.day.offered, made.day.done, made.day.met) == (4, 2, 1)
    assert (made.peak.offered, made.peak.done, made.peak.met) == (2, 1, 1)
    assert made.hours[1] == (100.0, 100.0)
    assert made.hours[2] == (2000.0, 2000.0)
    assert made.hours[3] is None
    assert (made.kills, made.whole) == (1, False)


latencies = st.lists(st.one_of(st.just(LOST), st.integers(0, 3_000_000)), max_size=60)


@given(latencies)
def test_counts_are_nested(found: list[int]) -> None:
    made = count(found)
    assert 0 <= made.met <= made.done <= made.offered == len(found)
    assert made.p50 <= made.p99


def test_quantiles_are_nearest_ranks() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([3000, 1000, 2000], 0.5) == 2.0
    assert quantile([1000] * 98 + [LOST] * 2, 0.99) == 2000.0
    assert quantile([1000] * 100, 0.99) == 1.0


def test_a_guest_that_comes_late_is_asked_for_nothing_before() -> None:
    spare = office("failover").services[-1]
    assert [at(spare.load, hour) for hour in (0, 8.9, 9)] == [0, 0, 0]
    assert at(spare.load, 9.1) > 0
    assert f"offset={9 * 4000}" in words(spare, 4, DAY)
    assert not any(
        word.startswith("offset=") for word in words(office("polite").services[0], 0, DAY)
    )
