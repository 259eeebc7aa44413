"""Warnings and excerpts as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from wirt.image.build.dockerfile.ast import Dockerfile
from wirt.image.build.dockerfile.lint.subject import Finding

_AROUND = 2
_MOST = 12
_WIDTH = 160


def excerpt(lines: Sequence[str], line: int, end_line: int) -> str:
    """The lines ``line`` to ``end_line`` (from 1) marked, with their neighbours."""
    first, last = max(1, line - _AROUND), min(len(lines), end_line + _AROUND)
    shown: list[str] = []
    for number in range(first, last + 1):
        if len(shown) >= _MOST:
            shown.append("     | ...")
            break
        mark = ">>>" if line <= number <= end_line else "   "
        text = "".join(letter if letter.isprintable() else " " for letter in lines[number - 1])
        shown.append(f"{number:4} | {mark} {text[:_WIDTH]}".rstrip())
    return "\n".join(shown)


def one_line(name: str, finding: Finding) -> str:
    """A warning on one line, for the output of a build."""
    place = f"{name}:{finding.position.line}:{finding.position.column}"
    return f"warning: {place}: {finding.message} ({finding.rule})"


def text(file: Dockerfile, findings: Sequence[Finding]) -> str:
    """All warnings with their lines, and how many there are."""
    parts = [
        f"{one_line(file.name, each)}\n{excerpt(file.lines, each.position.line, each.end_line)}\n"
        for each in findings
    ]
    count = len(findings)
    total = "no warnings" if not count else f"{count} warning{'s' * (count != 1)}"
    return "\n".join([*parts, f"{file.name}: {total}\n"])
