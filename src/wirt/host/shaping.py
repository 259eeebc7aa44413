"""From what was promised of the network to buckets in the kernel.

Unlike memory, a link needs no governing from tick to tick: the kernel lends what is left at once.
So the classes change only with who runs and with what was promised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from wirt.errors import Conflict, Unsupported, WirtError
from wirt.governor.tree import UNLIMITED, Group, Member, Resource
from wirt.host.events import Bus, Lagged
from wirt.model.event import Event
from wirt.model.guest import Guest
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ShapeTraffic, TrafficClass

log = logging.getLogger("wirt.network")

MOST_LEVELS = 7
"""How deep classes may be nested (``wirt.privileged.shape``); what is deeper hangs in the last."""
_MOMENTS = {
    "guest": {"start", "die", "update", "destroy"},
    "group": {"create", "update", "destroy"},
}
"""Events after which guests or groups may have other classes."""
_FASTEST = 10**12
"""Bits a second that stand for no limit."""


def traffic_classes(root: Group) -> tuple[TrafficClass, ...]:
    """The classes of a tree of promises, parents first.

    With a limit at the top, what the host's link bears, everybody has a class. Without one nobody
    shares anything that is known, so only limits are kept: of guests, and of groups with all below
    them.
    """
    claim = root.claim(Resource.NET)
    if claim.limit < UNLIMITED:
        top = TrafficClass(name="group:", rate=claim.limit, ceiling=claim.limit)
        return (top, *_below(root, top, 1))
    return tuple(_limited(root))


def _limited(group: Group) -> Iterator[TrafficClass]:
    for child in group.children:
        if child.claim(Resource.NET).limit >= UNLIMITED:
            if isinstance(child, Group):
                yield from _limited(child)
            continue
        one = _class(child, None)
        yield one
        if isinstance(child, Group):
            yield from _below(child, one, 1)


def _below(group: Group, parent: TrafficClass, depth: int) -> Iterator[TrafficClass]:
    for child in group.children:
        if isinstance(child, Member):
            yield _class(child, parent)
        elif depth < MOST_LEVELS - 1:
            one = _class(child, parent)
            yield one
            yield from _below(child, one, depth + 1)
        else:
            yield from _below(child, parent, depth)


def _class(node: Group | Member, parent: TrafficClass | None) -> TrafficClass:
    claim = node.claim(Resource.NET)
    kind = "group" if isinstance(node, Group) else "guest"
    most = _FASTEST if parent is None else parent.ceiling
    ceiling = min(claim.limit, most)
    return TrafficClass(
        name=f"{kind}:{node.name}",
        parent="" if parent is None else parent.name,
        rate=min(claim.reservation, ceiling),
        ceiling=ceiling,
        shares=claim.shares,
    )


def _names(classes: Iterable[TrafficClass], guest_id: str) -> bool:
    return any(one.name == f"guest:{guest_id}" for one in classes)


class Shaping:
    """Makes the kernel follow. ``tree``: what is promised to whom now."""

    def __init__(self, helper: Helper, tree: Callable[[], Group]) -> None:
        self._helper = helper
        self._tree = tree
        self._lock = asyncio.Lock()
        self._noticed = asyncio.Event()
        self._last: tuple[TrafficClass, ...] | None = ()

    async def open(self) -> None:
        """Find out what is there: some may be left from before. A kernel that cannot shape is told
        about when somebody needs it."""
        try:
            await self._apply(traffic_classes(self._tree()))
        except (Unsupported, Conflict) as error:
            log.warning("traffic is not shaped: %s", error.message)

    async def starting(self, guest: Guest) -> None:
        """Lead the cards of a guest that is about to run into its class, if it has one.

        Raises Unsupported, Conflict.
        """
        async with self._lock:
            wanted = traffic_classes(self._tree())
            if wanted != self._last or _names(wanted, guest.id):
                await self._apply(wanted)

    async def follow(self) -> None:
        """Make the kernel's classes what the tree says. Raises Unsupported, Conflict."""
        async with self._lock:
            wanted = traffic_classes(self._tree())
            if wanted != self._last:
                await self._apply(wanted)

    def notice(self) -> None:
        """What there is to divide has changed."""
        self._noticed.set()

    async def keep_up(self, bus: Bus) -> None:
        """Follow what happens to guests and groups, for ever."""
        with bus.listener() as events:
            async for event in events:
                if isinstance(event, Lagged) or self._matters(event):
                    self.notice()

    def _matters(self, event: Event) -> bool:
        """Whether the classes may be others afterwards, or have other cards."""
        if event.type == "network" and event.action == "connect":
            if not _names(self._last or (), event.attributes.get("guest", "")):
                return False
            self._last = None  # the same classes, and a card that has not been led yet
            return True
        return event.action in _MOMENTS.get(event.type, ())

    async def keep_on(self) -> None:
        """Follow whenever something is noticed, for ever."""
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            try:
                await self.follow()
            except WirtError as error:
                log.warning("traffic is not shaped as it should be: %s", error.message)

    async def _apply(self, wanted: tuple[TrafficClass, ...]) -> None:
        self._last = None
        await self._helper.call(ShapeTraffic(classes=wanted))
        self._last = wanted
