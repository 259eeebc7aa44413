"""Entitlements in trees of groups, movement, weights: invariants for any tree and any wants."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.governor.admission import Host, Shortage, promised, shortage, shortages
from wirt.governor.movement import Holding, Move, grows, shrinks
from wirt.governor.plan import Want, entitle
from wirt.governor.tree import UNLIMITED, Claim, Group, Member, Resource
from wirt.governor.weights import as_shares, cpu_weights

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of the code."""
MIB = 1 << 20
CAPACITY = 2**32
MEMORY = Resource.MEMORY


@st.composite
def claims(draw: st.DrawFn, most: int) -> Claim:
    reservation = draw(st.integers(0, most))
    limit = draw(st.integers(reservation, 2**33) | st.just(UNLIMITED))
    return Claim(reservation=reservation, limit=limit, shares=draw(st.integers(1, 10_000)))


@st.composite
def trees(draw: st.DrawFn, resource: Resource = MEMORY) -> Group:
    """Up to 3 groups of up to 3 guests, and guests beside them; all promises can be kept."""
    made = 0

    def member() -> Member:
        nonlocal made
        made += 1
        return Member(name=f"g{made}", claims={resource: draw(claims(CAPACITY // 16))})

    def group(number: int) -> Group:
        children = tuple(member() for _ in range(draw(st.integers(1, 3))))
        reserved = sum(child.claim(resource).reservation for child in children)
        claim = Claim(reservation=min(reserved, CAPACITY // 4), shares=draw(st.integers(1, 10_000)))
        return Group(name=f"t{number}", claims={resource: claim}, children=children)

    groups = tuple(group(number) for number in range(draw(st.integers(0, 3))))
    alone = tuple(member() for _ in range(draw(st.integers(1, 3))))
    return Group(name="host", children=(*groups, *alone))


@st.composite
def wanting(draw: st.DrawFn, resource: Resource = MEMORY) -> tuple[Group, dict[str, Want]]:
    tree = draw(trees(resource))
    return tree, {
        m.name: Want(
            amount=draw(st.integers(0, 2**33)),
            hungry=draw(st.booleans()),
            modest=draw(st.booleans()),
        )
        for m in tree.members()
    }


@RELAXED
@given(wanting(), st.integers(0, 2**33))
def test_no_level_gives_more_than_it_has(
    world: tuple[Group, dict[str, Want]], capacity: int
) -> None:
    tree, wants = world
    got = entitle(tree, MEMORY, capacity, wants)
    assert sum(got.members.values()) <= capacity
    for group in tree.children:
        if isinstance(group, Group):
            inside = sum(got.members[m.name] for m in group.members())
            assert inside <= got.groups[group.name]


@RELAXED
@given(wanting())
def test_promises_are_kept_and_limits_hold(world: tuple[Group, dict[str, Want]]) -> None:
    tree, wants = world
    got = entitle(tree, MEMORY, CAPACITY, wants)
    for member in tree.members():
        claim = member.claim(MEMORY)
        assert claim.reservation <= got.members[member.name] <= claim.limit


@RELAXED
@given(wanting(Resource.CPU))
def test_time_that_is_not_wanted_is_lent(world: tuple[Group, dict[str, Want]]) -> None:
    tree, wants = world
    got = entitle(tree, Resource.CPU, CAPACITY, wants)
    for member in tree.members():
        wanted = min(wants[member.name].amount, member.claim(Resource.CPU).reservation)
        assert got.members[member.name] >= wanted


@RELAXED
@given(wanting(), st.integers(0, 2**33))
def test_nothing_lies_idle_while_somebody_wants_it(
    world: tuple[Group, dict[str, Want]], capacity: int
) -> None:
    tree, wants = world
    flat = Group(name="host", children=tuple(tree.members()))
    got = entitle(flat, MEMORY, capacity, wants).members
    most = {m.name: _most(m.claim(MEMORY), wants[m.name]) for m in flat.members()}
    assert sum(got.values()) == min(capacity, sum(most.values()))


def _most(claim: Claim, want: Want) -> int:
    if want.hungry or not want.modest:
        return claim.limit
    return min(max(want.amount, claim.reservation), claim.limit)


@RELAXED
@given(wanting(), st.integers(1, 2**32))
def test_another_s_higher_demand_never_raises_mine(
    world: tuple[Group, dict[str, Want]], more: int
) -> None:
    tree, wants = world
    flat = Group(name="host", children=tuple(tree.members()))
    name = next(iter(wants))
    raised = wants | {name: wants[name]._replace(amount=wants[name].amount + more)}
    before = entitle(flat, MEMORY, CAPACITY, wants).members
    after = entitle(flat, MEMORY, CAPACITY, raised).members
    slack = 3 * len(wants)  # a unit for each rounding
    assert after[name] >= before[name] - slack
    assert all(after[n] <= before[n] + slack for n in wants if n != name)


@RELAXED
@given(wanting(), st.integers(0, 2**33))
def test_a_tree_of_single_children_is_as_flat(
    world: tuple[Group, dict[str, Want]], capacity: int
) -> None:
    tree, wants = world
    members = tuple(tree.members())
    nested = Group(
        name="host",
        children=tuple(
            Group(name=f"only-{m.name}", claims=m.claims, children=(m,)) for m in members
        ),
    )
    flat = entitle(Group(name="host", children=members), MEMORY, capacity, wants)
    assert entitle(nested, MEMORY, capacity, wants).members == pytest.approx(
        flat.members, abs=3 * len(members)
    )


@RELAXED
@given(wanting(), st.integers(0, 2**33), st.randoms(use_true_random=False))
def test_the_order_of_guests_does_not_matter(
    world: tuple[Group, dict[str, Want]], capacity: int, chance: random.Random
) -> None:
    tree, wants = world
    mixed = list(tree.children)
    chance.shuffle(mixed)
    shuffled = replace(tree, children=tuple(mixed))
    assert entitle(tree, MEMORY, capacity, wants) == entitle(shuffled, MEMORY, capacity, wants)


@RELAXED
@given(wanting())
def test_every_single_write_leaves_enough(world: tuple[Group, dict[str, Want]]) -> None:
    """Limits start anywhere within the capacity; after each write their sum still fits."""
    tree, wants = world
    entitled = entitle(tree, MEMORY, CAPACITY, wants).members
    part = CAPACITY // len(entitled)
    holdings = {name: Holding(limit=part, use=part // 2) for name in entitled}
    for move in [
        *shrinks(holdings, entitled, seconds=0.2),
    ]:
        assert move.after < move.before
        assert move.after >= entitled[move.guest]
        holdings[move.guest] = Holding(limit=move.after)
    for move in grows(holdings, entitled, capacity=CAPACITY):
        assert move.before < move.after <= entitled[move.guest]
        holdings[move.guest] = Holding(limit=move.after)
        assert sum(h.limit for h in holdings.values()) <= CAPACITY


def test_what_a_guest_never_gave_back_fast_is_not_taken_fast() -> None:
    holdings = {
        "plain": Holding(limit=1000 * MIB, use=900 * MIB),
        "slow": Holding(limit=1000 * MIB, use=1000 * MIB, speed=100 * MIB),
        "stuck": Holding(limit=1000 * MIB, use=900 * MIB, stuck=True),
        "blind": Holding(limit=1000 * MIB, blind=True),
        "close": Holding(limit=1000 * MIB, use=10 * MIB),
    }
    entitled = dict.fromkeys(holdings, 100 * MIB) | {"close": 990 * MIB}
    assert shrinks(holdings, entitled, seconds=0.5) == [
        Move(guest="plain", before=1000 * MIB, after=700 * MIB),
        Move(guest="slow", before=1000 * MIB, after=950 * MIB),
    ]


def test_the_hungry_grow_first() -> None:
    holdings = {name: Holding(limit=100 * MIB) for name in ("a", "b")}
    entitled = {"a": 300 * MIB, "b": 200 * MIB}
    moves = grows(holdings, entitled, capacity=300 * MIB, first=frozenset({"b"}))
    assert moves == [Move(guest="b", before=100 * MIB, after=200 * MIB)]


def member(name: str, reservation: int, *, minimum: int = 0) -> Member:
    return Member(name=name, claims={MEMORY: Claim(reservation=reservation)}, minimum=minimum)


def host(memory: int, *, reserve: int = 0, overcommit: int = 1000) -> Host:
    return Host(capacity={MEMORY: memory}, reserve={MEMORY: reserve}, overcommit=overcommit)


def test_promises_are_summed_at_every_level() -> None:
    inner = Group(
        name="sales",
        claims={MEMORY: Claim(reservation=100)},
        children=(member("a", 60), member("b", 50)),
    )
    assert shortage(Group(name="host", children=(inner,)), host(1000)) == Shortage(
        resource=MEMORY, group="sales", needed=110, free=100, releasable=("a", 60)
    )
    wider = replace(inner, expandable=True)
    assert shortage(Group(name="host", children=(wider,)), host(1000)) is None
    assert promised(wider, MEMORY) == 110
    full = Group(name="host", children=(wider, member("c", 900)))
    found = shortage(full, host(1000))
    assert found is not None
    assert (found.group, found.needed, found.free) == ("host", 1010, 1000)
    assert found.releasable == ("c", 900)


def test_an_expandable_group_promises_no_more_than_its_limit() -> None:
    inner = Group(
        name="sales",
        claims={MEMORY: Claim(reservation=50, limit=100)},
        expandable=True,
        children=(member("a", 60), member("b", 50)),
    )
    found = shortage(Group(name="host", children=(inner,)), host(1000))
    assert found is not None
    assert (found.group, found.needed, found.free, found.floor) == ("sales", 110, 100, False)


def test_every_shortage_is_found() -> None:
    inner = Group(name="sales", children=(member("a", 60),))
    tree = Group(name="host", children=(inner, member("b", 70), member("c", 0, minimum=10)))
    found = [(s.group, s.needed, s.floor) for s in shortages(tree, host(60))]
    assert found == [("host", 70, False), ("sales", 60, False), ("host", 140, True)]


def test_the_host_keeps_its_reserve() -> None:
    tree = Group(name="host", children=(member("a", 950),))
    assert shortage(tree, host(1000, reserve=50)) is None
    assert shortage(tree, host(1000, reserve=51)) is not None


def test_what_cannot_run_is_not_admitted() -> None:
    tree = Group(name="host", children=(member("a", 0, minimum=600), member("b", 0, minimum=600)))
    found = shortage(tree, host(1000))
    assert found is not None
    assert (found.needed, found.free, found.releasable) == (1200, 1000, None)
    assert shortage(tree, host(1000, overcommit=1200)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"reservation": 2, "limit": 1},
        {"reservation": -1},
        {"limit": -1},
        {"limit": 10**30},
        {"shares": 0},
        {"shares": 10_001},
    ],
)
def test_senseless_claims_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        Claim(**wrong)


def test_weights_bring_reservations_out_when_all_want_all() -> None:
    def cpu(name: str, **numbers: int) -> Member:
        return Member(name=name, claims={Resource.CPU: Claim(**numbers)})

    tree = Group(name="host", children=(cpu("a", reservation=1500), cpu("b"), cpu("c", limit=100)))
    assert cpu_weights(tree, 2000) == {"a": 10_000, "b": 2667, "c": 667}
    assert cpu_weights(Group(name="host"), 2000) == {}
    assert [as_shares(weight) for weight in (1, 100, 10_000)] == [10, 1024, 102_400]


def test_who_is_modest_leaves_what_nobody_wants_to_others_or_free() -> None:
    """A machine gives back slowly; what it does not need is at hand for whoever grows."""
    tree = Group(name="host", children=tuple(Member(name=name) for name in "abc"))
    wants = {name: Want(amount=100 * MIB, modest=name != "c") for name in "abc"}
    got = entitle(tree, MEMORY, 1000 * MIB, wants).members
    assert got == {"a": 100 * MIB, "b": 100 * MIB, "c": 800 * MIB}
    wants["c"] = wants["c"]._replace(modest=True)
    assert sum(entitle(tree, MEMORY, 1000 * MIB, wants).members.values()) == 300 * MIB
    wants["a"] = wants["a"]._replace(hungry=True)
    assert entitle(tree, MEMORY, 1000 * MIB, wants).members["a"] == 800 * MIB
