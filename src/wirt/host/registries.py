"""The registries of the world: opened for one piece of work with the credentials sent along."""

from __future__ import annotations

from typing import Protocol

from wirt.errors import Invalid
from wirt.image.remote.auth import ANONYMOUS, Credentials, Late
from wirt.image.remote.door import Door
from wirt.image.remote.endpoint import endpoints, origin
from wirt.image.remote.pace import Patience
from wirt.image.remote.repository import Repository
from wirt.image.remote.settings import Settings
from wirt.image.remote.source import Source
from wirt.image.remote.transport import Transport, transport
from wirt.model.image import Reference


class Own(Protocol):
    """The registry that this daemon serves."""

    async def is_at(self, door: Door, what: str) -> bool:
        """Whether this registry is ours."""
        ...

    async def take(self, repository: str, digest: str, tag: str, *, referrers: bool) -> None:
        """Have a document under a tag, without copying anything."""
        ...


class Registries:
    """Makes doors and sources. Belongs to one event loop; :meth:`close` ends its connections.

    ``own``: set once, when there is a registry of our own.
    """

    own: Own | None = None

    def __init__(self, settings: Settings, *, patience: Patience | None = None) -> None:
        self.settings = settings
        self._patience = patience
        self._transport: Transport | None = None

    @property
    def transport(self) -> Transport:
        """The one pool of connections, made at first use."""
        if self._transport is None:
            self._transport = transport(self.settings, self._patience)
        return self._transport

    def door(self, domain: str, credentials: Credentials | Late = ANONYMOUS) -> Door:
        """A registry itself."""
        Reference.parse(f"{domain}/x")
        if domain.partition("/")[1]:
            raise Invalid(f"invalid registry {domain[:200]!r}", hint="write HOST[:PORT]")
        return Door(origin(domain, self.settings), self.transport, credentials)

    def repository(self, reference: Reference, credentials: Credentials | Late) -> Repository:
        """Where an image is pushed to."""
        return Repository(self.door(reference.domain, credentials), reference.path)

    def source(self, reference: Reference, credentials: Credentials | Late) -> Source:
        """Where an image is pulled from. Mirrors get no credentials."""
        found = [
            Repository(
                Door(
                    endpoint,
                    self.transport,
                    ANONYMOUS if endpoint.mirror else credentials,
                ),
                reference.path,
            )
            for endpoint in endpoints(reference.domain, self.settings)
        ]
        return Source(found, foreign=self.settings.of(reference.domain).foreign)

    async def close(self) -> None:
        """Close all connections; they are opened again at the next use."""
        if self._transport is not None:
            line, self._transport = self._transport, None
            await line.close()
