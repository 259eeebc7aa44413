"""A stage as the steps that make it: what must be done, with every text expanded.

Making this value touches nothing: it takes an instruction list and the base's configuration, and
says what to run, what to copy and what the image's configuration becomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wirt.image.build.address import masked
from wirt.image.build.dockerfile import ast
from wirt.image.build.dockerfile.expand import expand
from wirt.image.build.dockerfile.ports import MAX_OF_A_STAGE
from wirt.image.build.dockerfile.problem import located
from wirt.image.build.dockerfile.scope import PROXIES, Scope
from wirt.image.build.said import history_text
from wirt.image.build.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction, expanded. ``settings``: after it. ``said``: its line of the history.

    ``env``: what a RUN sees, ``hidden``: further variables that are no part of its cache key.
    ``number`` counts the steps of the stage that do something, from 1; 0 for those that only
    change the configuration. ``where``: ``Dockerfile:7`` or the image with the trigger.
    """

    instruction: ast.Instruction
    settings: Settings
    before: Settings
    said: str
    where: str
    number: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The instruction for people, on one line."""
        text = masked(" ".join(self.instruction.at.text.split()))
        return text if len(text) <= 200 else text[:197] + "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage. ``name``: what to call it; ``steps``: all of its instructions, triggers first.
    ``scope``: the variables at its end, with which a stage on top of it begins."""

    index: int
    name: str
    steps: tuple[Step, ...]
    settings: Settings
    scope: Scope

    @property
    def working(self) -> int:
        """How many steps do something."""
        return sum(1 for step in self.steps if step.number)


class _Walk:
    """The state while going through a stage's instructions."""

    def __init__(self, file: ast.Dockerfile, settings: Settings, scope: Scope) -> None:
        self._file = file
        self.settings = settings
        self.scope = scope
        self._number = 0
        self._ports = len(settings.node.get("ExposedPorts") or ())

    def step(self, instruction: ast.Instruction, where: str) -> Step:
        expanded = expand(
            instruction,
            self.scope.values,
            name=self._file.name,
            escape=self._file.directives.escape,
        ).instruction
        before = self.settings
        if isinstance(expanded, ast.Expose):
            self._count_ports(expanded)
        if isinstance(expanded, ast.Arg):
            self.scope, _ = self.scope.declare(self._file, expanded)
        else:
            self.settings = before.change(expanded)
        if isinstance(expanded, ast.Env):
            self.scope = self.scope.set(expanded)
        seen = {
            name: value
            for name, value in self.scope.args.items()
            if name not in PROXIES and name not in self.scope.env
        }
        step = Step(
            instruction=expanded,
            settings=self.settings,
            before=before,
            said=masked(history_text(expanded, self.settings, sorted(seen.items()))),
            where=where,
            number=self._count(expanded),
        )
        if isinstance(expanded, ast.Run):
            return self._with_env(step)
        return step

    def _count_ports(self, instruction: ast.Expose) -> None:
        """A range is short to write and long to take in, and the daemon does nothing else then."""
        self._ports += len(instruction.ports)
        if self._ports > MAX_OF_A_STAGE:
            raise located(
                self._file.name,
                instruction.at.find(""),
                f"up to here the stage exposes {self._ports} ports, {MAX_OF_A_STAGE} are allowed",
                hint="it opens nothing, it only tells: name the ports that matter",
            )

    def _count(self, instruction: ast.Instruction) -> int:
        if not isinstance(instruction, (ast.Run, ast.Copy, ast.Add, ast.Workdir)):
            return 0
        self._number += 1
        return self._number

    def _with_env(self, step: Step) -> Step:
        env = self.settings.env
        values = {name: value for name, value in self.scope.run_values.items() if name not in env}
        hidden = {name: value for name, value in values.items() if name in PROXIES}
        seen = {name: value for name, value in values.items() if name not in PROXIES}
        return replace(step, env={**env, **seen}, hidden=hidden)


def plan_stage(
    file: ast.Dockerfile,
    stage: ast.Stage,
    base: Settings,
    scope: Scope,
    *,
    triggers: Sequence[tuple[ast.Instruction, str]] = (),
) -> StagePlan:
    """The steps of a stage on a base. ``scope``: the variables at its beginning. ``triggers``: the
    base's ONBUILD instructions and where they come from. Raises Invalid for what cannot be
    expanded."""
    walk = _Walk(file, base.without_triggers(), scope)
    steps = [walk.step(instruction, where) for instruction, where in triggers]
    steps += [walk.step(one, f"{file.name}:{one.at.line}") for one in stage.instructions]
    return StagePlan(
        index=stage.index,
        name=stage.start.name or f"stage-{stage.index}",
        steps=tuple(steps),
        settings=walk.settings,
        scope=walk.scope,
    )
