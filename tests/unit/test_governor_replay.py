"""Days decided again: the same rules give the same day, others a different one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wirt.governor.decide import State, decide
from wirt.governor.estimate import Tuning, need_of
from wirt.governor.journal import Frame, Share
from wirt.governor.movement import Reason, margin
from wirt.governor.observe import Seen, Tick
from wirt.governor.replay import Rules, Tally, replay
from wirt.governor.trace import Head, Label, Record, Scene, decode, encode
from wirt.governor.tree import Claim, Group, Member, Resource

MIB = 1 << 20
CAPACITY = 400 * MIB
ROOT = Group(
    name="",
    children=(
        Member(name="g1", claims={Resource.MEMORY: Claim(reservation=64 * MIB)}),
        Member(name="g2", claims={Resource.MEMORY: Claim(reservation=128 * MIB)}),
    ),
)


def day(ticks: int = 60, *, hard: bool = False, sleeps: range = range(0)) -> list[Record]:
    """One guest is hungry, the other idle; the limits follow as the governor decides. ``hard``:
    they are such; ``sleeps``: ticks in which the idle one does."""
    state, limits = State(), {"g1": 200 * MIB, "g2": 200 * MIB}
    records: list[Record] = [
        Head(at=1, reserve=0, hard=hard),
        Scene(at=1, root=ROOT, labels={"g1": Label(name="dc"), "g2": Label(name="mail")}),
    ]
    for number in range(ticks):
        seen = {
            "g1": Seen(
                memory=limits["g1"] - MIB, memory_limit=limits["g1"], refaults=500.0, cpu=700
            ),
            "g2": Seen(memory=150 * MIB, memory_limit=limits["g2"], refaults=0.0, cpu=50),
        }
        tick = Tick(seconds=0.5, guests=seen)
        learned, asleep = state.estimates, frozenset({"g2"} if number in sleeps else ())
        made = decide(
            state, tick, ROOT, capacity=CAPACITY, reserve=0, tuning=Tuning(),
            slack=margin(CAPACITY) if hard else 0, asleep=asleep,
        )  # fmt: skip
        state = made.state
        shares = {}
        for name in seen:
            want = need_of(state.estimates[name], _claim(name), Tuning())
            shares[name] = {
                Resource.MEMORY: Share(
                    use=seen[name].memory, demand=want, entitled=made.memory.members[name],
                    limit=limits[name],
                ),
                Resource.CPU: Share(use=seen[name].cpu, demand=seen[name].cpu, entitled=500),
            }  # fmt: skip
        limits = dict(made.memory.members)
        records.append(
            Frame(
                at=number + 2, tick=tick, shares=shares, reasons=made.reasons,
                capacity={Resource.MEMORY: CAPACITY, Resource.CPU: 1000},
                asleep=asleep, learned=learned,
            )
        )  # fmt: skip
    return records


def _claim(name: str) -> Claim:
    return next(m for m in ROOT.members() if m.name == name).claim(Resource.MEMORY)


def test_the_same_rules_give_the_same_day() -> None:
    lines = [encode(record) for record in day()]
    outcome = replay(decode(lines), Rules())
    assert outcome.ticks == 60
    assert outcome.seconds == pytest.approx(30)
    assert outcome.recorded == outcome.replayed
    dc = outcome.replayed["g1", Resource.MEMORY]
    assert dc.hungry > 50
    assert outcome.replayed["g2", Resource.MEMORY].taxed > 0
    assert not outcome.refused


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("sleeps", [range(0), range(20, 45)])
@pytest.mark.parametrize(("first", "since"), [(0, 0), (7, 7), (0, 30), (7, 31)])
def test_so_they_do_from_any_tick_on(hard: bool, sleeps: range, first: int, since: int) -> None:
    """``first``: of the trace, ``since``: that counts."""
    _, scene, *frames = day(hard=hard, sleeps=sleeps)
    head = Head(reserve=0, hard=hard, since=since + 2)
    lines = [encode(record) for record in (head, scene, *frames[first:])]
    outcome = replay(decode(lines, lead=True), Rules())
    assert outcome.ticks == 60 - since
    assert outcome.recorded == outcome.replayed
    shown = [one.at for one in decode(lines) if isinstance(one, Frame)]
    assert shown == [*range(since + 2, 62)], "others see nothing of what is learned from"


def test_without_tax_the_idle_keep_more() -> None:
    outcome = replay(day(), Rules(tuning=Tuning(tax=0.0)))
    key = ("g2", Resource.MEMORY)
    assert outcome.replayed[key].mean > outcome.recorded[key].mean + 5 * MIB
    # what is held keeps being what it was: the hungry one wants more than it gets
    assert (
        outcome.replayed["g1", Resource.MEMORY].mean < outcome.recorded["g1", Resource.MEMORY].mean
    )


def test_a_smaller_host_refuses_and_starves() -> None:
    outcome = replay(day(), Rules(capacity={Resource.MEMORY: 150 * MIB, Resource.CPU: 500}))
    assert [(r.shortage.needed, r.shortage.free) for r in outcome.refused] == [
        (192 * MIB, 150 * MIB), (192 * MIB, 150 * MIB),
    ]  # fmt: skip
    assert [r.shortage.floor for r in outcome.refused] == [False, True]
    dc = outcome.replayed["g1", Resource.MEMORY]
    assert dc.most <= 150 * MIB
    assert dc.short > 20
    cpu = outcome.replayed["g1", Resource.CPU]
    assert cpu.unmet / cpu.seconds == pytest.approx(700 + 50 - 500)
    assert outcome.recorded["g1", Resource.CPU].unmet == 0


def test_other_claims_by_name() -> None:
    def promise(member: Member) -> Member:
        claims = {**member.claims, Resource.MEMORY: Claim(reservation=300 * MIB)}
        return replace(member, claims=claims)

    outcome = replay(day(), Rules(claims={"mail": promise}))
    least = outcome.replayed["g2", Resource.MEMORY].least
    assert least is not None
    assert least >= 300 * MIB


def test_gaps_and_blind_guests_are_borne() -> None:
    records = day(3)
    frame = records[-1]
    assert isinstance(frame, Frame)
    blind = replace(
        frame, tick=Tick(seconds=86_400, guests={"g1": Seen(), "gone": Seen(memory=1)}),
        shares={"g1": frame.shares["g1"], "gone": {Resource.MEMORY: Share(entitled=5)}},
    )  # fmt: skip
    outcome = replay([*records, blind], Rules())
    assert outcome.seconds == pytest.approx(61.5)
    assert outcome.replayed["g1", Resource.MEMORY].blind == 1
    assert ("gone", Resource.MEMORY) not in outcome.replayed


def test_frames_before_any_scene_count_for_nobody() -> None:
    outcome = replay([record for record in day(5) if not isinstance(record, Scene)], Rules())
    assert outcome.ticks == 5
    assert outcome.replayed == {}
    assert Reason.HUNGRY in {r for f in day(5) if isinstance(f, Frame) for r in f.reasons.values()}


def test_a_tally_of_nothing() -> None:
    assert Tally().mean == 0
