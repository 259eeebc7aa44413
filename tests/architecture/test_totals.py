"""Tables that must be total, and numbered or discovered files that must be whole."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import source
from wirt.errors import BY_KIND, Kind


def _edges() -> list[tuple[str, str]]:
    """Where errors leave wirt: modules with a table from :class:`Kind` to a number."""
    return [
        (source.name(path)[4:-3].replace("/", "."), node.target.id)
        for path in source.files("src/*.py")
        for node in source.tree(path).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "[Kind, int]" in ast.unparse(node.annotation)
    ]


def test_the_http_edge_is_seen() -> None:
    assert ("wirt.api.http.problem", "STATUS") in _edges()


@pytest.mark.parametrize(("module", "table"), _edges())
def test_every_kind_of_error_is_mapped_at_every_edge(module: str, table: str) -> None:
    mapped = getattr(importlib.import_module(module), table)
    assert set(mapped) == set(Kind)
    assert len(set(mapped.values())) == len(Kind), "two kinds share a number"


def test_every_kind_of_error_has_its_class() -> None:
    assert set(BY_KIND) == set(Kind)
    assert all(cls.kind is kind for kind, cls in BY_KIND.items())


def test_migrations_are_numbered_without_a_gap() -> None:
    names = [p.name for p in source.files("src/wirt/state/migrations/*.sql")]
    assert names
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", name) for name in names)
    assert [int(name[:4]) for name in sorted(names)] == list(range(1, len(names) + 1))


def test_every_command_file_registers_one_command() -> None:
    """That ``cli/command/<verb>.py`` exists registers it: it has exactly one ``COMMAND``."""
    wrong = [
        source.name(path)
        for path in source.files("src/wirt/cli/command/*.py")
        if not path.stem.startswith("_") and _assigned(path).count("COMMAND") != 1
    ]
    assert wrong == []


def _assigned(path: Path) -> list[str]:
    """Names bound at module level."""
    nodes = source.tree(path).body
    plain = [t for n in nodes if isinstance(n, ast.Assign) for t in n.targets]
    annotated = [n.target for n in nodes if isinstance(n, ast.AnnAssign)]
    return [t.id for t in (*plain, *annotated) if isinstance(t, ast.Name)]
