"""Files from elsewhere, for ADD and as contexts.

A download follows a few redirects, never from https to http and never to an address that only
this machine or its cloud answers. What a server gives a mark for (``ETag``, ``Last-Modified``) is
kept, and got again only when it has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from wirt.errors import Invalid, NotFound, Upstream, WirtError
from wirt.host.build.kept import Kept, KeptFetches, key_of
from wirt.host.pipe import FdReader, Pipes
from wirt.host.registries import Registries
from wirt.image.build.address import masked
from wirt.image.build.tree import Filling, Tree, filling
from wirt.image.remote import address
from wirt.image.remote.certificate import dated
from wirt.image.remote.transport import Transport
from wirt.image.store import BlobStore
from wirt.model.image import Digest
from wirt.tar.reader import Readable

MAX_FILE = 16 * 1024**3
_REDIRECTS = 10
_CHUNK = 256 * 1024
_MARKS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
_LONGEST_MARK = 1000
_SETTLED = 60 * 10**9
"""Nanoseconds after which a time with seconds alone tells a file from a later one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Fetches."""

    pipes: Pipes
    store: BlobStore
    registries: Registries
    kept: KeptFetches

    async def file(self, url: str, name: str, *, checksum: str = "") -> Tree:
        """A tree with one file of mode 0600. Raises Upstream, NotFound, Invalid (checksum)."""
        tree = await self._file(url, name, key_of("file", url), checksum)
        try:
            if checksum:
                await self.pipes.call(lambda: _verify(tree, name, checksum, url))
        except BaseException:
            tree.discard()
            raise
        return tree

    async def _file(self, url: str, name: str, key: str, checksum: str) -> Tree:
        with self.store.lease() as lease:
            known = await self.kept.find(key, lease)
            if known is not None and checksum == str(known.blob):
                return await self._kept(known, name)
            marks = known.facts if known is not None else {}
            response = await self._open(self.registries.transport, URL(url, encoded=True), marks)
            if response.status == 304 and known is not None:
                response.release()
                return await self._kept(known, name)
        async with response:  # what was kept is let go, since another file takes its place
            if _marks(response):
                return await self._take(response, url, name, key)
            return await self._pass(response, url, name)

    async def _kept(self, known: Kept, name: str) -> Tree:
        """A file that is here."""

        def work() -> Tree:
            with filling(self.store) as made, self.store.open(known.blob) as file:
                mtime = _modified(known.facts.get("Last-Modified", ""))
                return _fill(made, name, file, mtime)

        return await self.pipes.make(work, Tree.discard)

    async def _take(self, response: aiohttp.ClientResponse, url: str, name: str, key: str) -> Tree:
        """A file that is kept for the next time."""

        def work(source: FdReader) -> Digest:
            with self.store.upload() as upload:
                while data := source.read(_CHUNK):
                    upload.write(data)
                return self.store.commit(upload, lease)

        with self.store.lease() as lease:
            blob = await self.pipes.feed(_body(response, url), work)
            known = Kept(key=key, blob=blob, facts=_marks(response))
            await self.kept.keep(known)
            return await self._kept(known, name)

    async def _pass(self, response: aiohttp.ClientResponse, url: str, name: str) -> Tree:
        """A file of which nobody could say whether it has changed."""
        mtime = _modified(response.headers.get("Last-Modified", ""))
        made = await self.pipes.make(lambda: Filling(self.store), Filling.discard)
        try:
            return await self.pipes.feed(
                _body(response, url), lambda source: _fill(made, name, source, mtime)
            )
        except BaseException:
            made.discard()
            raise

    async def _open(
        self, line: Transport, url: URL, marks: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer with the file, after redirects; without it when its ``marks`` are the same."""
        here = url.with_user(None)
        asked = {_MARKS[name]: mark for name, mark in marks.items() if name in _MARKS}
        auth: dict[str, str] = {}
        if url.user:
            auth["Authorization"] = aiohttp.encode_basic_auth(url.user, url.password or "")
        if not address.is_public_enough(here.host or ""):
            raise Invalid(f"the address {here.host} is a reserved one", code="build.address")
        for _ in range(_REDIRECTS):
            try:
                response = await line.http.get(
                    here,
                    headers={**asked, **auth},
                    allow_redirects=False,
                    ssl=await line.tls(here.authority),
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failed = Upstream(
                    f"cannot fetch {masked(str(url))[:200]}: {error}", code="build.fetch"
                )
                raise await dated(error, failed) from error
            if response.status not in {301, 302, 303, 307, 308}:
                if response.status != 304 or not asked:
                    _check(response, url)
                return response
            location = response.headers.get("Location", "")
            response.close()
            target = _follow(here, location)
            if not address.same_origin(here, target):
                auth = {}
            here = target
        raise Upstream(f"{masked(str(url))[:200]} redirects without end", code="build.redirect")


def _check(response: aiohttp.ClientResponse, url: URL) -> None:
    shown = masked(str(url))[:200]
    if response.status == 404:
        response.close()
        raise NotFound(f"there is nothing at {shown}", code="build.fetch")
    if response.status != 200:
        response.close()
        raise Upstream(f"{shown} answers with status {response.status}", code="build.fetch")


def _follow(here: URL, location: str) -> URL:
    try:
        return address.follow(here, location)
    except WirtError:
        raise Upstream(
            f"{here.host} redirects to {masked(location)[:200]!r}, where a build may not go",
            hint="only to http and https, never back from https, to no reserved address",
            code="build.redirect",
        ) from None


def _modified(text: str) -> int:
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp())) * 10**9
    except (ValueError, TypeError, OverflowError):
        return 0


async def _body(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    size = 0
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > MAX_FILE:
                raise Invalid(
                    f"{masked(url)[:200]} has more than {MAX_FILE} bytes", code="build.too-large"
                )
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Upstream(f"{masked(url)[:200]} broke off: {error}", code="build.fetch") from error


def _marks(response: aiohttp.ClientResponse) -> dict[str, str]:
    """By what a server knows whether a file has changed; nothing where it must not be kept, or may
    change again without a sign (RFC 9110, section 8.8.2.2)."""
    said = response.headers
    if "no-store" in said.get("Cache-Control", "").lower():
        return {}
    age = _modified(said.get("Date", "")) - _modified(said.get("Last-Modified", ""))
    if not said.get("ETag") and age < _SETTLED:
        return {}
    found = {name: response.headers.get(name, "") for name in _MARKS}
    return {
        name: mark
        for name, mark in found.items()
        if mark.isascii() and mark.isprintable() and 0 < len(mark) <= _LONGEST_MARK
    }


def _fill(made: Filling, name: str, source: Readable, mtime: int) -> Tree:
    made.take_file(name, iter(lambda: source.read(_CHUNK), b""), mode=0o600, mtime=mtime)
    return made.finish()


def _verify(tree: Tree, name: str, checksum: str, url: str) -> None:
    algorithm, _, wanted = checksum.partition(":")
    entry = tree.resolve(name)
    found = entry.digest
    if algorithm != "sha256":
        hasher = hashlib.new(algorithm)
        for chunk in tree.content(entry):
            hasher.update(chunk)
        found = hasher.hexdigest()
    if found != wanted:
        raise Invalid(
            f"{masked(url)[:200]} has the checksum {algorithm}:{found}, not {checksum}",
            hint="it is another file than was meant",
            code="build.checksum",
        )
