"""Which variables there are at which line: global ARGs, a stage's ARGs, its environment.

The rules (reference.md, "ARG"): a global ARG is seen by FROM only, until a stage declares it
again; what is given from outside goes before a default; ENV goes before ARG; a stage that begins
from another stage goes on with its variables; proxies are there for RUN without being declared,
and leave no trace in the history and the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wirt.errors import Invalid
from wirt.image.build.dockerfile import shellword
from wirt.image.build.dockerfile.ast import Arg, Dockerfile, Env
from wirt.image.build.dockerfile.problem import Wrong, located
from wirt.image.platform import Platform

PROXIES = frozenset(
    each
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for each in (name, name.upper())
)
MAX_ENVIRONMENT = 2 * 1024 * 1024
"""Characters of all variables together: what the kernel would refuse to start (execve(2))."""


def platform_args(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """The ARGs that are known without being given: TARGET..., BUILD...; ``stage`` is built."""
    found = {"TARGETSTAGE": stage or "default"}
    for prefix, place in (("TARGET", target), ("BUILD", build)):
        variant = f"/{place.variant}" if place.variant else ""
        found |= {
            f"{prefix}PLATFORM": f"{place.os}/{place.architecture}{variant}",
            f"{prefix}OS": place.os,
            f"{prefix}OSVERSION": "",
            f"{prefix}ARCH": place.architecture,
            f"{prefix}VARIANT": place.variant,
        }
    return found


@dataclass(frozen=True, slots=True)
class Globals:
    """What FROM sees, and stages when they declare it. ``given``: the build arguments."""

    values: Mapping[str, str]
    given: Mapping[str, str]
    missing: frozenset[str] = frozenset()


def global_args(file: Dockerfile, given: Mapping[str, str], known: Mapping[str, str]) -> Globals:
    """Evaluate the ARGs before the first FROM in their order; each sees those before it.

    ``known``: :func:`platform_args`, which a build argument of the same name overrides.
    Raises Invalid.
    """
    values = {name: given.get(name, value) for name, value in known.items()}
    seen = shellword.Seen()
    for arg in file.args:
        values |= _evaluate(file, arg, given, values, seen)
    return Globals(values, dict(given), frozenset(seen.missing))


def _evaluate(
    file: Dockerfile,
    arg: Arg,
    given: Mapping[str, str],
    values: Mapping[str, str],
    seen: shellword.Seen,
) -> dict[str, str]:
    """The declarations of one ARG that have a value."""
    found: dict[str, str] = {}
    escape = file.directives.escape
    for declaration in arg.declarations:
        try:
            name = shellword.expand(declaration.name, values, escape=escape, seen=seen)
            if name in given:
                found[name] = given[name]
            elif declaration.default is not None:
                found[name] = shellword.expand(
                    declaration.default, {**values, **found}, escape=escape, seen=seen
                )
        except Wrong as error:
            place = arg.at.find(error.word)
            raise located(file.name, place, error.message, hint=error.hint) from None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The variables at one place of a stage; a new value for each instruction that sets some.

    ``args``: declared and with a value. ``declared``: those without one too. ``env``: the
    environment that the image will have.
    """

    globals: Globals
    args: Mapping[str, str] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, known: Globals, env: Iterable[str] = ()) -> Scope:
        """The scope of a stage on an image with the environment ``env`` (``NAME=value``)."""
        found: dict[str, str] = {}
        for entry in env:
            name, _, value = entry.partition("=")
            found[name] = value
        return cls(globals=known, env=found)

    @property
    def values(self) -> dict[str, str]:
        """What the expansion of an instruction here sees."""
        return {**self.args, **self.env}

    @property
    def proxies(self) -> dict[str, str]:
        """Proxies that were given but not declared: for RUN's environment, for nothing else."""
        given = self.globals.given
        return {n: given[n] for n in sorted(PROXIES & given.keys()) if n not in self.declared}

    @property
    def run_values(self) -> dict[str, str]:
        """The environment of a RUN here."""
        return {**self.proxies, **self.args, **self.env}

    def declare(self, file: Dockerfile, arg: Arg) -> tuple[Scope, set[str]]:
        """After an ARG; and the names in its defaults that had no value. Raises Invalid."""
        seen = shellword.Seen()
        found = _evaluate(file, arg, self.globals.given, self.values, seen)
        names = {
            shellword.expand(each.name, self.values, escape=file.directives.escape)
            for each in arg.declarations
        }
        for name in names - found.keys():
            if name in self.globals.values:
                found[name] = self.globals.values[name]
        after = replace(
            self, args={**self.args, **found}, declared=self.declared | frozenset(names)
        )
        return after._bounded(), seen.missing

    def set(self, env: Env) -> Scope:
        """After an ENV, which must be expanded already. Raises Invalid."""
        new = {pair.key: pair.value for pair in env.pairs}
        return replace(self, env={**self.env, **new})._bounded()

    def _bounded(self) -> Scope:
        size = sum(len(n) + len(v) + 2 for part in (self.args, self.env) for n, v in part.items())
        if size > MAX_ENVIRONMENT:
            raise Invalid(
                f"the variables of the stage have {size} characters, {MAX_ENVIRONMENT} are allowed",
                hint="no program could be started with them",
                code="dockerfile.invalid",
            )
        return self


def unused_args(file: Dockerfile, given: Iterable[str]) -> tuple[str, ...]:
    """The build arguments that no ARG declares and that mean nothing by themselves."""
    declared = {each.name for arg in file.args for each in arg.declarations}
    declared |= {
        each.name
        for stage in file.stages
        for instruction in stage.instructions
        if isinstance(instruction, Arg)
        for each in instruction.declarations
    }
    return tuple(
        name
        for name in given
        if name not in declared | PROXIES and not name.startswith(("BUILDKIT_", "SOURCE_DATE_"))
    )
