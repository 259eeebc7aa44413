"""Files and repositories from elsewhere, for ADD and as contexts.

A download follows a few redirects, never from https to http and never to an address that only
this machine or its cloud answers. A repository is fetched by the program ``git`` without prompts,
helpers, hooks or configuration, and read as an archive: none of its files is ever checked out.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
from yarl import URL

from wirt.errors import Invalid, NotFound, Upstream, WirtError
from wirt.host.pipe import FdReader, Pipes
from wirt.host.registries import Registries
from wirt.image.build.address import GitAddress, masked
from wirt.image.build.tree import Filling, Tree
from wirt.image.remote import address
from wirt.image.remote.certificate import dated
from wirt.image.remote.transport import Transport
from wirt.image.store import BlobStore
from wirt.linux import spawn

MAX_FILE = 16 * 1024**3
MAX_REPOSITORY = 4 * 1024**3
_REDIRECTS = 10
_GIT_SECONDS = 900.0
_CHUNK = 256 * 1024
_QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/true",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "http:https:git",
    "GIT_PROTOCOL_FROM_USER": "0",
    "HOME": "/nonexistent",
}
_GUARDS = (
    "-c", "protocol.file.allow=never", "-c", "protocol.ext.allow=never",
    "-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "-c", "core.fsmonitor=false",
    "-c", "http.followRedirects=initial", "-c", "fetch.fsckObjects=true", "-c", "tar.umask=0022",
    "-c", "gc.auto=0", "-c", "submodule.recurse=false",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Fetches. ``uploads``: where a repository may lie for a moment."""

    pipes: Pipes
    store: BlobStore
    uploads: Path
    registries: Registries

    # --- files ------------------------------------------------------------------------------

    async def file(self, url: str, name: str, *, checksum: str = "") -> Tree:
        """A tree with one file of mode 0600. Raises Upstream, NotFound, Invalid (checksum)."""
        line = self.registries.transport
        filling = await self.pipes.call(lambda: Filling(self.store))
        try:
            response = await self._open(line, URL(url, encoded=True))
            async with response:
                mtime = _modified(response.headers.get("Last-Modified", ""))
                tree = await self.pipes.feed(
                    _body(response, url), lambda source: _take(filling, name, source, mtime)
                )
            if checksum:
                await self.pipes.call(lambda: _verify(tree, name, checksum, url))
            return tree
        except BaseException:
            filling.tree.discard()
            raise

    async def _open(self, line: Transport, url: URL) -> aiohttp.ClientResponse:
        """The answer with the file, after redirects."""
        here = url.with_user(None)
        auth = {}
        if url.user:
            auth["Authorization"] = aiohttp.encode_basic_auth(url.user, url.password or "")
        if not address.is_public_enough(here.host or ""):
            raise Invalid(f"the address {here.host} is a reserved one", code="build.address")
        for _ in range(_REDIRECTS):
            try:
                response = await line.http.get(
                    here, headers=auth, allow_redirects=False, ssl=await line.tls(here.authority)
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failed = Upstream(
                    f"cannot fetch {masked(str(url))[:200]}: {error}", code="build.fetch"
                )
                raise await dated(error, failed) from error
            if response.status not in {301, 302, 303, 307, 308}:
                _check(response, url)
                return response
            location = response.headers.get("Location", "")
            response.close()
            target = _follow(here, location)
            if not address.same_origin(here, target):
                auth = {}
            here = target
        raise Upstream(f"{masked(str(url))[:200]} redirects without end", code="build.redirect")

    # --- repositories -----------------------------------------------------------------------

    async def repository(self, wanted: GitAddress) -> Tree:
        """The files of a repository at a ref. Raises Unsupported without the program git."""
        return await self.pipes.call(lambda: self._repository(wanted))

    def _repository(self, wanted: GitAddress) -> Tree:
        git = spawn.which("git")
        place = tempfile.mkdtemp(prefix="git-", dir=self.uploads)
        try:
            _git(git, place, "init", "-q", "--bare", ".")
            found = _fetch(git, place, wanted)
            what = f"{found}:{wanted.directory}" if wanted.directory else found
            _git(git, place, "archive", "--format=tar", "--output=files.tar", what)
            return self._archive(Path(place) / "files.tar")
        except spawn.CommandFailed as error:
            told = masked(error.result.complaint)[:300]
            raise Upstream(
                f"cannot fetch {masked(wanted.url)[:200]}: {told}",
                hint="are the address and the ref right, and is it public?",
                code="build.git",
            ) from None
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _archive(self, path: Path) -> Tree:
        filling = Filling(self.store)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                filling.take_archive(FdReader(fd), own=True)
            finally:
                os.close(fd)
            return filling.finish()
        except BaseException:
            filling.tree.discard()
            raise


def _fetch(program: str, place: str, wanted: GitAddress) -> str:
    """Fetch one commit, or more where the server can give no single one; what it is called."""
    words = ("fetch", "-q", "--no-tags")
    ref = wanted.ref or "HEAD"
    try:
        _git(program, place, *words, "--depth=1", "--", wanted.url, ref)
    except spawn.CommandFailed:
        if wanted.commit:
            everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            _git(program, place, *words, "--", wanted.url, *everything)
            return wanted.ref
        _git(program, place, *words, "--", wanted.url, ref)
    return "FETCH_HEAD"


def _git(program: str, place: str, *words: str) -> None:
    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_REPOSITORY, MAX_REPOSITORY))

    spawn.run_sync(
        [program, *_GUARDS, *words],
        cwd=place, env=_QUIET, timeout=_GIT_SECONDS, before_exec=bounded,
    )  # fmt: skip


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


def _take(filling: Filling, name: str, source: FdReader, mtime: int) -> Tree:
    filling.take_file(name, iter(lambda: source.read(_CHUNK), b""), mode=0o600, mtime=mtime)
    return filling.finish()


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
