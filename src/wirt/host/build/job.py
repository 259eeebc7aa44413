"""One build under way: what it was asked for, what it found, and what it holds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from wirt.errors import Invalid, NotFound, WirtError
from wirt.host.build.holding import Holding
from wirt.host.build.imports import Imports
from wirt.host.build.progress import Progress
from wirt.host.build.sources import Sources
from wirt.host.build.visitors import Agents
from wirt.host.build.wish import BuildWish
from wirt.image.build.graph import BaseSettings, Graph, ImageRef
from wirt.image.build.outcome import Root
from wirt.image.build.step import MAX_SECRET
from wirt.image.build.steps import Step
from wirt.image.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """An image that a build starts from or copies from."""

    settings: BaseSettings
    root: Root
    platform: Platform
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the steps of a build share. ``cached``: whether earlier results may be taken."""

    wish: BuildWish
    graph: Graph
    bases: Mapping[ImageRef, BaseImage]
    sources: Sources
    progress: Progress
    holding: Holding
    agents: Agents
    imports: Imports
    cached: bool = True

    def may_use_cache(self, stage: str) -> bool:
        """Whether results of earlier builds count for a stage."""
        skipped = self.wish.no_cache
        return self.cached and "*" not in skipped and stage not in skipped

    def secret(self, name: str) -> bytes | None:
        """A secret's bytes; None when the client gave none of that id. Raises Invalid."""
        text = self.wish.secrets.get(name)
        if text is None:
            return None
        try:
            found = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise Invalid(f"the secret {name[:100]!r} is no base64", code="build.secret") from error
        if len(found) > MAX_SECRET:
            raise Invalid(
                f"the secret {name[:100]!r} has more than {MAX_SECRET} bytes", code="build.secret"
            )
        return found

    def need_secret(self, name: str) -> bytes:
        """As :meth:`secret`. Raises NotFound when there is none."""
        found = self.secret(name)
        if found is None:
            raise NotFound(
                f"the secret {name[:100]!r} was not given",
                hint=f"add --secret id={name[:100]},src=FILE",
                code="build.no-secret",
            )
        return found


def at(step: Step, error: WirtError) -> WirtError:
    """The same error, saying at which line of what it happened."""
    if error.message.startswith(f"{step.where}:"):
        return error
    facts = {key: value for key, value in error.facts.items() if key not in {"where", "command"}}
    located = type(error).__new__(type(error))
    WirtError.__init__(
        located,
        f"{step.where}: {error.message}",
        hint=error.hint,
        code=error.code,
        **facts,
        where=step.where,
        command=step.title,
    )
    return located
