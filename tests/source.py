"""The tree as the architecture tests read it: files under version control, parsed once."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def files(*patterns: str) -> tuple[Path, ...]:
    """Files that git tracks, and new ones that it does not ignore."""
    listing = "git -c safe.directory=* ls-files --cached --others --exclude-standard -z --"
    done = subprocess.run(
        [*listing.split(), *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = {ROOT / name for name in done.stdout.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name."""
    yield from _functions(tree(path), "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            yield node


def imports(path: Path) -> Iterator[str]:
    """Dotted names of the modules that a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
