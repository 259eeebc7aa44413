"""Tables that must be total, and numbered or discovered files that must be whole."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

import source
from wirt.errors import BY_KIND, Kind

EDGES = [
    ("wirt.api.http.problem", "STATUS"),
]
"""Where errors leave wirt: the module and its table from :class:`Kind` to a number."""


@pytest.mark.parametrize(("module", "table"), EDGES)
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


def test_every_command_file_has_one_entry() -> None:
    """``cli/command/<verb>.py`` is one command: it has exactly one public function ``run``."""
    wrong = []
    for path in source.files("src/wirt/cli/command/*.py"):
        if path.stem.startswith("_"):
            continue
        names = [n.name for n in source.tree(path).body if isinstance(n, ast.FunctionDef)]
        if names.count("run") != 1:
            wrong.append(source.name(path))
    assert wrong == []
