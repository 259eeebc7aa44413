"""JSON documents of strangers: bounded, without duplicate keys, typed access with clear errors.

Two readers that disagree about a document are an attack (CVE-2021-41190), so what one reader may
take one way and another differently is refused.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from wirt.errors import Invalid

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a manifest, index or configuration."""

Object = dict[str, Any]


def refuse(what: str, why: str) -> Invalid:
    """The one error for documents that are not what they should be."""
    return Invalid(f"invalid {what}: {why}", code="image.malformed")


def parse(data: bytes, what: str) -> Object:
    """The JSON object in ``data``. Raises Invalid, for nesting without end too."""
    if len(data) > MAX_DOCUMENT:
        raise refuse(what, f"it has {len(data)} bytes, {MAX_DOCUMENT} are allowed")
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        raise refuse(what, "it is not UTF-8") from error
    except RecursionError as error:
        raise refuse(what, "it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise refuse(what, f"it is no JSON ({error.msg} at byte {error.pos})") from error
    except ValueError as error:
        raise refuse(what, str(error)[:100]) from error
    if not isinstance(found, dict):
        raise refuse(what, "it is no JSON object")
    return found


def _pairs(found: list[tuple[str, Any]]) -> Object:
    result = dict(found)
    if len(result) != len(found):
        raise ValueError("a key occurs twice")
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def string(node: Object, key: str, what: str) -> str:
    """A string, "" when absent or null."""
    value = node.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise refuse(what, f"'{key}' is no string")
    return value


def integer(node: Object, key: str, what: str) -> int:
    """A required integer of at least 0."""
    value = node.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise refuse(what, f"'{key}' is no size")
    return value


def strings(node: Object, key: str, what: str) -> tuple[str, ...]:
    """A list of strings, empty when absent or null."""
    value = node.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise refuse(what, f"'{key}' is no list of strings")
    return tuple(value)


def objects(node: Object, key: str, what: str, *, most: int) -> list[Object]:
    """A list of at most ``most`` objects, empty when absent or null."""
    value = node.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise refuse(what, f"'{key}' is no list of objects")
    if len(value) > most:
        raise refuse(what, f"'{key}' has {len(value)} entries, {most} are allowed")
    return value


def mapping(node: Object, key: str, what: str) -> Object:
    """An object, empty when absent or null."""
    value = node.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(what, f"'{key}' is no object")
    return value


def texts(node: Object, key: str, what: str) -> dict[str, str]:
    """An object of strings, empty when absent or null."""
    value = mapping(node, key, what)
    if not all(isinstance(v, str) and "\0" not in v for v in value.values()):
        raise refuse(what, f"'{key}' is no object of strings")
    return value
