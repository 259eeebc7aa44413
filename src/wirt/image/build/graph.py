"""From a Dockerfile to what a build needs: its stages in order, and the images they start from.

A pure value. Only the stages that the target needs are in it; whether two of them may run at the
same time follows from their bases and sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wirt.errors import Invalid, NotFound
from wirt.image.build.dockerfile import ast
from wirt.image.build.dockerfile.expand import expand_from
from wirt.image.build.dockerfile.scope import Globals, Scope
from wirt.image.build.settings import Settings
from wirt.image.build.steps import StagePlan, plan_stage

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class StageRef:
    """An earlier stage."""

    index: int


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image, by the name as written, for the platform as written (``""``: the build's)."""

    name: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class ContextRef:
    """A named context of files; ``""`` is the build context itself."""

    name: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """``scratch``."""


Origin = StageRef | ImageRef | ContextRef | Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """What planning must know of an image. ``triggers``: its ONBUILD lines, parsed."""

    settings: Settings
    triggers: tuple[ast.Instruction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What names may mean besides stages. ``contexts``: named contexts of files. ``images``:
    names given to images by ``--build-context NAME=docker-image://IMAGE``."""

    contexts: frozenset[str] = frozenset()
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNode:
    """A stage, its base, and what its steps take files from (by step, as written)."""

    plan: StagePlan
    base: Origin
    sources: Mapping[str, Origin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """All stages of a build in the file's order; the last is the target."""

    stages: tuple[StageNode, ...]

    @property
    def target(self) -> StageNode:
        return self.stages[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be built. ``target``: a stage's name or number, ``""``: the last stage."""

    file: ast.Dockerfile
    arguments: Globals
    names: Names = field(default_factory=Names)
    target: str = ""


def target_stage(question: Question) -> ast.Stage:
    """The stage to build. Raises NotFound naming those that there are."""
    file = question.file
    if not question.target:
        return file.stages[-1]
    found = file.stage(question.target)
    if found is None:
        names = ", ".join(s.start.name or str(s.index) for s in file.stages)
        raise NotFound(
            f"{file.name} has no stage {question.target!r}",
            hint=f"its stages are: {names}",
            code="build.no-target",
        )
    return found


def start_of(question: Question, stage: ast.Stage) -> Origin:
    """What FROM of a stage means. Raises Invalid for an empty name."""
    start, _ = expand_from(
        stage.start,
        question.arguments.values,
        name=question.file.name,
        escape=question.file.directives.escape,
    )
    return _named(question, start.image, stage.index, platform=start.platform or "", base=True)


def source_of(question: Question, name: str, index: int) -> Origin:
    """What ``--from=`` and ``from=`` mean in the stage ``index``."""
    return _named(question, name, index, platform="", base=False)


def _named(question: Question, name: str, index: int, *, platform: str, base: bool) -> Origin:
    names = question.names
    if name.lower() in names.contexts:
        return ContextRef(name.lower())
    if name.lower() in names.images:
        return ImageRef(names.images[name.lower()], platform)
    if base and name == SCRATCH:
        return Nothing()
    found = question.file.stage(name) if not (base and name.isdigit()) else None
    if found is not None and found.index < index:
        return StageRef(found.index)
    if found is not None and found.start.name == name.lower() and not base:
        raise Invalid(
            f"the stage {name!r} comes later in {question.file.name} than its use",
            hint="copy from earlier stages only",
            code="build.later-stage",
        )
    earlier = [s for s in question.file.stages if s.index < index and s.start.name == name.lower()]
    return StageRef(earlier[-1].index) if earlier else ImageRef(name, platform)


def _written(instruction: ast.Instruction) -> list[str]:
    """The names of what an instruction takes files from."""
    match instruction:
        case ast.Copy(origin=str(name)) if name:
            return [name]
        case ast.Run(mounts=mounts):
            return [m.origin for m in mounts if m.origin]
        case ast.Onbuild():
            return []
        case _:
            return []


def _triggers(stage: ast.Stage) -> list[ast.Onbuild]:
    """What a stage leaves to do to a stage that begins from it."""
    return [each for each in stage.instructions if isinstance(each, ast.Onbuild)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the target needs, as far as is known. ``stages`` in order."""

    stages: tuple[int, ...]
    images: frozenset[ImageRef]


def needs(question: Question, known: Mapping[ImageRef, BaseSettings]) -> Needs:
    """The stages and images of the target. ``known``: images that were looked up: their triggers
    may need more. Ask again until nothing new is asked for."""
    pending = [target_stage(question).index]
    stages: set[int] = set()
    images: set[ImageRef] = set()
    while pending:
        index = pending.pop()
        if index in stages:
            continue
        stages.add(index)
        stage = question.file.stages[index]
        base = start_of(question, stage)
        origins = [base]
        instructions = list(stage.instructions)
        if isinstance(base, ImageRef) and base in known:
            instructions += known[base].triggers
        elif isinstance(base, StageRef):
            below = question.file.stages[base.index]
            instructions += [each.instruction for each in _triggers(below)]
        for instruction in instructions:
            origins += [source_of(question, n, index) for n in _written(instruction)]
        for origin in origins:
            if isinstance(origin, StageRef):
                pending.append(origin.index)
            elif isinstance(origin, ImageRef):
                images.add(origin)
    return Needs(stages=tuple(sorted(stages)), images=frozenset(images))


def plan(question: Question, known: Mapping[ImageRef, BaseSettings]) -> Graph:
    """The graph, once all images are known. Raises Invalid for what cannot be built."""
    plans: dict[int, StagePlan] = {}
    nodes: list[StageNode] = []
    for index in needs(question, known).stages:
        stage = question.file.stages[index]
        base = start_of(question, stage)
        settings = Settings.base({})
        triggers: list[tuple[ast.Instruction, str]] = []
        scope: Scope | None = None
        if isinstance(base, StageRef):
            settings, scope = plans[base.index].settings, plans[base.index].scope
            triggers = [
                (each.instruction, f"{question.file.name}:{each.at.line}")
                for each in _triggers(question.file.stages[base.index])
            ]
        elif isinstance(base, ImageRef):
            found = known[base]
            settings = found.settings
            triggers = [(each, f"ONBUILD of {base.name}") for each in found.triggers]
        made = plan_stage(
            question.file,
            stage,
            settings,
            scope or Scope.begin(question.arguments, settings.node.get("Env") or ()),
            triggers=triggers,
        )
        plans[index] = made
        written = {n for step in made.steps for n in _written(step.instruction)}
        sources = {name: source_of(question, name, index) for name in sorted(written)}
        nodes.append(StageNode(plan=made, base=base, sources=sources))
    last = target_stage(question).index
    nodes.sort(key=lambda node: (node.plan.index == last, node.plan.index))
    return Graph(stages=tuple(nodes))
