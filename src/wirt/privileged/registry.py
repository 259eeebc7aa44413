"""Finds the handlers and sweepers in :mod:`wirt.privileged.verbs`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from wirt.privileged import verbs
from wirt.privileged.answers import all_verbs
from wirt.privileged.context import Route, Sweeper
from wirt.privileged.protocol import Verb


def modules() -> Iterator[ModuleType]:
    """The modules of the package, by name."""
    for info in sorted(pkgutil.iter_modules(verbs.__path__), key=lambda i: i.name):
        yield importlib.import_module(f"{verbs.__name__}.{info.name}")


def routes() -> dict[type[Verb[Any]], Route[Any, Any]]:
    """All handlers by verb. Raises TypeError when a verb has none, or two."""
    found: dict[type[Verb[Any]], Route[Any, Any]] = {}
    for module in modules():
        for route in module.HANDLERS:
            if route.verb in found:
                raise TypeError(f"{module.__name__}: {route.verb.__name__} has a handler already")
            found[route.verb] = route
    missing = [verb.__name__ for verb in all_verbs() if verb not in found]
    if missing:
        raise TypeError(f"nobody carries out {', '.join(missing)}")
    return found


def sweepers() -> tuple[Sweeper, ...]:
    """All sweepers, by module name."""
    return tuple(s for module in modules() for s in getattr(module, "SWEEPERS", ()))
