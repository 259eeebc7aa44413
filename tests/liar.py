"""A registry that may lie: a small HTTP server of its own, so that it can break every rule.

By default it serves what it was given, honestly. A test replaces single answers: by a status, wrong
headers, bytes that do not fit, pauses, an end in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from wirt.errors import Upstream, WirtError
from wirt.host.registries import Registries
from wirt.image import manifest
from wirt.image.manifest import Descriptor, Manifest
from wirt.image.remote.auth import ANONYMOUS, Credentials
from wirt.image.remote.pace import Patience
from wirt.image.remote.repository import Repository
from wirt.image.remote.settings import Settings
from wirt.image.remote.source import Source
from wirt.model.image import Digest, Reference

QUICK = Patience(
    connect=10.0, head=10.0, commit=10.0, interval=10.0, least=16, tries=3, pause=0.01,
    longest=0.02, retry_after=1.0,
)  # fmt: skip
"""Tries again at once, and waits as long as a busy machine may need."""
IMPATIENT = replace(QUICK, interval=0.3, commit=2.0)
"""For those who are given up."""


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Answer:
    """``length``: what Content-Length says, by default the truth; -1: none, the end is the end.

    ``pieces``: the body, with pauses (seconds) between its parts. ``cut``: end without the rest.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: list[bytes | float] | None = None
    length: int | None = None
    cut: bool = False


Lie = Callable[[Request], Answer | Awaitable[Answer | None] | None]


def digest_of(data: bytes, name: str = "sha256") -> Digest:
    return Digest(name, hashlib.new(name, data).hexdigest())


def descriptor(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


class Liar:
    """``seen``: all requests. ``lies``: asked first, in order; None is the honest answer.
    ``deaf``: bodies are not read."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.lies: list[Lie] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.host = ""
        self.deaf = False
        self._clients: set[asyncio.Task[Any]] = set()

    def add_blob(self, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        made = descriptor(data, media_type)
        self.blobs[str(made.digest)] = data
        return made

    def add_document(self, data: bytes, media_type: str, *tags: str) -> Descriptor:
        made = descriptor(data, media_type)
        for reference in (str(made.digest), *tags):
            self.manifests[reference] = (data, media_type)
        return made

    def add_image(self, config: dict[str, Any], *layers: bytes, tag: str = "1") -> Descriptor:
        """An image of these (uncompressed or gzip) layers; its manifest's descriptor."""
        made = manifest.encode_manifest(
            Manifest(
                config=self.add_blob(json.dumps(config).encode(), manifest.OCI_CONFIG),
                layers=tuple(self.add_blob(one, manifest.OCI_LAYER) for one in layers),
            )
        )
        return self.add_document(made, manifest.OCI_MANIFEST, tag)

    def lie(self, lie: Lie) -> None:
        self.lies.append(lie)

    def lie_at(self, part: str, *answers: Answer, method: str = "GET") -> None:
        """Answer requests whose path contains ``part`` so, one after the other, then honestly."""
        left = list(answers)

        def lie(request: Request) -> Answer | None:
            if part in request.path and request.method == method and left:
                return left.pop(0)
            return None

        self.lies.append(lie)

    def asked(self, part: str, method: str = "GET") -> list[Request]:
        return [one for one in self.seen if part in one.path and one.method == method]

    # --- serving ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def serve(self, **how: Any) -> AsyncIterator[Liar]:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, **how)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            clients = tuple(self._clients)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await asyncio.sleep(0)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._clients.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # the beginning of TLS, which we do not speak
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return False
        rest = await reader.readuntil(b"\r\n\r\n")
        head = (first + rest).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:]) if k}
        parts = urlsplit(target)
        if self.deaf and int(headers.get("content-length", "0")):
            await asyncio.sleep(3600)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(
            method=method,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query)),
            headers=headers,
            body=body,
        )
        self.seen.append(request)
        answer = await self._answer(request)
        await self._send(answer, writer, bodiless=method == "HEAD")
        return answer.length is None and not answer.cut

    async def _answer(self, request: Request) -> Answer:
        for lie in self.lies:
            found = lie(request)
            if isinstance(found, Awaitable):
                found = await found
            if found is not None:
                return found
        return self._honest(request)

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter, *, bodiless: bool) -> None:
        pieces = answer.pieces if answer.pieces is not None else [answer.body]
        size = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
        length = size if answer.length is None else answer.length
        lines = [f"HTTP/1.1 {answer.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        lines.append("Connection: close" if length < 0 else f"Content-Length: {length}")
        writer.write("\r\n".join((*lines, "", "")).encode())
        for piece in [] if bodiless else pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)

    def _honest(self, request: Request) -> Answer:
        _, _, rest = request.path.partition("/v2/")
        if not rest:
            return Answer()
        name, _, reference = rest.rpartition("/")
        if name.endswith("/blobs") and reference in self.blobs:
            return self._blob(request, self.blobs[reference])
        if name.endswith("/manifests") and reference in self.manifests:
            data, media_type = self.manifests[reference]
            told = {"Content-Type": media_type, "Docker-Content-Digest": str(digest_of(data))}
            return Answer(headers=told, body=data)
        if rest.endswith("/tags/list"):
            tags = [tag for tag in self.manifests if ":" not in tag]
            return Answer(body=json.dumps({"name": name, "tags": tags}).encode())
        return Answer(status=404, body=b'{"errors":[{"code":"UNKNOWN","message":"not here"}]}')

    def _blob(self, request: Request, data: bytes) -> Answer:
        wanted = request.headers.get("range", "")
        if not wanted:
            return Answer(body=data)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        told = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Answer(status=206, headers={"Content-Range": told}, body=data[start:])


def tell_story(story: Callable[[Liar], Coroutine[Any, Any, None]], **how: Any) -> None:
    """Run a test against a fresh liar."""

    async def main() -> None:
        async with Liar().serve(**how) as liar, asyncio.timeout(30):
            await story(liar)

    asyncio.run(main())


# --- asking it ------------------------------------------------------------------------------

DATA = bytes(range(256)) * 4096
USER = Credentials(username="me", password="s3cret")
MANIFEST = manifest.encode_manifest(
    manifest.Manifest(config=descriptor(b"{}", manifest.OCI_CONFIG), layers=())
)


@contextlib.asynccontextmanager
async def source_of(
    liar: Liar,
    *,
    credentials: Credentials = ANONYMOUS,
    settings: Settings | None = None,
    patience: Patience = QUICK,
) -> AsyncIterator[Source]:
    registries = Registries(settings or Settings(), patience=patience)
    try:
        yield registries.source(Reference.parse(f"{liar.host}/team/app:1"), credentials)
    finally:
        await registries.close()


async def got(source: Source, wanted: Descriptor) -> bytes:
    return b"".join([piece async for piece in source.blob(wanted)])


async def refused(source: Source, wanted: Descriptor, kind: type[WirtError] = Upstream) -> str:
    with pytest.raises(kind) as failure:
        await got(source, wanted)
    return failure.value.code


@contextlib.asynccontextmanager
async def repository_of(
    liar: Liar, credentials: Credentials = ANONYMOUS, *, patience: Patience = QUICK
) -> AsyncIterator[Repository]:
    """Where to push to."""
    registries = Registries(Settings(), patience=patience)
    reference = Reference.parse(f"{liar.host}/team/app:1")
    try:
        yield registries.repository(reference, credentials)
    finally:
        await registries.close()
