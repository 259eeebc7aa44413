"""Sizes that a reader can hold in mind. Exceptions stand in one table, as long as needed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

import pytest

import source

FILE_LINES = 400
FUNCTION_LINES = 60
CONSTRUCTOR_PARAMETERS = 7
PUBLIC_METHODS = 20
PROTOCOL_METHODS = 10
LARGE_FILE_LINES = 600
LARGE_FILE_SHARE = 0.05

ALLOWED: Mapping[str, tuple[int, str]] = {
    "src/wirt/privileged/protocol.py": (800, "the closed list of verbs is read in one place"),
}
"""File, ``file::function`` or ``file::Class`` to (its own limit, the reason)."""

PYTHON = source.files("src/*.py", "tests/*.py", "tools/*.py", "bench/*.py", "examples/*.py")
PRODUCT = source.files("src/*.py", "tools/*.py", "bench/*.py")
NATIVE = source.files("native/*.c", "native/*.h")


def _sizes() -> Iterable[tuple[str, int, int]]:
    """What has a budget: its name, its size, its limit."""
    for path in (*PYTHON, *NATIVE):
        yield source.name(path), source.lines(path), FILE_LINES
    for path in PRODUCT:
        name = source.name(path)
        for qualified, node in source.functions(path):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{name}::{qualified}", length, FUNCTION_LINES
            if qualified.endswith("__init__"):
                yield f"{name}::{qualified}()", _parameters(node), CONSTRUCTOR_PARAMETERS
        for cls in source.classes(path):
            limit = PROTOCOL_METHODS if _is_protocol(cls) else PUBLIC_METHODS
            yield f"{name}::{cls.name}", _public_methods(cls), limit


def _parameters(node: source.Function) -> int:
    """Parameters besides self."""
    arguments = node.args
    return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1


def _public_methods(cls: ast.ClassDef) -> int:
    """Methods that others call. Properties of a value count as its fields, not as methods."""
    methods = [child for child in cls.body if isinstance(child, source.Function)]
    return sum(not method.name.startswith("_") and not method.decorator_list for method in methods)


def _is_protocol(cls: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in cls.bases)


def test_everything_is_within_its_budget() -> None:
    over = [
        f"{name}: {size}, allowed are {ALLOWED.get(name, (limit, ''))[0]}"
        for name, size, limit in _sizes()
        if size > ALLOWED.get(name, (limit, ""))[0]
    ]
    assert over == []


def test_no_exception_outlives_its_need() -> None:
    normal = {name: (size, limit) for name, size, limit in _sizes()}
    useless = [name for name in ALLOWED if name not in normal or normal[name][0] <= normal[name][1]]
    assert useless == []


def test_few_lines_live_in_large_files() -> None:
    sizes = [source.lines(path) for path in (*PYTHON, *NATIVE)]
    large = sum(size for size in sizes if size > LARGE_FILE_LINES)
    assert large <= LARGE_FILE_SHARE * sum(sizes)


def test_package_files_only_name_the_package() -> None:
    """An ``__init__.py`` documents or re-exports; code has a file with a name."""
    fat = [
        source.name(path)
        for path in source.files("src/**/__init__.py")
        if any(isinstance(n, source.Function | ast.ClassDef) for n in ast.walk(source.tree(path)))
    ]
    assert fat == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("class A:\n def a(self): ...\n def _b(self): ...", 1),
        ("class A:\n @property\n def a(self): ...\n async def b(self): ...", 1),
    ],
)
def test_the_counting_itself(text: str, count: int) -> None:
    cls = ast.parse(text).body[0]
    assert isinstance(cls, ast.ClassDef)
    assert _public_methods(cls) == count
