"""Every route says what it takes and gives, so the OpenAPI document is whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from wirt.api.http.operation import openapi, operation_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_route_is_described(reference: ModuleType) -> None:
    routes = reference.all_routes()
    assert len(routes) > 50
    assert [f"{r.method} {r.path}" for r in routes if operation_of(r) is None] == []


def test_the_document_names_every_path_and_resolves_every_schema(reference: ModuleType) -> None:
    document = openapi(reference.all_routes())
    assert set(document["paths"]) >= {"/v1/guests", "/v1/images/{name}/json", "/v1/exec/{exec}"}
    known = set(document["components"]["schemas"])
    assert {"GuestSpec", "Problem", "Resources"} <= known
    used = set(_references(document))
    assert used - known == set()


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["$ref"]).rpartition("/")[2]] if "$ref" in node else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []
