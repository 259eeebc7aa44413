"""The one error hierarchy, named by what the caller can do about it.

::

    WirtError
    ├── Invalid       the request is malformed: change it
    ├── NotFound      no such guest, image, network, volume
    ├── Conflict      exists already, in use, or in the wrong state
    ├── Forbidden     the caller may not
    ├── Exhausted     the host has not enough of it left
    ├── Unsupported   this kind of guest, kernel or host cannot do it
    ├── Unavailable   daemon, helper, keeper or agent does not answer
    ├── Upstream      a registry or another server failed
    ├── Timeout       it took too long
    └── Internal      a bug in wirt

``kind`` decides the HTTP status and the exit code; both tables live at the edges
(``api/http/problem.py``, ``cli/exit.py``) and are tested to be total over :class:`Kind`.
``code`` is a stable dotted name (``"network.in-use"``) that programs may match.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What the caller can do about an error."""

    INVALID = "invalid"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    EXHAUSTED = "exhausted"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class WirtError(Exception):
    """An error with one sentence for people, a hint what would help, and a stable code.

    ``message`` names what the user typed. ``hint`` is one sentence or None. ``code`` refines the
    class's default code. ``facts`` are strings or numbers for programs, shown in the problem JSON.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        **facts: str | int,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.kind.value
        self.facts = facts

    @property
    def notes(self) -> tuple[str, ...]:
        """Context added on the way up with ``add_note``."""
        return tuple(getattr(self, "__notes__", ()))


class Invalid(WirtError):
    """The request is malformed or out of range: change it."""

    kind = Kind.INVALID


class NotFound(WirtError):
    """There is no such guest, image, network, volume or path."""

    kind = Kind.NOT_FOUND


class Conflict(WirtError):
    """The thing exists already, is in use, or is in the wrong state."""

    kind = Kind.CONFLICT


class Forbidden(WirtError):
    """The caller may not do this."""

    kind = Kind.FORBIDDEN


class Exhausted(WirtError):
    """The host does not have enough of a resource left."""

    kind = Kind.EXHAUSTED


class Unsupported(WirtError):
    """This kind of guest, this kernel or this host cannot do it; the hint names what can."""

    kind = Kind.UNSUPPORTED


class Unavailable(WirtError):
    """The daemon, the helper, a keeper or an agent does not answer."""

    kind = Kind.UNAVAILABLE


class Upstream(WirtError):
    """Another server (a registry) failed or lied."""

    kind = Kind.UPSTREAM


class Timeout(WirtError):
    """It took longer than the caller allowed."""

    kind = Kind.TIMEOUT


class Internal(WirtError):
    """A bug in wirt."""

    kind = Kind.INTERNAL


BY_KIND: dict[Kind, type[WirtError]] = {
    cls.kind: cls
    for cls in (
        Invalid, NotFound, Conflict, Forbidden, Exhausted, Unsupported, Unavailable, Upstream,
        Timeout, Internal,
    )
}  # fmt: skip


def primary(group: BaseException) -> BaseException:
    """The most specific error of a (nested) exception group; the others become its notes."""
    if not isinstance(group, BaseExceptionGroup):
        return group
    leaves = list(_leaves(group))
    known = [e for e in leaves if isinstance(e, WirtError) and e.kind is not Kind.INTERNAL]
    best = known[0] if known else leaves[0]
    for other in leaves:
        if other is not best:
            best.add_note(f"also: {other}")
    return best


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found.extend(_leaves(error))
        else:
            found.append(error)
    return found
