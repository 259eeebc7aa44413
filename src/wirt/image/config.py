"""Image configurations: OCI image specification (config.md) with Docker's extensions.

The bytes are kept as a blob, so fields that are unknown here survive; what is read is what
running a guest takes. ``null`` means absent.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wirt.image import document
from wirt.image.document import Object, refuse
from wirt.image.manifest import MAX_LAYERS, encode_json
from wirt.image.platform import Platform
from wirt.model.image import Digest, ImageConfig

_WHAT = "image configuration"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of the history. ``created_at``: Unix nanoseconds. ``empty``: made no layer."""

    created_at: int = 0
    created_by: str = ""
    comment: str = ""
    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration blob as read. ``created_at``: Unix nanoseconds, 0 when unknown."""

    platform: Platform
    created_at: int
    diff_ids: tuple[Digest, ...]
    history: tuple[Step, ...]
    config: ImageConfig


def parse(data: bytes) -> Configuration:
    """Read a configuration blob. Raises Invalid."""
    node = document.parse(data, _WHAT)
    rootfs = document.mapping(node, "rootfs", _WHAT)
    if rootfs.get("type") != "layers":
        raise refuse(_WHAT, "its rootfs is not of the type 'layers'")
    diff_ids = document.strings(rootfs, "diff_ids", _WHAT)
    if len(diff_ids) > MAX_LAYERS:
        raise refuse(_WHAT, f"it has {len(diff_ids)} layers, {MAX_LAYERS} are allowed")
    return Configuration(
        platform=Platform(
            os=document.string(node, "os", _WHAT),
            architecture=document.string(node, "architecture", _WHAT),
            variant=document.string(node, "variant", _WHAT),
        ),
        created_at=_time(node),
        diff_ids=tuple(Digest.parse(text) for text in diff_ids),
        history=tuple(
            Step(
                created_at=_time(entry),
                created_by=document.string(entry, "created_by", _WHAT),
                comment=document.string(entry, "comment", _WHAT),
                empty=entry.get("empty_layer") is True,
            )
            for entry in document.objects(node, "history", _WHAT, most=10_000)
        ),
        config=run_config(document.mapping(node, "config", _WHAT)),
    )


def run_config(node: Object) -> ImageConfig:
    """What the ``config`` object of a configuration says. Raises Invalid."""
    return ImageConfig(
        user=document.string(node, "User", _WHAT),
        env=document.strings(node, "Env", _WHAT),
        entrypoint=_command(node, "Entrypoint"),
        cmd=_command(node, "Cmd"),
        working_dir=document.string(node, "WorkingDir", _WHAT),
        labels=document.texts(node, "Labels", _WHAT),
        stop_signal=document.string(node, "StopSignal", _WHAT),
        exposed_ports=tuple(document.mapping(node, "ExposedPorts", _WHAT)),
        volumes=tuple(document.mapping(node, "Volumes", _WHAT)),
        healthcheck=document.mapping(node, "Healthcheck", _WHAT) or None,
    )


def _command(node: Object, key: str) -> tuple[str, ...]:
    """A list of arguments; old images hold a plain string."""
    if isinstance(node.get(key), str):
        return (document.string(node, key, _WHAT),)
    return document.strings(node, key, _WHAT)


def _time(node: Object) -> int:
    """RFC 3339 as Unix nanoseconds; 0 for absent, malformed or before 1970."""
    match = _TIME.fullmatch(document.string(node, "created", _WHAT))
    if match is None:
        return 0
    try:
        moment = datetime.fromisoformat(match[1] + match[3])
    except ValueError:
        return 0
    seconds = (moment - _EPOCH) // (datetime.resolution * 1_000_000)
    return max(0, seconds * 10**9 + int(((match[2] or "") + "000000000")[:9]))


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[str, ...]:
    """The name of each layer on top of those below it (config.md, "Layer ChainID")."""
    found: list[str] = []
    for diff_id in diff_ids:
        if not found:
            found.append(str(diff_id))
            continue
        text = f"{found[-1]} {diff_id}"
        found.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
    return tuple(found)


# --- writing --------------------------------------------------------------------------------


def format_time(nanoseconds: int) -> str:
    """Unix nanoseconds as RFC 3339 in UTC."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}Z" if fraction else f"{text}Z"


RUN_KEYS = frozenset(
    {
        "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
        "StopSignal", "Healthcheck",
    }
)  # fmt: skip
"""What :func:`encode_run_config` knows; an image may say more."""


def encode_run_config(config: ImageConfig) -> Object:
    """The ``config`` object with Docker's keys; empty fields are left out."""
    node: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Volumes": {volume: {} for volume in config.volumes},
        "WorkingDir": config.working_dir,
        "Labels": dict(sorted(config.labels.items())),
        "StopSignal": config.stop_signal,
        "Healthcheck": config.healthcheck,
    }
    return {key: value for key, value in node.items() if value}


def encode(configuration: Configuration) -> bytes:
    """A configuration blob; the same value gives the same bytes."""
    place = configuration.platform
    node: Object = {
        "created": format_time(configuration.created_at),
        "architecture": place.architecture,
        **({"variant": place.variant} if place.variant else {}),
        "os": place.os,
        "config": encode_run_config(configuration.config),
        "rootfs": {"type": "layers", "diff_ids": [str(d) for d in configuration.diff_ids]},
        "history": [
            {
                "created": format_time(step.created_at),
                **({"created_by": step.created_by} if step.created_by else {}),
                **({"comment": step.comment} if step.comment else {}),
                **({"empty_layer": True} if step.empty else {}),
            }
            for step in configuration.history
        ],
    }
    return encode_json(node)
