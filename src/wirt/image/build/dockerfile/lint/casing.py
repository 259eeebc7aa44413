"""Rules about capital and small letters."""

from __future__ import annotations

from collections.abc import Iterator

from wirt.image.build.dockerfile.ast import Expose, Origin
from wirt.image.build.dockerfile.lint.subject import Found, Subject


def stage_name(subject: Subject) -> Iterator[Found]:
    """StageNameCasing."""
    for stage in subject.file.stages:
        name = stage.start.name_as_written or ""
        if name != name.lower():
            yield Found(
                stage.start.at, f"the name of the stage '{name}' should be in small letters", name
            )


def from_as(subject: Subject) -> Iterator[Found]:
    """FromAsCasing."""
    for stage in subject.file.stages:
        separator, keyword = stage.start.separator, stage.start.at.keyword
        if separator and separator.isupper() != keyword.isupper():
            yield Found(
                stage.start.at,
                f"'{separator}' should be written like '{keyword}'",
                f" {separator} ",
            )


def instructions(subject: Subject) -> Iterator[Found]:
    """ConsistentInstructionCasing: as most of the file has it, capitals when there is no majority.

    The ARGs before the first FROM are not counted.
    """
    origins: list[Origin] = []
    for stage in subject.file.stages:
        origins += [stage.start.at, *(each.at for each in stage.instructions)]
    small = sum(origin.keyword.islower() for origin in origins)
    capital = sum(origin.keyword.isupper() for origin in origins)
    wanted = "small letters" if small > capital else "capitals"
    for origin in origins:
        if not (origin.keyword.islower() if small > capital else origin.keyword.isupper()):
            yield Found(origin, f"'{origin.keyword}' should be in {wanted} like most of the file")


def expose_protocol(subject: Subject) -> Iterator[Found]:
    """ExposeProtoCasing."""
    for _, each in subject.instructions():
        for port in each.ports if isinstance(each, Expose) else ():
            protocol = port.partition("/")[2]
            if "$" not in protocol and protocol != protocol.lower():
                yield Found(each.at, f"the protocol of '{port}' should be in small letters", port)
