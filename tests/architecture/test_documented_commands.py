"""Every `wirt ...` line that the documents show is a command that the client takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import source
from wirt.cli.app import find

BLOCK = re.compile(r"```[a-z]*\n(.*?)```", re.DOTALL)
PAGES = [p for p in source.files("*.md") if p.name != "cli.md"]


def shown(path: Path) -> Iterator[str]:
    """Command lines of wirt in the code blocks of a page, continuation lines joined."""
    for block in BLOCK.findall(path.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ").split("#")[0]
            if re.match(r"wirt [a-z]", words):
                yield words.strip()


@pytest.mark.parametrize(
    ("page", "line"), [(source.name(p), line) for p in PAGES for line in shown(p)]
)
def test_it_is_understood(page: str, line: str) -> None:
    words = shlex.split(line.split(" < ")[0].split(" | ")[0])[1:]
    command, rest = find(words)
    command.parse(rest)


def test_there_are_some() -> None:
    assert sum(len(list(shown(page))) for page in PAGES) > 30
