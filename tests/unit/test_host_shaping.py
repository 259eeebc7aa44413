"""From promises to classes of traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wirt.governor.tree import Claim, Group, Member, Resource
from wirt.host.shaping import MOST_LEVELS, traffic_classes
from wirt.privileged import shape

NET = Resource.NET


def guest(name: str, **figures: int) -> Member:
    return Member(name=name, claims={NET: Claim(**figures)} if figures else {})


def group(name: str, *children: Group | Member, **figures: int) -> Group:
    return Group(name=name, claims={NET: Claim(**figures)} if figures else {}, children=children)


def test_without_promises_nobody_has_a_class() -> None:
    assert traffic_classes(group("", guest("a"), group("x", guest("b")))) == ()


def test_without_a_link_only_limits_count() -> None:
    tree = group(
        "",
        guest("a", limit=5),
        guest("free", reservation=3, shares=7),
        group("x", guest("b", reservation=2), limit=9),
        group("y", guest("c", limit=1)),
    )
    seen = [(one.name, one.parent, one.rate, one.ceiling) for one in traffic_classes(tree)]
    assert seen == [
        ("guest:a", "", 0, 5),
        ("group:x", "", 0, 9),
        ("guest:b", "group:x", 2, 9),
        ("guest:c", "", 0, 1),
    ]


def test_on_a_link_everybody_has_a_class() -> None:
    tree = group("", guest("a"), group("x", guest("b", reservation=4), shares=10), limit=100)
    seen = [(one.name, one.parent, one.rate, one.ceiling) for one in traffic_classes(tree)]
    assert seen == [
        ("group:", "", 100, 100),
        ("guest:a", "group:", 0, 100),
        ("group:x", "group:", 0, 100),
        ("guest:b", "group:x", 4, 100),
    ]


@st.composite
def trees(draw: st.DrawFn) -> Group:
    names = iter(f"{number:064x}" for number in range(10_000))
    numbers = st.integers(0, 10**13)

    def claim() -> dict[Resource, Claim]:
        if draw(st.booleans()):
            return {}
        low, high = sorted((draw(numbers), draw(numbers)))
        return {NET: Claim(reservation=low, limit=high, shares=draw(st.integers(1, 10_000)))}

    def make(depth: int) -> Group | Member:
        if depth > 10 or draw(st.integers(0, 2)) == 0:
            return Member(name=next(names), claims=claim())
        children = tuple(make(depth + 1) for _ in range(draw(st.integers(0, 2))))
        return Group(name=f"g{next(names)}", claims=claim(), children=children)

    children = tuple(make(1) for _ in range(draw(st.integers(0, 4))))
    return Group(name="", claims=claim(), children=children)


@given(trees())
def test_the_helper_takes_whatever_is_planned(tree: Group) -> None:
    classes = traffic_classes(tree)
    shape.check_classes(classes)
    assert MOST_LEVELS == shape.MOST_LEVELS
    limited = {m.name for m in tree.members() if m.claim(NET).limit < 2**62}
    assert limited <= {one.name.removeprefix("guest:") for one in classes}
