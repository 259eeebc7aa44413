"""From what was promised of the network to buckets in the kernel.

Unlike memory, a link needs no governing from tick to tick: the kernel lends what is left at once.
So the classes change only with who runs and with what was promised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from wirt.governor.tree import UNLIMITED, Group, Member, Resource
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ShapeTraffic, TrafficClass

MOST_LEVELS = 7
"""How deep classes may be nested (``wirt.privileged.shape``); what is deeper hangs in the last."""
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


class Shaping:
    """Makes the kernel follow. ``tree``: what is promised to whom now."""

    def __init__(self, helper: Helper, tree: Callable[[], Group]) -> None:
        self._helper = helper
        self._tree = tree
        self._lock = asyncio.Lock()
        self._last: tuple[TrafficClass, ...] | None = None

    async def open(self) -> None:
        """Find out what is there: some may be left from before."""
        await self.follow(always=True)

    async def follow(self, *, always: bool = False) -> None:
        """Make the kernel's classes what the tree says; nothing when it says what it said.

        ``always``: also then; a guest's cards are new at each start. Without classes, before and
        now, nothing is asked of the helper but at :meth:`open`. Raises Unsupported, Conflict.
        """
        async with self._lock:
            wanted = traffic_classes(self._tree())
            if wanted == self._last and not (always and wanted):
                return
            if self._last is None and not wanted and not always:
                return
            await self._helper.call(ShapeTraffic(classes=wanted))
            self._last = wanted
