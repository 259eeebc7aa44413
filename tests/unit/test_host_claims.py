"""From what people ask for to the governor's tree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.engine.protocol import Size
from wirt.errors import Invalid, NotFound, Unsupported
from wirt.governor.tree import UNLIMITED, Claim, Group, Member, Resource
from wirt.host.capacity import WholeHost
from wirt.host.claims import (
    Lodger,
    check_divided,
    claims_of,
    shares_of,
    told,
    told_apart,
    tree,
)
from wirt.host.grouping import check_own
from wirt.model.group import GuestGroup, check_path, parent, within
from wirt.model.guest import GuestSpec
from wirt.model.resources import Resources, merge
from wirt.privileged.traffic import LEAST_RATE

PARTS = st.sampled_from(["a", "b", "web", "x-1"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[list[Lodger], list[GuestGroup]]:
    """Groups with all their parents, and guests in them or in none."""
    paths: set[str] = set()
    for path in draw(st.lists(PATHS, max_size=8)):
        while path:
            paths.add(path)
            path = parent(path)
    groups = [
        GuestGroup(
            path=path,
            resources=Resources(cpu_reservation=draw(st.integers(0, 10**6))),
            expandable=draw(st.booleans()),
        )
        for path in draw(st.permutations(sorted(paths)))
    ]
    places = st.sampled_from(["", *sorted(paths)])
    guests = [
        Lodger(
            id=f"g{number}",
            spec=GuestSpec(
                image="i",
                group=draw(places),
                resources=Resources(memory_reservation=draw(st.integers(0, 2**40))),
            ),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    return guests, groups


def _places(group: Group, found: dict[str, str]) -> dict[str, str]:
    """Names of all guests and groups with the group that each is in."""
    for child in group.children:
        assert child.name not in found
        found[child.name] = group.name
        if isinstance(child, Group):
            _places(child, found)
    return found


@given(hosts())
def test_the_tree_has_each_guest_and_group_once_and_in_its_place(
    host: tuple[list[Lodger], list[GuestGroup]],
) -> None:
    guests, groups = host
    made = tree(guests, groups, lambda _: Size())
    expected = {group.path: parent(group.path) for group in groups}
    expected |= {guest.id: guest.spec.group for guest in guests}
    assert _places(made, {}) == expected
    assert {m.name for m in made.members()} == {guest.id for guest in guests}
    promised = {m.name: m.claim(Resource.MEMORY).reservation for m in made.members()}
    assert promised == {g.id: g.spec.resources.memory_reservation for g in guests}


@given(hosts(), st.randoms())
def test_the_order_in_which_they_come_does_not_matter(
    host: tuple[list[Lodger], list[GuestGroup]], order: st.DataObject
) -> None:
    guests, groups = host
    before = tree(guests, groups, lambda _: Size())
    order.shuffle(guests)  # type: ignore[attr-defined]
    order.shuffle(groups)  # type: ignore[attr-defined]
    assert tree(guests, groups, lambda _: Size()) == before


@given(hosts(), PATHS)
def test_what_is_in_an_unknown_group_is_refused(
    host: tuple[list[Lodger], list[GuestGroup]], path: str
) -> None:
    guests, groups = host
    groups = [group for group in groups if not within(group.path, path)]
    guests = [guest for guest in guests if not within(guest.spec.group, path)]
    stray = Lodger(id="stray", spec=GuestSpec(image="i", group=path))
    with pytest.raises(NotFound, match=f"no such group: {path}"):
        tree([*guests, stray], groups, lambda _: Size())
    with pytest.raises(NotFound, match=f"no such group: {path}"):
        tree(guests, [*groups, GuestGroup(path=f"{path}/below")], lambda _: Size())


def test_a_machine_is_as_large_as_it_is_and_needs_its_floor() -> None:
    spec = GuestSpec(image="i", resources=Resources(cpu_reservation=500, memory=100))
    made = tree(
        [Lodger(id="g", spec=spec)], (), lambda _: Size(memory=128, cpu_millis=2000, floor=96)
    )
    (member,) = made.children
    assert isinstance(member, Member)
    assert member.minimum == 96
    assert member.claim(Resource.CPU) == Claim(reservation=500, limit=2000)
    assert member.claim(Resource.MEMORY) == Claim(limit=128)
    assert member.claim(Resource.NET) == Claim(limit=UNLIMITED)


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_dockers_shares_keep_their_order_and_proportion(one: int, other: int) -> None:
    ours, theirs = shares_of(one), shares_of(other)
    assert ours is not None
    assert theirs is not None
    assert 1 <= ours <= 10_000
    assert (one <= other) <= (ours <= theirs)
    if one <= 10_240:
        assert abs(ours - max(1, one * 1000 / 1024)) <= 0.5


@pytest.mark.parametrize(
    ("dockers", "ours"), [(None, None), (2, 2), (1024, 1000), (2048, 2000), (262_144, 10_000)]
)
def test_dockers_shares(dockers: int | None, ours: int | None) -> None:
    assert shares_of(dockers) == ours


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Resources(cpu_reservation=2500, cpu_millis=2000), "2.5 CPUs is above the limit of 2 CPUs"),
        (Resources(memory_reservation=2**30, memory=2**29), "1GiB is above the limit of 512MiB"),
        (Resources(io_reservation=3, io_limit=2), "3B/s is above the limit of 2B/s"),
        (Resources(net_reservation=2_000_000, net_limit=9000), "2Mbit/s is above the limit of 9kb"),
        (Resources(net_limit=1), "a network limit of 1bit/s is too small"),
        (Resources(net_limit=7999), "a network limit of 7.999kbit/s is too small"),
        (Resources(cpu_reservation=-1), "a cpu reservation of -1 is out of range"),
        (Resources(io_limit=-5), "a disk limit of -5 is out of range"),
        (Resources(net_reservation=10**30), "a net reservation of 1000"),
        (Resources(memory_shares=0), "0 memory shares are out of range"),
        (Resources(io_shares=10_001), "10001 disk shares are out of range"),
        (Resources(net_shares=-1), "-1 net shares are out of range"),
    ],
)
def test_impossible_numbers_are_named(wish: Resources, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        claims_of(wish)


def test_a_reservation_above_the_size_of_a_machine_is_refused() -> None:
    wish = Resources(memory_reservation=2**30)
    claims_of(wish)
    with pytest.raises(Invalid) as caught:
        claims_of(wish, Size(memory=2**28))
    assert caught.value.code == "governor.reservation-above-limit"


NUMBERS = [field.name for field in fields(Resources) if field.name != "cpuset"]


@pytest.mark.parametrize("name", NUMBERS)
def test_nought_takes_a_number_back(name: str) -> None:
    nothing = Resources()
    given: dict[str, Any] = dict.fromkeys(NUMBERS, 9000)
    old = replace(nothing, **given)
    gone: set[str] = {name, "memory_swap"} if name == "memory" else {name}
    left: dict[str, Any] = dict.fromkeys(set(NUMBERS) - gone, 9000)
    wish: dict[str, Any] = {name: 0}
    assert merge(old, replace(nothing, **wish)) == replace(nothing, **left)


def test_a_limit_of_memory_and_swap_may_be_given_anew() -> None:
    assert merge(Resources(memory=5, memory_swap=9), Resources(memory=0, memory_swap=7)) == (
        Resources(memory_swap=7)
    )


def test_the_least_limit_of_the_network_is_the_kernels() -> None:
    assert claims_of(Resources(net_limit=8000))[Resource.NET].limit == 8000 == LEAST_RATE


@given(st.integers(0, UNLIMITED), st.sampled_from(list(Resource)))
def test_amounts_are_told_with_their_unit(amount: int, resource: Resource) -> None:
    text = told(resource, amount)
    assert text[0].isdigit()
    assert text.endswith(
        {"cpu": "CPUs", "memory": "B", "disk": "B/s", "net": "bit/s"}[resource.value]
    )


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "/a", "a//b", "-a", "a b", "ä", "a/" * 300 + "b", "x" * 65]
)
def test_bad_names_of_groups(path: str) -> None:
    with pytest.raises(Invalid, match="invalid group name"):
        check_path(path)


@pytest.mark.parametrize("shares", [-1, 0, 1, 262_145])
def test_groups_have_dockers_shares(shares: int) -> None:
    check_own(Resources(cpu_shares=2))
    check_own(Resources(cpu_shares=262_144))
    with pytest.raises(Invalid, match=f"CPU shares of {shares} are out of range") as caught:
        check_own(Resources(cpu_shares=shares))
    assert caught.value.hint == "write 2 to 262144; 1024 is normal"


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Resources(io_shares=5), '[governor.pool] disk = "200m"'),
        (Resources(net_shares=5), '[governor.pool] net = "1g"'),
    ],
)
def test_what_is_not_divided_says_what_would_help(wish: Resources, line: str) -> None:
    with pytest.raises(Unsupported) as caught:
        check_divided(
            wish,
            divided=WholeHost.divided, limited=WholeHost.limited, weighed=(),
            known={Resource.CPU},
        )  # fmt: skip
    assert caught.value.hint
    assert line in caught.value.hint


def test_shares_need_nobody_who_knows_the_disks_where_the_kernel_weighs_them() -> None:
    def check(wish: Resources, limited: Collection[Resource]) -> None:
        check_divided(
            wish, divided=WholeHost.divided, limited=limited, weighed={Resource.DISK}, known=(),
        )  # fmt: skip

    both = Resources(io_shares=5, io_limit=1)
    check(both, WholeHost.limited)
    check(replace(both, io_limit=None), ())
    with pytest.raises(Unsupported, match=r"between guests, only weigh it$") as caught:
        check(both, ())
    assert str(caught.value.hint).startswith("give shares only, or tell the governor's policy")
    with pytest.raises(Unsupported, match=r"between guests, only limit and weigh it$") as caught:
        check(replace(both, io_reservation=1), WholeHost.limited)
    assert str(caught.value.hint).startswith("give a limit and shares only, or tell")


def test_places_of_groups() -> None:
    assert check_path("sales/web.2/x_-1") == "sales/web.2/x_-1"
    assert [parent("a/b/c"), parent("a")] == ["a/b", ""]
    assert within("a/b", "a")
    assert within("a", "a")
    assert within("a", "")
    assert not within("ab", "a")
    assert replace(GuestGroup(path="a"), expandable=True).expandable


AMOUNTS = st.integers(0, 2**50)


@given(resource=st.sampled_from(Resource), one=AMOUNTS, other=AMOUNTS)
def test_different_amounts_look_different(resource: Resource, one: int, other: int) -> None:
    words = told_apart(resource, one, other)
    assert (words[0] == words[1]) == (one == other)


def test_a_byte_too_much_is_told_to_the_byte() -> None:
    assert told_apart(Resource.MEMORY, 2**30, 2**20) == ["1GiB", "1MiB"]
    assert told_apart(Resource.MEMORY, 2**30 + 1, 2**30) == ["1073741825B", "1073741824B"]
    assert told_apart(Resource.NET, 10**9 + 1, 10**9) == ["1000000001bit/s", "1000000000bit/s"]
    assert told_apart(Resource.CPU, 1_234_567, 1_234_568) == ["1234.567 CPUs", "1234.568 CPUs"]
