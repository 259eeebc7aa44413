"""The whole ``config.json``, put together from the parts. Pure: values in, a value out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wirt.crun.spec.namespaces import id_mappings
from wirt.crun.spec.paths import MASKED, READ_ONLY
from wirt.crun.spec.process import Json

OCI_VERSION = "1.0.2"

RESERVED = ("run.oci.", "org.systemd.property.", "io.wirt.")
"""Prefixes of annotations that steer crun, systemd or wirt: not for users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What :func:`config` puts together. ``root``: the mounted root. ``idmap``: first host id."""

    root: str
    read_only: bool
    hostname: str
    process: Json
    mounts: Sequence[Json]
    namespaces: Sequence[Json]
    resources: Json
    cgroup: str
    sysctls: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    idmap: int | None = None


def config(parts: Parts) -> Json:
    """The OCI configuration (runtime-spec 1.0.2) as crun 1.8 reads it."""
    linux: Json = {
        "namespaces": list(parts.namespaces),
        "cgroupsPath": parts.cgroup,
        "resources": parts.resources,
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READ_ONLY),
    }
    if parts.sysctls:
        linux["sysctl"] = dict(parts.sysctls)
    if parts.idmap is not None:
        linux["uidMappings"] = id_mappings(parts.idmap)
        linux["gidMappings"] = id_mappings(parts.idmap)
    return {
        "ociVersion": OCI_VERSION,
        "root": {"path": parts.root, "readonly": parts.read_only},
        "hostname": parts.hostname,
        "process": parts.process,
        "mounts": list(parts.mounts),
        "annotations": dict(parts.annotations),
        "linux": linux,
    }


def encode(value: Json) -> str:
    """The JSON text that crun reads; the same value always gives the same text."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
