"""The patterns of ``${v#p}``, ``${v%p}`` and ``${v/p/r}``: ``*``, ``?`` and ``\\``.

Matched by following all ways at once, bit by bit, so that no pattern takes more than one step per
character of the value (patterns come from strangers; a backtracking matcher can be made to
run for ever).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wirt.image.build.dockerfile.problem import Wrong, show


class Pattern:
    """A compiled pattern. State ``i`` of the automaton: the first ``i`` letters have matched."""

    def __init__(self, text: str) -> None:
        """Raises Wrong for an escape that means nothing."""
        self._letters: list[str | None] = []
        self._loops = 0
        letters = iter(text)
        for letter in letters:
            if letter == "*":
                self._loops |= 1 << len(self._letters)
            elif letter == "?":
                self._letters.append(None)
            elif letter == "\\":
                self._letters.append(_escaped(next(letters, ""), text))
            else:
                self._letters.append(letter)
        self._size = len(self._letters)

    def prefix(self, value: str, *, longest: bool) -> int | None:
        """The length of the shortest or longest matching beginning of ``value``."""
        return _pick(self._ends(value, backward=False), longest=longest)

    def suffix(self, value: str, *, longest: bool) -> int | None:
        """The length of the shortest or longest matching end of ``value``."""
        return _pick(self._ends(reversed(value), backward=True), longest=longest)

    def replace(self, value: str, replacement: str, *, everywhere: bool) -> str:
        """``value`` with the first, or every, longest match replaced."""
        starts = self._starts(value)
        done: list[str] = []
        position, last_end = 0, -1
        while position <= len(value):
            start = starts.find(b"\1", position)
            if start < 0:
                break
            length = self.prefix(value[start:], longest=True) or 0
            done.append(value[position:start])
            if length or start != last_end:
                done.append(replacement)
            position = last_end = start + length
            if not length:
                done.append(value[start : start + 1])
                position = start + 1
            if not everywhere:
                break
        done.append(value[position:])
        return "".join(done)

    def _starts(self, value: str) -> bytes:
        """For each position (the end included): 1 where a match begins. One pass from behind."""
        masks, anything, loops = self._tables(backward=True)
        goal = 1 << self._size
        found = bytearray(len(value) + 1)
        state = 1
        found[-1] = bool(state & goal)
        for index in range(len(value) - 1, -1, -1):
            step = state & (masks.get(value[index], 0) | anything)
            state = (step << 1) | (state & loops) | 1
            found[index] = bool(state & goal)
        return bytes(found)

    def _ends(self, value: Iterable[str], *, backward: bool) -> Iterator[int]:
        """The lengths at which the pattern has matched, rising."""
        masks, anything, loops = self._tables(backward=backward)
        goal = 1 << self._size
        state = 1
        if state & goal:
            yield 0
        for length, letter in enumerate(value, 1):
            step = state & (masks.get(letter, 0) | anything)
            state = (step << 1) | (state & loops)
            if state & goal:
                yield length
            if not state:
                return

    def _tables(self, *, backward: bool) -> tuple[dict[str, int], int, int]:
        """Where each letter, any letter, and any number of letters may come."""
        masks: dict[str, int] = {}
        anything = 0
        for index, letter in enumerate(reversed(self._letters) if backward else self._letters):
            if letter is None:
                anything |= 1 << index
            else:
                masks[letter] = masks.get(letter, 0) | 1 << index
        loops = self._loops
        if backward:
            loops = sum(1 << self._size - i for i in range(self._size + 1) if loops >> i & 1)
        return masks, anything, loops


def _escaped(letter: str, pattern: str) -> str:
    if letter not in {"*", "?", "\\", "}", "/"}:
        raise Wrong(
            f"the pattern {show(pattern)} escapes {letter!r}",
            word=pattern,
            hint="in a pattern only * ? \\ } and / can be escaped",
        )
    return letter


def _pick(lengths: Iterator[int], *, longest: bool) -> int | None:
    found: int | None = None
    for length in lengths:
        found = length
        if not longest:
            break
    return found
