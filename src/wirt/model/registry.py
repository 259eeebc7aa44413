"""The registry: where it listens, who may do what, and what its repositories are called.

Names and tags follow the OCI distribution specification (spec.md, "Pulling manifests").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from wirt.errors import Invalid
from wirt.model.image import is_path, is_tag

ANYBODY = ""
"""The name of the user who has not said who they are."""


class Right(Enum):
    """What somebody may do with a repository. ``PUSH`` may move a tag that exists; ``CREATE`` may
    only add blobs, manifests and tags."""

    PULL = "pull"
    CREATE = "create"
    PUSH = "push"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address where the registry answers.

    ``port``: 0 for any that is free. ``certificate`` and ``key``: PEM texts, both or none.
    ``htpasswd``: lines ``user:bcrypt hash``. ``policy``: a TOML text, "" when whoever logs in may
    do everything. ``anonymous``: what may be done without logging in: ``pull``, ``none``, ``all``.
    """

    host: str
    port: int
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    htpasswd: str = field(default="", repr=False)
    policy: str = ""
    anonymous: str = "pull"
    insecure: bool = False

    @property
    def address(self) -> str:
        """``host:port`` as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def tls(self) -> bool:
        return bool(self.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySummary:
    """A repository in a list. ``size``: bytes of its blobs and manifests, each counted once."""

    name: str
    tags: tuple[str, ...]
    manifests: int
    blobs: int
    size: int


def check_name(name: str) -> str:
    """A repository's name, or Invalid."""
    if not is_path(name):
        raise Invalid(
            f"invalid repository name {name[:100]!r}",
            hint="write lower-case letters, digits, '.', '_', '-' and '/' between words",
            code="registry.name-invalid",
        )
    return name


def check_tag(tag: str) -> str:
    """A tag, or Invalid."""
    if not is_tag(tag):
        raise Invalid(
            f"invalid tag {tag[:140]!r}",
            hint="a tag has at most 128 letters, digits, '.', '_' and '-'",
            code="registry.tag-invalid",
        )
    return tag
