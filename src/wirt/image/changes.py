"""Dockerfile lines that only change an image's configuration, for ``--change``."""

from __future__ import annotations

from collections.abc import Sequence

from wirt.errors import Invalid
from wirt.image.build.dockerfile import ast
from wirt.image.build.dockerfile.expand import expand
from wirt.image.build.dockerfile.parse import parse_instruction
from wirt.image.build.settings import Settings
from wirt.image.config import encode_run_config, run_config
from wirt.model.image import ImageConfig

_APPLICABLE = (
    ast.Cmd | ast.Entrypoint | ast.Env | ast.Expose | ast.Healthcheck | ast.Label
    | ast.Stopsignal | ast.User | ast.Volume | ast.Workdir
)  # fmt: skip
_NAME = "--change"


def apply_changes(config: ImageConfig, lines: Sequence[str]) -> ImageConfig:
    """The configuration after all lines, which mean what they mean in a Dockerfile. Raises
    Invalid naming the line."""
    settings = Settings(node=encode_run_config(config))
    for line in lines:
        try:
            settings = settings.change(_instruction(line, settings))
        except Invalid as error:
            raise Invalid(
                f"cannot apply the change {line[:100]!r}: {error.message}",
                hint=error.hint,
                code="image.change",
            ) from error
    return run_config(settings.node)


def _instruction(line: str, settings: Settings) -> ast.Instruction:
    found = parse_instruction(line, _NAME)
    if not isinstance(found, _APPLICABLE):
        names = sorted(kind.__name__.upper() for kind in _APPLICABLE.__args__)
        raise Invalid("it changes more than the configuration", hint=f"use {', '.join(names)}")
    return expand(found, settings.env, name=_NAME).instruction
