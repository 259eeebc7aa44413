"""Names (chain ids, image ids) that are about to be used, so that nobody drops them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator


class Holds:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._watches: list[set[str]] = []

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Keep these as long as the block runs."""
        kept = tuple(names)
        self._held.update(kept)
        for watch in self._watches:
            watch.update(kept)
        try:
            yield
        finally:
            self._held.subtract(kept)
            self._held += Counter()

    @property
    def held(self) -> frozenset[str]:
        """What is kept now."""
        return frozenset(self._held)

    @contextlib.contextmanager
    def watch(self) -> Iterator[set[str]]:
        """What is or was kept since the block began: it may have got an owner that was asked too
        early. Begin before asking owners, look after."""
        seen = set(self._held)
        self._watches.append(seen)
        try:
            yield seen
        finally:
            self._watches = [watch for watch in self._watches if watch is not seen]
