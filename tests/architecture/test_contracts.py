"""Who may know whom: import-linter's contracts, and what they cannot express."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import source

SRC = source.ROOT / "src" / "wirt"


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [linter, "--no-logo"], cwd=source.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["engine", "qemu/device", "cli/command"])
def test_plugins_do_not_know_each_other(package: str) -> None:
    """A kind of guest, a device, a command can be read, added and removed alone.

    ``protocol`` is what they share; a name with an underscore is a shared part.
    """
    files = [p for p in (SRC / package).glob("*.py") if not p.stem.startswith("_")]
    plugins = {f"wirt.{package.replace('/', '.')}.{p.stem}" for p in files} - {
        "wirt.engine.protocol"
    }
    met = [
        f"{source.name(path)} imports {module}"
        for path in files
        for module in source.imports(path)
        if module in plugins
    ]
    assert met == []


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    """The command line with everything of ours that it imports, lazily too."""
    seen: set[str] = set()
    pending = [source.name(path) for path in source.files("src/wirt/cli/*.py")]
    foreign = []
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for module in source.imports(source.ROOT / name):
            top, _, _ = module.partition(".")
            if top == "wirt":
                base = f"src/{module.replace('.', '/')}"
                found = (f"{base}.py", f"{base}/__init__.py")
                pending += [one for one in found if (source.ROOT / one).exists()]
            elif top not in sys.stdlib_module_names | {"__future__"}:
                foreign.append(f"{name} imports {module}")
    assert foreign == []
    assert {"src/wirt/client/wire.py", "src/wirt/model/units.py"} <= seen


def test_tasks_are_made_in_one_place() -> None:
    makers = [
        source.name(path)
        for path in source.files("src/*.py")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future"}
        and source.name(path) != "src/wirt/aio.py"
    ]
    assert makers == []


def test_no_class_is_named_after_nothing() -> None:
    """A class is named by what it is. ``Helper`` alone is a noun here: the root helper."""
    vague = ("Manager", "Handler", "Helper", "Utils", "Base")
    named = [
        f"{source.name(path)}: {cls.name}"
        for path in source.files("src/*.py")
        for cls in source.classes(path)
        if cls.name.endswith(vague) and cls.name != "Helper"
    ]
    assert named == []


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [source.name(p) for p in source.files("src/*.py") if p.name in drawers] == []


def test_modules_hold_no_mutable_state() -> None:
    """A lower-case list, dict or set at module level is state that nobody owns."""
    held = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.files("src/*.py")
        for node in source.tree(path).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.List | ast.Dict | ast.Set)
        and any(isinstance(t, ast.Name) and t.id.lower() == t.id for t in node.targets)
        and not any(isinstance(t, ast.Name) and t.id.startswith("__") for t in node.targets)
    ]
    assert held == []
