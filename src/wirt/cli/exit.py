"""From errors to exit codes: the one table (docs/reference/cli.md shows it)."""

from __future__ import annotations

from wirt.errors import Kind, WirtError

EXIT: dict[Kind, int] = {
    Kind.INVALID: 2,
    Kind.NOT_FOUND: 3,
    Kind.CONFLICT: 4,
    Kind.FORBIDDEN: 5,
    Kind.EXHAUSTED: 6,
    Kind.UNSUPPORTED: 7,
    Kind.UNAVAILABLE: 8,
    Kind.UPSTREAM: 9,
    Kind.TIMEOUT: 10,
    Kind.INTERNAL: 70,
}
"""``run``, ``create`` and ``exec`` answer 125 instead, or what the problem's ``exit`` fact says."""


def code(error: WirtError, own: int | None) -> int:
    """The exit code of an error; ``own``: 125 for commands that answer with a guest's codes."""
    if own is None:
        return EXIT[error.kind]
    told = error.facts.get("exit")
    return told if isinstance(told, int) and 0 < told < 256 else own
