"""What a guest's mounts are, decided from its wish and its image alone.

An anonymous volume's name is computed from the guest and the place, so it is the same at every
start and nothing needs to be remembered. User's mounts win over the image's volumes.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import replace

from wirt.errors import Invalid
from wirt.model.names import check_name
from wirt.model.volume import Mount, MountKind

_FORBIDDEN = ("/", "/proc", "/sys", "/dev")
_BELOW_FORBIDDEN = ("/proc/", "/sys/")


def anonymous_name(guest_id: str, target: str) -> str:
    """The name of a guest's anonymous volume at ``target``: 64 hex digits."""
    return hashlib.sha256(f"{guest_id}\0{target}".encode(errors="surrogatepass")).hexdigest()


def check_target(target: str) -> str:
    """A mount's place, normalised inside the guest. Raises Invalid for what no guest may cover."""
    if not target.startswith("/") or "\0" in target or len(target) > 4096:
        raise Invalid(
            f"the mount target {target[:200]!r} is no absolute path",
            hint="write a path that starts with '/'",
            code="mount.target",
        )
    clean = posixpath.normpath("/" + target.lstrip("/"))
    if clean in _FORBIDDEN or clean.startswith(_BELOW_FORBIDDEN):
        raise Invalid(
            f"nothing can be mounted at {clean}",
            hint="choose another place inside the guest",
            code="mount.target",
        )
    return clean


def check_source(mount: Mount) -> Mount:
    """A mount whose source fits its kind. Raises Invalid."""
    if mount.kind is MountKind.VOLUME and mount.source:
        check_name(mount.source, "volume")
    if mount.kind is MountKind.BIND and (
        not mount.source.startswith("/") or "\0" in mount.source or len(mount.source) > 4096
    ):
        raise Invalid(
            f"the bind source {mount.source[:200]!r} is no absolute path",
            hint="write a path that starts with '/', or a volume's name",
            code="mount.source",
        )
    if mount.kind is MountKind.TMPFS and mount.source:
        raise Invalid(f"a tmpfs has no source: {mount.source[:200]!r}", code="mount.source")
    return mount


def plan_mounts(
    guest_id: str, wishes: Sequence[Mount], image_volumes: Sequence[str]
) -> tuple[Mount, ...]:
    """All mounts of a guest with normal targets and named volumes, outer places first.

    Raises Invalid for impossible places and sources, and for one place wanted twice. An image's
    volume at an impossible place is refused as well, never ignored.
    """
    found: dict[str, Mount] = {}
    for wish in wishes:
        target = check_target(wish.target)
        if target in found:
            raise Invalid(
                f"two mounts want the place {target}",
                hint="give each mount its own target",
                code="mount.twice",
            )
        found[target] = check_source(replace(wish, target=target))
    for volume in image_volumes:
        target = check_target("/" + volume.lstrip("/"))
        if target not in found:
            found[target] = Mount(kind=MountKind.VOLUME, target=target)
    named = (
        replace(mount, source=anonymous_name(guest_id, target))
        if mount.kind is MountKind.VOLUME and not mount.source
        else mount
        for target, mount in found.items()
    )
    return tuple(sorted(named, key=lambda mount: (mount.target.count("/"), mount.target)))


def is_anonymous(guest_id: str, mount: Mount) -> bool:
    """Whether a planned mount is the guest's own anonymous volume."""
    return mount.kind is MountKind.VOLUME and mount.source == anonymous_name(guest_id, mount.target)
