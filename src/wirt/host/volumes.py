"""Volumes, and the mounts of guests: naming, making, filling and removing them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wirt.aio import Locks
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Conflict, NotFound, Unsupported
from wirt.host.events import Bus
from wirt.host.insist import WHILE_SOMEBODY_WAITS, insist
from wirt.layout import Layout
from wirt.model.guest import Guest
from wirt.model.image import Image
from wirt.model.names import check_name, new_id
from wirt.model.volume import Mount, MountKind, Volume
from wirt.privileged.client import Helper
from wirt.privileged.protocol import DropVolume, LookAtPaths, MakeVolume, TreeUsage
from wirt.state.volumes import VolumeTable
from wirt.volume.mounts import is_anonymous, plan_mounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a clean-up removed; ``freed``: bytes on disk."""

    removed: tuple[str, ...]
    freed: int


class Volumes:
    """The volumes of this host. Names are locked while they are made or removed."""

    def __init__(self, helper: Helper, table: VolumeTable, layout: Layout, bus: Bus) -> None:
        self._helper = helper
        self._table = table
        self._layout = layout
        self._bus = bus
        self._locks = Locks()
        self._claims: dict[str, frozenset[str]] = {}  # guests whose row may not be there yet

    # --- by users ---------------------------------------------------------------------------

    async def create(
        self,
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume; one of that name that is there already is the answer too (as docker's).

        Raises Invalid for a bad name, Unsupported for options.
        """
        if options:
            raise Unsupported(
                f"volumes have no options: {', '.join(sorted(options))[:100]}",
                hint="use a bind mount of a directory that you mounted yourself",
            )
        volume = Volume(
            name=check_name(name, "volume") if name else new_id(),
            labels=dict(labels or {}),
            anonymous=not name,
            created_at=time.time_ns(),
        )
        return await self._make(volume)

    async def _make(self, volume: Volume) -> Volume:
        async with self._locks.hold(volume.name):
            known = await self._table.get(volume.name)
            await self._helper.call(MakeVolume(name=volume.name))
            if known is not None:
                return known
            await self._table.add(volume)
        self._bus.publish("volume", "create", volume.name, driver=volume.driver)
        return volume

    async def get(self, name: str) -> Volume:
        """A volume by name. Raises NotFound."""
        volume = await self._table.get(name)
        if volume is None:
            raise NotFound(
                f"No such volume: {name[:128]}",
                hint="'wirt volume ls' lists what is there",
                code="volume.not-found",
            )
        return volume

    async def all(self) -> list[Volume]:
        """All volumes, by name."""
        return await self._table.all()

    async def users(self) -> dict[str, list[str]]:
        """Ids of the guests that use a volume, by its name."""
        return await self._table.users()

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume with its files.

        Raises NotFound (not with ``force``), Conflict when a guest uses it.
        """
        if force and await self._table.get(name) is None:
            return
        await self.get(name)
        if users := await self._delete(name):
            raise Conflict(
                f"volume {name!r} is used by {', '.join(users[:8])}",
                hint="remove what uses it first: 'wirt rm'",
                code="volume.in-use",
            )

    async def _delete(self, name: str, *, but: str = "") -> list[str]:
        """Delete a volume that no guest uses (``but`` for that one); else its users' names."""
        async with self._locks.hold(name):
            if claims := [guest[:12] for guest, names in self._claims.items() if name in names]:
                return await self._table.used_by(name) or claims
            users = await self._table.remove(name, but=but)
            if users is not None:
                return users
            await insist(self._helper, DropVolume(name=name), patience=WHILE_SOMEBODY_WAITS)
        self._bus.publish("volume", "destroy", name)
        return []

    async def prune(self, *, everything: bool = False) -> Pruned:
        """Delete the anonymous volumes that no guest uses; with ``everything`` named ones too."""
        used = await self._table.users()
        names = [
            volume.name
            for volume in await self._table.all()
            if volume.name not in used and (volume.anonymous or everything)
        ]
        sizes = await self.usage(names)
        removed = [name for name in names if not await self._delete(name)]
        return Pruned(
            removed=tuple(removed), freed=sum(max(0, sizes.get(name, 0)) for name in removed)
        )

    async def usage(self, names: Sequence[str]) -> dict[str, int]:
        """Bytes on disk by name; -1 for what is not there."""
        if not names:
            return {}
        usages, _ = await self._helper.call(TreeUsage(volumes=tuple(names)))
        return usages.volumes

    # --- for guests -------------------------------------------------------------------------

    async def resolve_mounts(self, guest: Guest, image: Image) -> tuple[ResolvedMount, ...]:
        """The guest's mounts with their sources on this host, ready to start; makes its volumes.

        Raises NotFound for a bind source that is missing and shall not be made, Invalid.
        """
        mounts = plan_mounts(guest.id, guest.spec.mounts, image.config.volumes)
        kinds = await self._look([m.source for m in mounts if m.kind is MountKind.BIND])
        return tuple([await self._resolve(guest, mount, kinds) for mount in mounts])

    async def _look(self, paths: Sequence[str]) -> dict[str, str]:
        if not paths:
            return {}
        found, _ = await self._helper.call(LookAtPaths(paths=tuple(paths)))
        return found.paths

    async def _resolve(self, guest: Guest, mount: Mount, kinds: Mapping[str, str]) -> ResolvedMount:
        source, volume, kind = mount.source, "", ""
        if mount.kind is MountKind.VOLUME:
            volume = mount.source
            source = str(self._layout.volumes / volume / "_data")
            await self._make(_volume_of(guest, mount))
        elif mount.kind is MountKind.BIND:
            kind = kinds[mount.source]
            if kind == "missing" and not mount.create_source:
                raise NotFound(
                    f"bind source path does not exist: {mount.source}",
                    hint="make it first, or use -v, which makes a directory",
                    code="mount.source",
                )
        return ResolvedMount(
            kind=mount.kind,
            target=mount.target,
            source=source,
            volume=volume,
            read_only=mount.read_only,
            fill=mount.kind is MountKind.VOLUME and not mount.nocopy,
            make=kind == "missing",
            propagation=mount.propagation,
            size=mount.size,
            mode=mount.mode,
            options=mount.options,
            is_file=kind == "file",
        )

    async def claim(self, guest: Guest, image: Image) -> Guest:
        """Make the volumes of a guest that is being created; the guest with their names.

        Raises Invalid for mounts that cannot be; then no volume was made for it.
        """
        mounts = plan_mounts(guest.id, guest.spec.mounts, image.config.volumes)
        volumes = [mount for mount in mounts if mount.kind is MountKind.VOLUME]
        guest = replace(guest, volumes=tuple(mount.source for mount in volumes))
        self._claims[guest.id] = frozenset(guest.volumes)
        try:
            for mount in volumes:
                await self._make(_volume_of(guest, mount))
        except BaseException:
            await self.release(guest, volumes=True)
            raise
        return guest

    async def release(self, guest: Guest, *, volumes: bool) -> None:
        """Let a guest's volumes go; with ``volumes`` delete the anonymous ones that no other guest
        uses. Its row may still be there."""
        self._claims.pop(guest.id, None)
        if not volumes:
            return
        for name in guest.volumes:
            volume = await self._table.get(name)
            if volume is not None and volume.anonymous:
                await self._delete(name, but=guest.id)

    async def names(self) -> tuple[str, ...]:
        """What a sweep must leave alone."""
        return tuple(volume.name for volume in await self._table.all())


def _volume_of(guest: Guest, mount: Mount) -> Volume:
    return Volume(
        name=mount.source, anonymous=is_anonymous(guest.id, mount), created_at=time.time_ns()
    )
