"""Which processor and system an image is for, in the words of OCI (Go's GOOS and GOARCH)."""

from __future__ import annotations

import platform as host_platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from wirt.errors import Invalid, NotFound

T = TypeVar("T")

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "i686": ("386", ""),
}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``os/architecture[/variant]``; empty parts are unknown."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def host() -> Platform:
    """This machine's platform."""
    machine = host_platform.machine()
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse(text: str) -> Platform:
    """``linux/amd64``, ``linux/arm64/v8`` or ``amd64``. Raises Invalid."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(p and p.replace("-", "").isalnum() for p in parts):
        raise Invalid(
            f"invalid platform {text[:80]!r}", hint="write OS/ARCHITECTURE, as linux/amd64"
        )
    if len(parts) == 1:
        parts.insert(0, "linux")
    architecture = _ALIASES.get(parts[1], parts[1])
    return Platform(
        os=parts[0], architecture=architecture, variant=parts[2] if len(parts) > 2 else ""
    )


def runs(image: Platform, machine: Platform) -> bool:
    """Whether an image for ``image`` runs on ``machine``; what is not said is taken to fit."""
    if image.os not in {"", machine.os}:
        return False
    if image.architecture in {"", machine.architecture}:
        return image.variant in {"", machine.variant} or image.architecture != "arm"
    return image.architecture == "386" and machine.architecture == "amd64"


def choose(
    candidates: Sequence[tuple[Platform, T]], machine: Platform, *, what: str
) -> tuple[Platform, T]:
    """The candidate that fits best: the exact platform, then one that runs, then a lone foreign
    one. Raises NotFound when several are there and none runs here."""
    usable = [c for c in candidates if c[0].os != "unknown"]  # attestations are no images
    for fits in (
        lambda p: p == machine,
        lambda p: runs(p, machine) and p.architecture == machine.architecture,
        lambda p: runs(p, machine),
    ):
        for candidate in usable:
            if fits(candidate[0]):
                return candidate
    if len(usable) == 1:
        return usable[0]
    offered = ", ".join(sorted({str(c[0]) for c in usable})) or "none"
    raise NotFound(
        f"{what} has nothing for {machine}", hint=f"it offers: {offered}", code="image.platform"
    )
