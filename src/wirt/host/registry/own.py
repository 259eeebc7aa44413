"""A push that ends in this very daemon: its registry serves the same blobs, so only rows change."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.host.registry.adopt import Adopt
from wirt.host.registry.listeners import Listeners
from wirt.host.registry.mark import Mark
from wirt.image.remote.door import Door
from wirt.model.image import Digest
from wirt.state.manifests import ManifestTable


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRegistry:
    """Recognises this daemon's registry, whatever it is called from outside, and pushes to it.

    Who may use the daemon's socket rules its registry too, so no login is asked for.
    """

    mark: Mark
    adopt: Adopt
    listeners: Listeners
    manifests: ManifestTable

    async def is_at(self, door: Door, what: str) -> bool:
        """Whether this registry is ours. Raises WirtError when nobody answers there."""
        if not self.listeners.ports:
            return False
        await door.settle(what)
        base = door.base
        if base.port not in self.listeners.ports or not base.host:
            return False
        tls = await door.transport.tls(door.endpoint.host) if base.scheme == "https" else None
        return await self.mark.leads_here(base.host, base.port, tls=tls)

    async def take(self, repository: str, digest: str, tag: str, *, referrers: bool) -> None:
        """Give a repository a document with all that is here of it."""
        documents = await self.adopt.adopt(repository, Digest.parse(digest), tags=(tag,))
        waiting = [row.digest for row in documents]
        done = set(waiting)
        while waiting and referrers:
            for row in await self.manifests.of_subject(waiting.pop(0)):
                if row.digest not in done:
                    done.add(row.digest)
                    waiting.append(row.digest)
                    await self.adopt.adopt(repository, Digest.parse(row.digest), tags=())
