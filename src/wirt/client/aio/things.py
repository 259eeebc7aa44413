"""The async client's images, networks, volumes, files and events."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from wirt.client.aio.answers import HistoryStep, Identity, Pong, Progress, Pruned, Removed, Sample
from wirt.client.aio.transport import Query, Transport
from wirt.client.wire import problem, quote
from wirt.model.event import Event
from wirt.model.image import Image
from wirt.model.network import Network
from wirt.model.volume import Volume


class Images:
    """Images by name or id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self, *, filters: Sequence[str] = ()) -> tuple[Image, ...]:
        """All images; ``filters`` are ``key=value``."""
        query = [("filter", one) for one in filters]
        return await self._transport.call("GET", "/v1/images", tuple[Image, ...], query=query)

    async def inspect(self, name: str) -> Image:
        """One image."""
        return await self._transport.call("GET", f"{_image(name)}/json", Image)

    async def history(self, name: str) -> tuple[HistoryStep, ...]:
        """How it was made, the youngest step first."""
        return await self._transport.call("GET", f"{_image(name)}/history", tuple[HistoryStep, ...])

    async def load(self, archive: AsyncIterable[bytes]) -> tuple[str, ...]:
        """Load a docker or OCI archive; the names that it brought."""
        lines = self._transport.lines("POST", "/v1/images/load", Progress, upload=archive)
        return tuple([one.loaded async for one in _good(lines) if one.loaded is not None])

    async def import_root(
        self, archive: AsyncIterable[bytes], *, reference: str = "", changes: Sequence[str] = ()
    ) -> str:
        """Make an image of a root file system tar; its id."""
        query = [("reference", reference or None), *(("change", one) for one in changes)]
        lines = self._transport.lines(
            "POST", "/v1/images/import", Progress, query=query, upload=archive
        )
        found = [line.id async for line in _good(lines) if line.id is not None]
        return found[-1]

    async def pull(
        self, reference: str, *, credentials: Mapping[str, str] | None = None, **wish: Any
    ) -> tuple[str, ...]:
        """Pull from a registry; the ids of the images. ``wish``: platform, all_platforms, all_tags,
        referrers. ``credentials``: username and password, or identity_token."""
        body = _wish(reference, credentials, wish)
        lines = self._transport.lines("POST", "/v1/images/pull", Progress, upload=body)
        return tuple([one.id async for one in _good(lines) if one.id is not None])

    async def push(
        self, reference: str, *, credentials: Mapping[str, str] | None = None, **wish: Any
    ) -> tuple[str, ...]:
        """Push to the registry in the name; the digests that are there then. ``wish``: all_tags,
        referrers."""
        body = _wish(reference, credentials, wish)
        lines = self._transport.lines("POST", "/v1/images/push", Progress, upload=body)
        return tuple([one.digest async for one in _good(lines) if one.pushed and one.digest])

    def save(self, *names: str, format: str = "docker") -> AsyncIterator[bytes]:
        """An archive of images, as it comes; ``format``: docker or oci."""
        query = [*(("name", name) for name in names), ("format", format)]
        return self._transport.chunks("GET", "/v1/images/save", query=query)

    async def tag(self, name: str, target: str) -> None:
        """Give it a further name."""
        await self._transport.do("POST", f"{_image(name)}/tag", query=[("target", target)])

    async def remove(self, name: str, *, force: bool = False) -> tuple[Removed, ...]:
        """Remove a name, and the image when it was its last."""
        query = [("force", force or None)]
        return await self._transport.call("DELETE", _image(name), tuple[Removed, ...], query=query)


def _wish(reference: str, credentials: Mapping[str, str] | None, wish: Mapping[str, Any]) -> bytes:
    found = {"credentials": dict(credentials)} if credentials else {}
    return msgspec.json.encode({"reference": reference, **found, **wish})


def _image(name: str) -> str:
    return f"/v1/images/{quote(name, keep='/')}"


async def _good(lines: AsyncIterator[Progress]) -> AsyncIterator[Progress]:
    """The lines, until one tells of a problem, which is raised."""
    async for line in lines:
        if line.problem is not None:
            raise problem(0, msgspec.json.encode(line.problem))
        yield line


class Networks:
    """Networks by name or id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> tuple[Network, ...]:
        """All networks."""
        return await self._transport.call("GET", "/v1/networks", tuple[Network, ...])

    async def inspect(self, name: str) -> Network:
        """One network."""
        return await self._transport.call("GET", _network(name), Network)

    async def create(self, name: str, **more: Any) -> str:
        """Make one; ``more``: subnet, gateway, internal, labels, options, mtu. Its id."""
        body = {"name": name, **more}
        return (await self._transport.call("POST", "/v1/networks", Identity, body=body)).id

    async def connect(
        self, name: str, guest: str, *, aliases: Sequence[str] = (), address: str | None = None
    ) -> None:
        """Join a guest to it."""
        body: dict[str, Any] = {"guest": guest, "aliases": list(aliases)}
        if address is not None:
            body["address"] = address
        await self._transport.do("POST", _network(name, "/connect"), body=body)

    async def disconnect(self, name: str, guest: str, *, force: bool = False) -> None:
        """Take a guest off it."""
        body = {"guest": guest, "force": force}
        await self._transport.do("POST", _network(name, "/disconnect"), body=body)

    async def remove(self, name: str) -> None:
        """Remove it."""
        await self._transport.do("DELETE", _network(name))

    async def prune(self) -> Pruned:
        """Remove all that no guest uses."""
        return await self._transport.call("POST", "/v1/networks/prune", Pruned)


def _network(name: str, verb: str = "") -> str:
    return f"/v1/networks/{quote(name)}{verb}"


class Volumes:
    """Volumes by name."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self, *, filters: Sequence[str] = ()) -> tuple[Volume, ...]:
        """All volumes; ``filters`` are ``key=value``."""
        query = [("filter", one) for one in filters]
        return await self._transport.call("GET", "/v1/volumes", tuple[Volume, ...], query=query)

    async def inspect(self, name: str) -> Volume:
        """One volume."""
        return await self._transport.call("GET", f"/v1/volumes/{quote(name)}", Volume)

    async def create(self, name: str = "", *, labels: dict[str, str] | None = None) -> Volume:
        """Make one, with a random name when none is given."""
        body = {"name": name, "labels": labels or {}}
        return await self._transport.call("POST", "/v1/volumes", Volume, body=body)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove it; ``force`` does not mind a missing one."""
        query = [("force", force or None)]
        await self._transport.do("DELETE", f"/v1/volumes/{quote(name)}", query=query)

    async def prune(self, *, all: bool = False) -> Pruned:
        """Remove anonymous volumes, or ``all``, that no guest uses."""
        query = [("all", all or None)]
        return await self._transport.call("POST", "/v1/volumes/prune", Pruned, query=query)


class Files:
    """Files inside guests, as tar archives."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(self, guest: str, path: str) -> AsyncIterator[bytes]:
        """A tar of what is at ``path``."""
        return self._transport.chunks("GET", _archive(guest), query=[("path", path)])

    async def write(self, guest: str, path: str, archive: AsyncIterable[bytes]) -> None:
        """Unpack a tar into the directory ``path``."""
        query: Query = [("path", path)]
        async for _ in self._transport.chunks("PUT", _archive(guest), query=query, upload=archive):
            pass


def _archive(guest: str) -> str:
    return f"/v1/guests/{quote(guest)}/archive"


class System:
    """The daemon and its host."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def ping(self) -> Pong:
        """Who answers."""
        return await self._transport.call("GET", "/v1/ping", Pong)

    async def info(self) -> dict[str, Any]:
        """Facts about daemon and host."""
        return await self._transport.call("GET", "/v1/info", dict[str, Any])

    async def version(self) -> dict[str, Any]:
        """Versions of the daemon's parts."""
        return await self._transport.call("GET", "/v1/version", dict[str, Any])

    async def doctor(self) -> dict[str, Any]:
        """What this host can do for each kind of guest."""
        return await self._transport.call("GET", "/v1/doctor", dict[str, Any])

    async def stats(self) -> tuple[Sample, ...]:
        """What all running guests use."""
        return await self._transport.call("GET", "/v1/stats", tuple[Sample, ...])

    async def events(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        follow: bool = True,
        filters: Sequence[str] = (),
    ) -> AsyncIterator[Event]:
        """What happens, in order. ``since`` and ``until``: Unix nanoseconds."""
        query: list[tuple[str, str | int | bool | None]] = [
            ("since", since),
            ("until", until),
            ("follow", follow),
        ]
        query += [("filter", one) for one in filters]
        lines = self._transport.lines("GET", "/v1/events", dict[str, Any], query=query)
        async for line in lines:
            if "lagged" not in line:
                yield msgspec.convert(line, Event)
