"""The idle tax: no more than is lacking, idle memory first, some room before anybody needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.governor.decide import State, decide
from wirt.governor.demand import cpu_wants, memory_wants
from wirt.governor.estimate import Estimate, Tuning, need_of, usual
from wirt.governor.observe import Seen, Tick
from wirt.governor.tax import taxed
from wirt.governor.tree import Claim, Group, Member

MIB = 1 << 20
CAPACITY = 512 * MIB
TUNING = Tuning()


def taxes(
    guests: dict[str, tuple[int, float]],
    *,
    pressing: bool,
    calm: int = 20,
    growth: float = 0.0,
    shares: int = 1000,
) -> dict[str, int]:
    """MiB that are taken. ``guests``: MiB in use, and millicores; h is hungry for as much again,
    with ``shares``, and not calm; g grows by ``growth`` MiB a tick, and is not calm either."""
    estimates, seen = {}, {}
    for name, (mib, cpu) in guests.items():
        restless = name in "gh"
        need = 2 * mib if name == "h" else mib
        estimates[name] = Estimate(
            memory=need * MIB, use=mib * MIB, work=cpu, calm=0 if restless else calm,
            hungry=name == "h", growth=growth * MIB if name == "g" else 0.0,
        )  # fmt: skip
        seen[name] = Seen(memory=mib * MIB, memory_limit=2 * mib * MIB, refaults=0.0)
    claims = dict.fromkeys(guests, Claim(reservation=MIB, limit=CAPACITY, shares=1000))
    if "h" in guests:
        claims["h"] = replace(claims["h"], shares=shares)
    after = taxed(
        estimates, seen, claims, capacity=CAPACITY, mean=usual(estimates, seen), pressing=pressing,
        tuning=TUNING,
    )  # fmt: skip
    return {name: (estimates[name].memory - now) // MIB for name, now in after.items()}


def test_a_small_need_does_not_take_much_of_who_works() -> None:
    """Of the owner of a peak 56 MiB were taken when an idle guest asked for four."""
    taken = taxes({"a": (285, 700), "b": (130, 35), "h": (24, 35)}, pressing=True)
    assert set(taken) == {"b"}
    assert 0 < taken["b"] <= 15


def test_memory_that_does_little_work_is_taken_first() -> None:
    taken = taxes({"a": (150, 700), "b": (150, 35), "h": (97, 500)}, pressing=True)
    assert taken["b"] == 30, "a fifth"
    assert taken.get("a", 0) < 30, "only what is still lacking"


def test_idle_memory_is_worth_a_fourth_to_who_has_few_shares_too() -> None:
    """A backup that read on and on kept 200 MiB, and dc less than it works with at night."""
    guests: dict[str, tuple[int, float]] = {"a": (200, 35), "b": (100, 35), "h": (200, 500)}
    assert set(taxes(guests, pressing=True)) == {"a", "b"}
    assert not taxes(guests, pressing=True, shares=100)
    guests = {"a": (300, 35), "b": (100, 35), "h": (100, 500)}
    assert set(taxes(guests, pressing=True, shares=100)) == {"a"}, "of three times as much some"


def test_who_all_work_alike_give_alike_and_the_longest_calm_first() -> None:
    taken = taxes({"a": (150, 0), "b": (150, 0), "h": (120, 0)}, pressing=True)
    assert taken == {"a": 30, "b": 30}


@pytest.mark.parametrize(
    ("guests", "givers"),
    [
        ({"a": (300, 20), "b": (90, 700)}, {"a"}),  # idle memory makes room for a third
        ({"a": (300, 700), "b": (90, 20)}, {"b"}),  # the peak's owner gives none of it
        ({"a": (300, 300), "b": (90, 90)}, set()),  # who all work keep it
        ({"a": (400, 300), "b": (90, 70)}, {"a", "b"}),  # but for an eighth
        ({"a": (200, 20), "b": (90, 700)}, set()),  # there is room enough
        ({"a": (300, 300), "b": (90, 30), "c": (90, 30)}, {"b", "c"}),  # nor of the eighth
    ],
)
def test_room_is_made_while_nobody_is_hungry(
    guests: dict[str, tuple[int, float]], givers: set[str]
) -> None:
    taken = taxes(guests, pressing=False)
    assert set(taken) == givers
    assert all(mib <= 0.06 * guests[name][0] for name, mib in taken.items()), "gently"


def test_room_is_made_for_who_grows_before_it_meets_its_limit() -> None:
    before = taxes({"a": (280, 300), "g": (60, 65)}, pressing=False)
    assert not before
    assert set(taxes({"a": (280, 300), "g": (60, 65)}, pressing=False, growth=20)) == {"a"}


def test_who_was_just_hungry_is_not_taxed() -> None:
    assert not taxes({"a": (400, 0), "h": (100, 0)}, pressing=True, calm=TUNING.patience)


@given(
    guests=st.dictionaries(
        st.sampled_from("abcdegh"),
        st.tuples(st.integers(0, 600), st.floats(0, 4000)),
        min_size=1,
    ),
    pressing=st.booleans(),
    calm=st.integers(0, 40),
)
def test_no_more_is_taken_than_is_lacking(
    guests: dict[str, tuple[int, float]], pressing: bool, calm: int
) -> None:
    wanted = sum(
        need_of(
            Estimate(memory=(2 * mib if name == "h" else mib) * MIB),
            Claim(reservation=MIB, limit=CAPACITY, shares=1000),
            TUNING,
        )
        for name, (mib, _) in guests.items()
    )
    taken = taxes(guests, pressing=pressing, calm=calm)
    assert all(mib >= 0 for mib in taken.values())
    assert all(mib <= TUNING.tax * guests[name][0] + 1 for name, mib in taken.items())
    lack = (wanted - TUNING.tight * CAPACITY) / MIB
    if pressing and lack > 0:
        capped = [name for name in taken if guests[name][0] * 1.08 * MIB >= CAPACITY]
        assert capped or sum(taken.values()) <= lack + len(taken) + 1


def test_an_idle_machine_asks_for_its_margin_and_no_headroom_beside() -> None:
    """Three of them that asked for a tenth more each kept a fourth from its peak for 4 seconds."""
    claims = dict.fromkeys("bm", Claim(limit=CAPACITY))
    busy = Seen(memory=300 * MIB, memory_limit=400 * MIB, refaults=0.0, cpu=100)
    before: dict[str, Estimate] = {}

    def machine(mib: int, cpu: int) -> int:
        """Bytes that it asks for, holding so much."""
        nonlocal before
        one = Seen(
            memory=mib * MIB, memory_limit=270 * MIB, margin=128 * MIB, refaults=0.0, cpu=cpu
        )
        seen = {"b": busy, "m": one}
        before = cpu_wants(before, seen, TUNING)
        before = memory_wants(before, seen, claims, capacity=CAPACITY, seconds=0.2, tuning=TUNING)
        return need_of(before["m"], claims["m"], TUNING)

    for number in range(20):
        assert machine(150 + 30 * (number % 2), 20) <= 310 * MIB, "it breathes"
        assert before["m"].calm == number + 1, "that is no growth"
        assert not before["m"].regret
    assert machine(200, 900) >= 1.3 * (200 + 128) * MIB, "and that is"
    assert not before["m"].regret, "but it was short of nothing"


def test_who_grows_is_given_room_before_it_meets_its_limit_and_is_not_taxed() -> None:
    """A guest at the beginning of its peak was taxed with all others to make room for it."""
    claims = dict.fromkeys("ab", Claim(reservation=MIB, limit=420 * MIB))
    before: dict[str, Estimate] = {}
    for number in range(12):
        grown = 30 + 15 * max(number - 8, 0)
        seen = {
            "a": Seen(memory=300 * MIB, memory_limit=320 * MIB, refaults=0.0, cpu=20),
            "b": Seen(memory=grown * MIB, memory_limit=190 * MIB, refaults=0.0, cpu=300),
        }
        before = memory_wants(before, seen, claims, capacity=400 * MIB, seconds=0.2, tuning=TUNING)
        if number > 8:
            assert before["b"].memory >= 1.3 * grown * MIB
            assert not before["b"].regret, "it has missed nothing"
    assert before["a"].memory <= 260 * MIB


def again(cpu: int, refaults: float, *, swap: int = 40) -> list[Estimate]:
    """What is thought of a guest of which 14 MiB were taken in each of three ticks and that reads
    ``refaults`` pages a second again, beside one that grows; it works by ``cpu`` millicores, and
    has so many MiB in ``swap``."""
    claims = dict.fromkeys("ab", Claim(reservation=MIB, limit=420 * MIB))
    before: dict[str, Estimate] = {}
    thought = []
    for number in range(17):
        limit = 300 - 14 * min(max(number - 9, 0), 3)
        seen = {
            "a": Seen(
                memory=(min(limit, 299) + number % 2 * (number > 12) * 6) * MIB,
                memory_limit=limit * MIB, refaults=refaults if number > 10 else 0.0, cpu=cpu,
                swap=swap * MIB,
            ),
            "b": Seen(
                memory=(60 + 8 * number) * MIB, memory_limit=190 * MIB, refaults=0.0, cpu=400
            ),
        }  # fmt: skip
        before = cpu_wants(before, seen, TUNING)
        before = memory_wants(before, seen, claims, capacity=400 * MIB, seconds=0.2, tuning=TUNING)
        thought.append(before["a"])
    return thought


def test_idle_memory_is_taken_on_though_what_is_in_use_of_it_comes_back() -> None:
    """A guest that was idle after its peak kept 239 MiB so, and others less than they work with."""
    thought = again(30, 4500.0)
    assert not any(one.hungry for one in thought)
    assert all(one.calm for one in thought[1:]), "nor does it grow"
    assert not thought[-1].regret


def test_who_works_or_asks_nearly_all_back_needs_it() -> None:
    assert any(one.hungry for one in again(600, 4500.0))
    assert any(one.hungry for one in again(30, 20_000.0))


def test_what_comes_back_from_a_disk_is_needed() -> None:
    """There it costs who waits for the same disk more than the memory is worth."""
    assert any(one.hungry for one in again(30, 4500.0, swap=0))


@pytest.mark.parametrize(("busy", "room"), [(300, True), (690, True), (960, False)])
def test_room_is_made_while_there_is_processor_time_for_it(busy: int, room: bool) -> None:
    """Where it was made at a peak's worst moment, requests waited twice as long."""
    root = Group(name="host", children=(Member(name="a"), Member(name="b")))
    seen = {
        "a": Seen(memory=300 * MIB, memory_limit=330 * MIB, refaults=0.0, cpu=20, swap=40 * MIB),
        "b": Seen(memory=90 * MIB, memory_limit=180 * MIB, refaults=0.0, cpu=busy),
    }
    state = State()
    for _ in range(20):
        made = decide(
            state, Tick(seconds=0.2, guests=seen), root, capacity=CAPACITY, reserve=0,
            processors=1000, tuning=TUNING,
        )  # fmt: skip
        state = made.state
    assert (made.memory.members["a"] < 300 * MIB) is room
