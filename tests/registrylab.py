"""The registry over a real database, a real store and real sockets, without the rest of wirt."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
from multidict import CIMultiDictProxy

from wirt.aio import Nursery
from wirt.daemon.registry import RegistryParts
from wirt.host.events import Bus
from wirt.host.layers import Layers
from wirt.host.pipe import Pipes
from wirt.host.roots import Reach
from wirt.host.uses import Uses
from wirt.image.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from wirt.image.store import BlobStore
from wirt.model.image import Digest
from wirt.model.registry import Listener
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.manifests import ManifestTable
from wirt.state.uses import UseTable

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        found = self.json["errors"][0]["code"]
        assert isinstance(found, str)
        return found

    @property
    def place(self) -> str:
        """Where an upload goes on."""
        return self.headers["Location"]


class Client:
    """One user of one listener."""

    def __init__(
        self, http: aiohttp.ClientSession, base: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._http = http
        self.base = base
        self.headers = dict(headers or {})

    async def __call__(self, verb: str, path: str, body: Any = None, /, **headers: str) -> Answer:
        """Ask. Underscores of header names are hyphens."""
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(
            verb, self.base + path, data=body, headers={**self.headers, **given},
            allow_redirects=False,
        ) as answer:  # fmt: skip
            data = await answer.read()
            return Answer(answer.status, answer.headers, data, str(answer.url))

    async def blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob in one request; its digest."""
        digest = digest_of(data, algorithm)
        done = await self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data)
        assert done.status == 201, done
        return digest

    async def manifest(
        self, name: str, reference: str, data: bytes, media_type: str = OCI_MANIFEST
    ) -> Answer:
        """Push a manifest."""
        return await self("PUT", f"/v2/{name}/manifests/{reference}", data, Content_Type=media_type)

    async def image(self, name: str, reference: str, *layers: bytes, **more: Any) -> bytes:
        """Push an image with its blobs; its manifest."""
        config = json.dumps({"os": "linux", "n": len(layers)}).encode()
        for data in (config, *layers):
            await self.blob(name, data)
        data = image(config, layers, **more)
        done = await self.manifest(name, reference, data)
        assert done.status == 201, done
        return data


@dataclass
class Lab:
    """Everything a test touches."""

    parts: RegistryParts
    store: BlobStore
    db: Database
    http: aiohttp.ClientSession
    sweep: Callable[[], Awaitable[int]]
    """Deletes what nobody wants, as the daemon does."""
    freed: asyncio.Event
    """Set when that is worth while."""

    async def serve(self, **settings: Any) -> Client:
        """Open a listener on a free port; a client of it."""
        listener = Listener(**{"host": "127.0.0.1", "port": 0, "anonymous": "all", **settings})
        address = await self.parts.listeners.serve(listener)
        return Client(self.http, f"{'https' if listener.tls else 'http'}://{address}")

    def files(self) -> set[str]:
        """Digests of all blobs on the disk."""
        return {str(digest) for digest, _ in self.store.all()}


def layers_of(store: BlobStore, db: Database, reach: Reach) -> Layers:
    """Layers of which none is ever unpacked: there is no helper."""
    return Layers(cast(Helper, None), store, reach, Uses(UseTable(db)))


@contextlib.asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[Lab]:
    """A registry that listens nowhere yet; what was there before in ``folder`` is there again."""
    store = BlobStore(folder / "blobs", folder / "uploads")
    store.open_store()
    db = Database(folder / "wirt.db")
    await db.open()
    nursery, pipes = Nursery("test"), Pipes()
    bus = Bus(EventTable(db), nursery)
    await bus.open()
    reach = Reach(ManifestTable(db), [])
    layers = layers_of(store, db, reach)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as http:
        parts = RegistryParts(
            db=db, store=store, pipes=pipes, bus=bus, sweep=layers.sweep_blobs,
            freed=layers.ended.set,
        )  # fmt: skip
        reach.add(parts.roots)
        made = Lab(
            parts=parts, store=store, db=db, http=http, sweep=layers.sweep_blobs,
            freed=layers.ended,
        )  # fmt: skip
        try:
            yield made
        finally:
            await parts.close()
            await nursery.close()
            pipes.close()
            await db.close()


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes."""
    return str(Digest(algorithm, hashlib.new(algorithm, data).hexdigest()))


def descriptor(
    data: bytes, media_type: str, /, *, algorithm: str = "sha256", **more: Any
) -> dict[str, Any]:
    """A descriptor of some bytes."""
    return {
        "mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more,
    }  # fmt: skip


def image(
    config: bytes = EMPTY,
    layers: Sequence[bytes] = (),
    config_type: str = OCI_CONFIG,
    /,
    **more: Any,
) -> bytes:
    """The manifest of an image or an artifact."""
    node = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, config_type),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
        **more,
    }
    return json.dumps({key: value for key, value in node.items() if value is not None}).encode()


def index(*manifests: bytes, **more: Any) -> bytes:
    """An index of manifests."""
    node = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(one, OCI_MANIFEST) for one in manifests],
        **more,
    }
    return json.dumps(node).encode()
