"""Boosts counted into claims: what the governor divides by while they last. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import tzinfo

from wirt.governor.admission import Host, shortage
from wirt.governor.tree import MOST_SHARES, Claim, Group, Member, Resource
from wirt.host.governing import when
from wirt.model.boost import Boost, Entry, Gain


def boosted(root: Group, boosts: Iterable[Boost], now: int, host: Host | None = None) -> Group:
    """The tree with the claims of those that are boosted at ``now`` (Unix nanoseconds).

    Shares are multiplied, up to the most there are; of several boosts of one target each resource
    gets the largest factor. A reservation is raised only where ``host`` says that every promise
    can still be kept, so that nobody else's is broken. Without boosts it is the very same tree.
    """
    gains = merged(one for one in boosts if one.since <= now < one.until)
    if not gains:
        return root
    made = _changed(root, gains, _weighed)
    if host is None:
        return made
    for key, gain in sorted(gains.items()):
        if gain.reserve:
            richer = _changed(made, {key: gain}, _reserved)
            if richer is not made and shortage(richer, host) is None:
                made = richer
    return made


Key = tuple[bool, str]
"""Whether it is a group; its path or the guest's id."""


def merged(boosts: Iterable[Boost]) -> dict[Key, Gain]:
    """One gain of each target: the largest of each kind."""
    made: dict[Key, Gain] = {}
    for one in boosts:
        key = (one.group, one.target)
        old = made.get(key, one.gain)
        made[key] = Gain(
            cpu=max(old.cpu, one.gain.cpu),
            memory=max(old.memory, one.gain.memory),
            reserve=max(old.reserve, one.gain.reserve),
        )
    return made


def of_calendar(
    entries: Iterable[Entry],
    now: int,
    find: Callable[[str], str | None],
    zone: tzinfo | None = None,
) -> Iterator[Boost]:
    """The boosts that a calendar gives at ``now``. ``find``: a guest's id by its name."""
    for entry in entries:
        span = when.span_at(entry, now, zone)
        target = entry.name if entry.group else find(entry.name)
        if span is not None and target is not None:
            yield Boost(
                target=target, gain=entry.gain, since=span[0], until=span[1], group=entry.group,
                entry=entry.id,
            )  # fmt: skip


Change = Callable[[Mapping[Resource, Claim], Gain], dict[Resource, Claim]]


def _changed(root: Group, gains: Mapping[Key, Gain], change: Change) -> Group:
    """Changes the nodes named in ``gains``; what has none below stays the same object."""
    children: list[Group | Member] = []
    for child in root.children:
        gain = gains.get((isinstance(child, Group), child.name))
        made = child
        if isinstance(child, Group):
            made = _changed(child, gains, change)
        if gain is not None:
            old = _claims(made)
            new = change(old, gain)
            made = made if new == old else replace(made, claims=new)
        children.append(made)
    if all(one is other for one, other in zip(children, root.children, strict=True)):
        return root
    return replace(root, children=tuple(children))


def _claims(node: Group | Member) -> dict[Resource, Claim]:
    return {resource: node.claim(resource) for resource in Resource} | dict(node.claims)


def _weighed(claims: Mapping[Resource, Claim], gain: Gain) -> dict[Resource, Claim]:
    made = dict(claims)
    for resource, factor in ((Resource.CPU, gain.cpu), (Resource.MEMORY, gain.memory)):
        old = made[resource]
        shares = min(max(old.shares * factor // 1000, 1), MOST_SHARES)
        made[resource] = replace(old, shares=shares)
    return made


def _reserved(claims: Mapping[Resource, Claim], gain: Gain) -> dict[Resource, Claim]:
    made = dict(claims)
    old = made[Resource.MEMORY]
    raised = min(old.reservation + gain.reserve, old.limit)
    made[Resource.MEMORY] = replace(old, reservation=raised)
    return made
