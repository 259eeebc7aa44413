"""Shaping: the frames of guests go through one device a direction, on which everybody has a bucket.

So what one guest does not need another one may borrow, whatever bridge they are on; which class a
frame belongs to is told by the card that it came from, nothing that a guest could forge.

``shape.json`` says which class and which card has which number. It is written
before the kernel is changed, marked as unfinished: whoever finds the mark does everything again.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from wirt.errors import Conflict, Exhausted, Invalid, Unsupported
from wirt.layout import Layout
from wirt.privileged import check, links, netstate, traffic
from wirt.privileged.faults import fault
from wirt.privileged.links import Link
from wirt.privileged.netlink import Netlink
from wirt.privileged.protocol import TrafficClass
from wirt.privileged.traffic import Class

log = logging.getLogger("wirt.privileged")

FILE = "shape.json"
_ALIAS = "shape"
_WAYS = {"d": traffic.EGRESS, "u": traffic.INGRESS}
_MOST = 0xFFFF
_GUEST = "guest:"
_CARD = "card:"
MOST_LEVELS = 7
"""How deep classes may be nested: the kernel's limit is 8 (``TC_HTB_MAXDEPTH``)."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """``shape.json``. ``numbers``: by the name of a class, or ``card:<index>:<interface>``."""

    numbers: dict[str, int] = {}
    finished: bool = True


_DECODER = msgspec.json.Decoder(Known)


def set_classes(layout: Layout, wanted: Sequence[TrafficClass]) -> None:
    """Make the kernel's classes these. Raises Invalid, Conflict when an interface that is not ours
    has the device's name, Unsupported when the kernel cannot shape, OSError."""
    check_classes(wanted)
    known = _read(layout)
    with Netlink() as netlink:
        there = {link.name: link for link in links.links(netlink)}
        cards = dict(_cards(layout, wanted, there))
        if not wanted:
            return _take_down(layout, netlink, known, there)
        numbers = _number(known.numbers, [*(one.name for one in wanted), *cards])
        _write(layout, Known(numbers={**known.numbers, **numbers}, finished=False))
        fault("shape.begun")
        fresh = set(numbers) if not known.finished else set(numbers) - set(known.numbers)
        gone = {name: known.numbers[name] for name in set(known.numbers) - set(numbers)}
        for way, hook in _WAYS.items():
            device, anew = _device(layout, netlink, way, there)
            parents = traffic.classes(netlink, device=device)
            tree = {numbers[o.name]: numbers[o.parent] if o.parent else 0 for o in wanted}
            # a class cannot move: it is made anew
            anew = anew or any(parents.get(one, above) != above for one, above in tree.items())
            for name, number in (known.numbers if anew else gone).items():
                if name.startswith(_CARD):  # no class goes while a filter leads to it
                    traffic.delete_filter(netlink, device=device, priority=number)
            _shape(netlink, device, wanted, numbers, parents)
            for card, (link, owner) in cards.items():
                if anew or card in fresh:
                    _lead(netlink, device, hook, link, numbers[owner], numbers[card])
            fault("shape.half")
        _release(netlink, gone, there)
        _write(layout, Known(numbers=numbers))
    return None


def _shape(
    netlink: Netlink,
    device: int,
    wanted: Sequence[TrafficClass],
    numbers: Mapping[str, int],
    parents: dict[int, int],
) -> None:
    """The classes of one device: new and changed ones, then away with the rest. ``parents``: of
    the classes that are there, kept up to date."""
    quanta = _quanta(wanted)
    for one in wanted:
        number, parent = numbers[one.name], numbers[one.parent] if one.parent else 0
        if parents.get(number, parent) != parent:
            _drop(netlink, device, number, parents)
        wish = Class(
            number=number, parent=parent, rate=one.rate, ceiling=one.ceiling,
            quantum=quanta[one.name],
        )  # fmt: skip
        traffic.set_class(netlink, device=device, wish=wish)
        parents[number] = parent
    kept = {numbers[one.name] for one in wanted}
    for number in [number for number in parents if number not in kept]:
        if number in parents:
            _drop(netlink, device, number, parents)


def _quanta(wanted: Sequence[TrafficClass]) -> dict[str, int]:
    """By name, in proportion among the children of each parent."""
    found: dict[str, int] = {}
    for parent in dict.fromkeys(one.parent for one in wanted):
        children = [one for one in wanted if one.parent == parent]
        quanta = traffic.quanta([one.shares for one in children])
        found.update(zip((one.name for one in children), quanta, strict=True))
    return found


def _drop(netlink: Netlink, device: int, number: int, parents: dict[int, int]) -> None:
    """A class with all below it."""
    for child in [child for child, parent in parents.items() if parent == number]:
        _drop(netlink, device, child, parents)
    traffic.delete_class(netlink, device=device, number=number)
    parents.pop(number, None)


def _lead(netlink: Netlink, device: int, hook: int, link: Link, number: int, priority: int) -> None:
    """The frames of one card and direction into their class. It may be gone meanwhile."""
    try:
        traffic.set_filter(netlink, device=device, card=link.name, number=number, priority=priority)
        traffic.redirect(netlink, card=link.index, hook=hook, device=device)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _device(
    layout: Layout, netlink: Netlink, way: str, there: Mapping[str, Link]
) -> tuple[int, bool]:
    """The number of the device of one direction, and whether its queue was made just now."""
    name, alias = layout.shaping_device(way), layout.link_alias(_ALIAS)
    have = there.get(name)
    if have is not None and (have.kind, have.alias) == ("ifb", alias):
        return have.index, traffic.add_buckets(netlink, device=have.index)
    if have is not None and (have.kind, have.alias) != ("ifb", ""):
        raise Conflict(
            f"there is an interface {name} that is not wirt's",
            hint=f"remove it (ip link delete {name}) or rename it",
            code="network.interface-taken",
        )
    if have is not None:  # we were killed before it had its alias
        links.delete_link(netlink, name=name)
    try:
        links.add_intermediate(netlink, name=name, alias=alias)
        fault("shape.device")
        index = next(link.index for link in links.links(netlink) if link.name == name)
        traffic.add_buckets(netlink, device=index)
    except OSError as error:
        links.delete_link(netlink, name=name)
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOENT}:
            raise
        raise Unsupported(
            f"this kernel cannot shape traffic: {error.strerror}",
            hint="it needs ifb, sch_htb, sch_ingress, cls_u32 and act_mirred",
            code="network.no-shaping",
        ) from error
    return index, True


def _cards(
    layout: Layout, wanted: Sequence[TrafficClass], there: Mapping[str, Link]
) -> Iterator[tuple[str, tuple[Link, str]]]:
    """The cards of running guests that have a class: its key, the interface, the class's name."""
    names = {one.name for one in wanted}
    for guest_id, state in netstate.running(layout):
        owner = f"{_GUEST}{guest_id}"
        for card in state.cards if owner in names else ():
            link = there.get(card.host)
            if link is not None and link.alias == layout.link_alias(guest_id):
                yield f"{_CARD}{link.index}:{link.name}", (link, owner)


def _number(known: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """A number for each name: the one that it has, or a free one. Raises Exhausted."""
    taken = set(known.values())
    free = (number for number in range(1, _MOST + 1) if number not in taken)
    numbers = {}
    for name in names:
        number = known.get(name) or next(free, 0)
        if not number:
            raise Exhausted(f"more than {_MOST} cards and classes cannot be shaped")
        numbers[name] = number
    return numbers


def _take_down(layout: Layout, netlink: Netlink, known: Known, there: Mapping[str, Link]) -> None:
    """Nobody is shaped: nothing is left."""
    _release(netlink, known.numbers, there)
    for way in _WAYS:
        have = there.get(layout.shaping_device(way))
        if have is not None and have.alias == layout.link_alias(_ALIAS):
            links.delete_link(netlink, name=have.name)
    (layout.net_run / FILE).unlink(missing_ok=True)


def _release(netlink: Netlink, gone: Mapping[str, int], there: Mapping[str, Link]) -> None:
    """Cards that are there still, and shaped no more."""
    for name in gone:
        kind, _, rest = name.partition(":")
        index, _, interface = rest.partition(":")
        link = there.get(interface)
        if kind == "card" and link is not None and str(link.index) == index:
            traffic.release(netlink, card=link.index)


def check_classes(wanted: Sequence[TrafficClass]) -> None:
    """Raise Invalid for what :func:`set_classes` cannot make."""
    depths = {"": 0}
    for one in wanted:
        if one.name.startswith(_GUEST):
            check.guest_id(one.name.removeprefix(_GUEST))
        elif not one.name.startswith("group:"):
            raise Invalid(f"{one.name[:80]!r} is neither a guest nor a group")
        if one.parent not in depths or one.name in depths:
            raise Invalid(f"the class {one.name[:80]!r} comes twice, or before its parent")
        depths[one.name] = depths[one.parent] + 1
        if depths[one.name] > MOST_LEVELS:
            raise Invalid(f"the class {one.name[:80]!r} is deeper than {MOST_LEVELS} levels")
        if not 0 <= one.rate <= one.ceiling or not 1 <= one.shares <= 10_000:
            raise Invalid(f"the figures of the class {one.name[:80]!r} are out of range")


def _read(layout: Layout) -> Known:
    try:
        return _DECODER.decode((layout.net_run / FILE).read_bytes())
    except FileNotFoundError:
        return Known()
    except msgspec.DecodeError:
        log.warning("%s was not readable: everything is shaped anew", FILE)
        return Known(finished=False)


def _write(layout: Layout, known: Known) -> None:
    temporary = layout.net_run / (FILE + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(known))
    temporary.rename(layout.net_run / FILE)
