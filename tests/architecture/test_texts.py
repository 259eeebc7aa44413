"""Documents that do not rot: links lead somewhere, names are real, no place of work leaks in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reference
import source

TEXTS = [p for p in source.files() if p.suffix not in {".png", ".ico", ".gz", ".zst", ".lock"}]
MARKDOWN = source.files("*.md")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
FRAGMENT = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed|security)\.md")
MAKE_TARGET = re.compile(r"`(?:sudo )?make ([a-z]+)")

PLACES = re.compile(r"/(?:home|Users)/[a-z]|\.pyenv|(?:pypi\.|pythonhosted\.|/simple/?\b)")
"""Somebody's home directory, somebody's package index."""


def _slug(heading: str) -> str:
    text = re.sub(r"[`*]", "", heading.lstrip("#").strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("path", MARKDOWN, ids=source.name)
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for target, anchor in LINK.findall(CODE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        aim = (path.parent / target).resolve()
        if not aim.exists():
            dead.append(target)
        elif anchor and aim.suffix == ".md":
            headings = [line for line in aim.read_text().splitlines() if line.startswith("#")]
            if anchor[1:] not in map(_slug, headings):
                dead.append(target + anchor)
    assert dead == []


def test_make_targets_in_the_documents_exist() -> None:
    known = set(re.findall(r"^([a-z]+):", (source.ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {t for path in MARKDOWN for t in MAKE_TARGET.findall(path.read_text())}
    assert named <= known


def test_nothing_names_a_place_of_work() -> None:
    this = Path(__file__).resolve()
    found = [
        f"{source.name(path)}: {match.group()}"
        for path in TEXTS
        if path != this
        for match in PLACES.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def test_change_fragments_are_named_and_written_for_users() -> None:
    """``changelog.d/<name>.<added|changed|fixed|removed|security>.md``: one short paragraph."""
    for path in source.files("changelog.d/*"):
        assert FRAGMENT.fullmatch(path.name), f"{path.name} is not <name>.<kind>.md"
        text = path.read_text().strip()
        assert text, f"{path.name} is empty"
        assert text[0].isupper(), f"{path.name} does not begin like a sentence"
        assert text.endswith("."), f"{path.name} does not end like a sentence"
        assert len(text) < 600, f"{path.name} is longer than a reader of a changelog wants"


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(p.name[:4]) for p in source.files("docs/decisions/*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_decisions_say_context_decision_and_price() -> None:
    for path in source.files("docs/decisions/*.md"):
        text = path.read_text()
        for part in ("**Context.**", "**Decision.**", "**Price.**"):
            assert part in text, f"{source.name(path)} lacks {part}"


def test_the_makefile_stays_a_door() -> None:
    assert source.lines(source.ROOT / "Makefile") <= 80


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_what_the_source_says(name: str) -> None:
    page = source.ROOT / name
    assert page.exists(), "make docs"
    assert page.read_text() == reference.PAGES[name](), f"{name} is stale: make docs"


def test_every_debian_package_is_named_once() -> None:
    lines = (source.ROOT / "tools" / "packages.txt").read_text().splitlines()
    named = [line.split() for line in lines if line and not line.startswith("#")]
    assert {kind for kind, _ in named} == {"run", "build", "test"}
    names = [name for _, name in named]
    assert sorted(set(names)) == sorted(names)
