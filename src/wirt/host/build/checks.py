"""The checks of a Dockerfile, before a build or in place of one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from wirt.errors import WirtError
from wirt.host.build.progress import Progress
from wirt.host.build.wish import BuildWish
from wirt.host.images import Images
from wirt.host.pipe import Pipes
from wirt.image.build.dockerfile.ast import Dockerfile
from wirt.image.build.dockerfile.expand import expand_from
from wirt.image.build.dockerfile.lint import report, rules
from wirt.image.build.dockerfile.lint.subject import Finding, Subject
from wirt.image.build.dockerfile.scope import unused_args
from wirt.image.build.graph import Question
from wirt.model.ignore import Ignore


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found, and all of it as text for people."""

    findings: tuple[Finding, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Looks at a Dockerfile with what this host knows of its base images; pulls nothing."""

    pipes: Pipes
    images: Images

    async def look(self, question: Question, wish: BuildWish, known: Mapping[str, str]) -> Checked:
        """Check a file. ``known``: the platform arguments. Raises Invalid for a malformed
        request to skip checks or a malformed ignore file."""
        subject = await self._subject(question, wish, known)
        return await self.pipes.call(lambda: _checked(subject))

    async def before_build(
        self, question: Question, wish: BuildWish, known: Mapping[str, str], progress: Progress
    ) -> None:
        """Tell the warnings. Raises Invalid when the file wants them to end the build."""
        subject = await self._subject(question, wish, known)
        checked = await self.pipes.call(lambda: _checked(subject))
        for each in checked.findings:
            await progress.warn(_line(subject.file, each))
        for name in unused_args(question.file, wish.args):
            message = f"the build argument {name[:100]!r} is not used: no ARG declares it"
            await progress.warn({"rule": "UnusedBuildArg", "message": message})
        rules.refuse_if_failing(subject, checked.findings)

    async def _subject(
        self, question: Question, wish: BuildWish, known: Mapping[str, str]
    ) -> Subject:
        return Subject(
            file=question.file,
            given=wish.args,
            known=known,
            bases=await self._environments(question),
            ignore=Ignore.parse(wish.ignore) if wish.ignore else None,
        )

    async def _environments(self, question: Question) -> dict[str, tuple[str, ...]]:
        """The environments of the base images that are here."""
        found: dict[str, tuple[str, ...]] = {}
        file = question.file
        for stage in file.stages:
            with suppress(WirtError):
                start, _ = expand_from(
                    stage.start,
                    question.arguments.values,
                    name=file.name,
                    escape=file.directives.escape,
                )
                if start.image != "scratch" and file.stage(start.image) is None:
                    image = await self.images.find(start.image)
                    found[start.image] = image.config.env
        return found


def _checked(subject: Subject) -> Checked:
    findings = rules.check(subject)
    return Checked(findings, report.text(subject.file, findings))


def _line(file: Dockerfile, finding: Finding) -> dict[str, object]:
    place = finding.position
    return {
        "rule": finding.rule,
        "message": finding.message,
        "where": f"{file.name}:{place.line}:{place.column}",
        "line": place.line,
        "column": place.column,
    }
