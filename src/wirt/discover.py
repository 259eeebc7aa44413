"""The file exists, so it is registered: a package's modules, imported."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def modules(package: ModuleType) -> list[ModuleType]:
    """The modules directly in ``package``, imported, in the order of their names."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    return [import_module(f"{package.__name__}.{name}") for name in names]
