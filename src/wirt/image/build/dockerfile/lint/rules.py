"""The table of all checks, and how they are run."""

from __future__ import annotations

from itertools import islice

from wirt.errors import Invalid
from wirt.image.build.dockerfile import directives
from wirt.image.build.dockerfile.ast import Directives, Position
from wirt.image.build.dockerfile.lint import casing, stages, usage, variables
from wirt.image.build.dockerfile.lint.subject import Finding, Rule, Subject, wants

MAX_OF_A_RULE = 200
"""Warnings of one rule that are told; nobody reads more."""
_OVERRIDE = "BUILDKIT_DOCKERFILE_CHECK"

RULES = (
    Rule(
        name="StageNameCasing",
        description="names of stages are in small letters",
        check=casing.stage_name,
    ),
    Rule(
        name="FromAsCasing",
        description="FROM and AS are written alike",
        check=casing.from_as,
    ),
    Rule(
        name="NoEmptyContinuation",
        description="no empty lines inside of a continued instruction",
        check=usage.empty_continuation,
    ),
    Rule(
        name="ConsistentInstructionCasing",
        description="all instructions are in capitals, or all in small letters",
        check=casing.instructions,
    ),
    Rule(
        name="DuplicateStageName",
        description="each stage has a name of its own",
        check=stages.duplicate_name,
    ),
    Rule(
        name="ReservedStageName",
        description="no stage is called scratch or context",
        check=stages.reserved_name,
    ),
    Rule(
        name="JSONArgsRecommended",
        description="CMD and ENTRYPOINT are lists, so that programs get their signals",
        check=usage.shell_form,
    ),
    Rule(
        name="MaintainerDeprecated",
        description="a label instead of MAINTAINER",
        check=usage.maintainer,
    ),
    Rule(
        name="UndefinedArgInFrom",
        description="FROM uses only declared arguments",
        check=stages.undefined_argument,
    ),
    Rule(
        name="WorkdirRelativePath",
        description="a relative WORKDIR only after an absolute one",
        check=usage.relative_workdir,
    ),
    Rule(
        name="UndefinedVar",
        description="variables are defined before they are used",
        check=variables.undefined,
    ),
    Rule(
        name="MultipleInstructionsDisallowed",
        description="CMD, ENTRYPOINT and HEALTHCHECK once per stage",
        check=usage.several,
    ),
    Rule(
        name="LegacyKeyValueFormat",
        description="ENV and LABEL with an equals sign",
        check=variables.legacy,
    ),
    Rule(
        name="RedundantTargetPlatform",
        description="no --platform=$TARGETPLATFORM, which is the default",
        check=stages.redundant_platform,
    ),
    Rule(
        name="SecretsUsedInArgOrEnv",
        description="no secrets in ARG and ENV",
        check=variables.secrets,
    ),
    Rule(
        name="InvalidDefaultArgInFrom",
        description="FROM names an image without any build argument",
        check=stages.invalid_default,
    ),
    Rule(
        name="FromPlatformFlagConstDisallowed",
        description="no constant platform in FROM",
        check=stages.constant_platform,
    ),
    Rule(
        name="CopyIgnoredFile",
        description="nothing is copied that .dockerignore leaves out",
        check=usage.ignored_file,
        experimental=True,
    ),
    Rule(
        name="InvalidDefinitionDescription",
        description="the comment above an ARG or a stage begins with its name",
        check=usage.description,
        experimental=True,
    ),
    Rule(
        name="ExposeProtoCasing",
        description="protocols in small letters",
        check=casing.expose_protocol,
    ),
    Rule(
        name="ExposeInvalidFormat",
        description="EXPOSE names ports of the guest only",
        check=usage.mapped_port,
    ),
)


def settings(subject: Subject) -> Directives:
    """``# check=`` of the file, or what the build argument ``BUILDKIT_DOCKERFILE_CHECK`` says in
    its place. Raises Invalid for a malformed one."""
    override = subject.given.get(_OVERRIDE)
    if override is None:
        return subject.file.directives
    return directives.check(Directives(), override, f"--build-arg {_OVERRIDE}", Position(1))


def check(subject: Subject) -> tuple[Finding, ...]:
    """All warnings in the order of the file. Raises Invalid for a malformed build argument."""
    wanted = settings(subject)
    found = [
        Finding(
            rule=rule.name,
            message=each.message,
            position=_place(each.at.find(each.word), each.word),
            end_line=each.at.end_line,
        )
        for rule in RULES
        if wants(rule, wanted)
        for each in islice(rule.check(subject), MAX_OF_A_RULE)
    ]
    return tuple(sorted(found, key=lambda each: (each.position.line, each.position.column)))


def _place(position: Position, word: str) -> Position:
    """Where the word itself begins, when it was looked for with a blank before it."""
    return Position(position.line, position.column + len(word) - len(word.lstrip()))


def refuse_if_failing(subject: Subject, findings: tuple[Finding, ...]) -> None:
    """Raise Invalid when ``error=true`` is asked for and there are warnings."""
    if findings and settings(subject).failing:
        names = ", ".join(dict.fromkeys(each.rule for each in findings))
        first = findings[0]
        raise Invalid(
            f"{subject.file.name}:{first.position.line}:{first.position.column}: "
            f"the checks failed: {names}",
            hint="'# check=error=true' makes warnings fail the build",
            code="dockerfile.check",
            line=first.position.line,
            column=first.position.column,
        )
