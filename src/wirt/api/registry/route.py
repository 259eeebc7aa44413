"""What a path means. Names hold slashes, so a path is read from its end; nothing is decoded in a
name, so ``%2e%2e`` is no name rather than a way up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

from wirt.errors import NotFound
from wirt.model.registry import check_name


class Kind(Enum):
    """The kinds of resources."""

    BASE = auto()
    TOKEN = auto()
    CATALOG = auto()
    TAGS = auto()
    MANIFEST = auto()
    BLOB = auto()
    UPLOADS = auto()
    UPLOAD = auto()
    REFERRERS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A resource. ``name``: the repository, "" where there is none. ``reference``: a tag, digest
    or upload id as it was written."""

    kind: Kind
    name: str = ""
    reference: str = ""


_FIXED = {
    "/v2": Target(kind=Kind.BASE),
    "/v2/": Target(kind=Kind.BASE),
    "/v2/_catalog": Target(kind=Kind.CATALOG),
    "/token": Target(kind=Kind.TOKEN),
}
_NAMED = (
    (re.compile(r"/v2/(.+)/tags/list()"), Kind.TAGS),
    (re.compile(r"/v2/(.+)/manifests/([^/]+)"), Kind.MANIFEST),
    (re.compile(r"/v2/(.+)/blobs/uploads/?()"), Kind.UPLOADS),
    (re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)"), Kind.UPLOAD),
    (re.compile(r"/v2/(.+)/blobs/([^/]+)"), Kind.BLOB),
    (re.compile(r"/v2/(.+)/referrers/([^/]+)"), Kind.REFERRERS),
)


def parse(path: str) -> Target:
    """The resource of a path as it stands in the request line, without the query.

    Raises NotFound for a path that means nothing, Invalid for a malformed name.
    """
    if path in _FIXED:
        return _FIXED[path]
    for pattern, kind in _NAMED:
        if (match := pattern.fullmatch(path)) is not None:
            return Target(kind=kind, name=check_name(match[1]), reference=unquote(match[2]))
    raise NotFound(f"there is nothing at {path[:200]}", code="registry.no-route")
