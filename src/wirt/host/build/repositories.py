"""Repositories for ADD and as contexts, read by the program ``git``.

It runs without prompts, hooks or configuration, and none of a repository's files is ever checked
out: each commit is read as an archive, with those of its submodules inside. A commit that was
fetched once is kept, so that it is not fetched again; what a branch or tag means is asked each
time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wirt.errors import Invalid, NotFound, Unsupported, Upstream
from wirt.host.build.agents import listening
from wirt.host.build.git import Git, Submodule
from wirt.host.build.kept import Kept, KeptFetches, key_of
from wirt.host.pipe import CHUNK, Pipes
from wirt.image.build.address import GitAddress, masked, submodule_address
from wirt.image.build.step import SshMount, Stream
from wirt.image.build.tree import Filling, Tree
from wirt.image.remote import address
from wirt.image.store import BlobStore, Lease
from wirt.linux import spawn
from wirt.model.image import Digest
from wirt.tar.deflate import Deflater
from wirt.tar.inflate import Inflater
from wirt.tar.member import Type

MAX_REPOSITORY = 4 * 1024**3
MAX_DEPTH = 8
MOST = 200
"""Repositories of one address, its submodules included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """With what ssh gets in. ``connect``: to the user's agent, None without one. ``known_hosts``:
    lines of OpenSSH's file of this name; no other server is believed."""

    connect: Callable[[], Awaitable[Stream]] | None = None
    known_hosts: str = field(default="", repr=False)


@dataclass(slots=True, kw_only=True)
class _Work:
    """One address being read. ``left``: repositories that it may still lead to."""

    filling: Filling
    access: Access
    lease: Lease
    left: int = MOST


class Repositories:
    """Reads repositories. ``uploads``: where one may lie for a moment."""

    def __init__(self, *, pipes: Pipes, store: BlobStore, uploads: Path, kept: KeptFetches) -> None:
        self._pipes = pipes
        self._store = store
        self._uploads = uploads
        self._kept = kept

    async def tree(self, wanted: GitAddress, access: Access, *, keep_git: bool = False) -> Tree:
        """The files of a repository at a ref, those of its submodules too. ``keep_git``: also
        ``.git``, of the repository itself. Raises Unsupported without the program git."""
        filling = await self._pipes.make(lambda: Filling(self._store), Filling.discard)
        try:
            with self._store.lease() as lease:
                work = _Work(filling=filling, access=access, lease=lease)
                await self._read(wanted, work, under="", depth=0, keep_git=keep_git)
            tree = filling.finish()
            return _directory(tree, wanted) if wanted.directory else tree
        except BaseException:
            filling.tree.discard()
            raise

    async def _read(
        self, wanted: GitAddress, work: _Work, *, under: str, depth: int, keep_git: bool = False
    ) -> None:
        _check(wanted, work.access)
        work.left -= 1
        if work.left < 0 or depth > MAX_DEPTH:
            raise Invalid(
                f"the submodules of {masked(wanted.url)[:200]} are too many, or nested too deeply",
                hint=f"{MOST} repositories and {MAX_DEPTH} levels are allowed",
                code="build.submodules",
            )
        kept = await self._find(wanted, work, keep_git=keep_git)
        await self._pipes.call(lambda: self._unpack(kept.blob, work.filling, under))
        for one in msgspec.json.decode(kept.facts["submodules"], type=tuple[Submodule, ...]):
            inner = GitAddress(url=submodule_address(one.url, wanted.url), ref=one.commit)
            place = f"{under}/{one.path}" if under else one.path
            await self._read(inner, work, under=place, depth=depth + 1)

    def _unpack(self, blob: Digest, filling: Filling, under: str) -> None:
        with self._store.open(blob) as file:
            stream = Inflater(file, limit=MAX_REPOSITORY)
            filling.take_archive(stream, under=under, own=True)

    # --- one repository ---------------------------------------------------------------------

    async def _find(self, wanted: GitAddress, work: _Work, *, keep_git: bool) -> Kept:
        async with self._git(wanted, work.access) as git:
            try:
                commit = wanted.ref
                if not wanted.commit:
                    commit = await self._pipes.call(lambda: git.resolve(wanted.ref or "HEAD"))
                kept = await self._kept.find(_key(wanted.url, commit, keep_git), work.lease)
                return kept or await self._fetch(git, wanted, work, keep_git=keep_git)
            except spawn.CommandFailed as error:
                told = masked(error.result.complaint)[:300]
                raise Upstream(
                    f"cannot fetch {masked(wanted.url)[:200]}: {told}",
                    hint=_HOSTS
                    if wanted.ssh
                    else "are the address and the ref right, and is it public?",
                    code="build.git",
                ) from None

    @contextlib.asynccontextmanager
    async def _git(self, wanted: GitAddress, access: Access) -> AsyncIterator[Git]:
        """The program with an empty repository, and for ssh a socket that leads to the agent."""
        program = spawn.which("git")
        place = await self._pipes.make(
            lambda: Path(tempfile.mkdtemp(prefix="git-", dir=self._uploads)), Path.rmdir
        )
        try:
            git = Git(program=program, place=place, url=wanted.url)
            if not wanted.ssh:
                yield git
                return
            assert access.connect is not None, "checked before"
            mount = SshMount(target="", connect=access.connect)
            async with listening(place, [mount]) as names:
                yield git.with_ssh(place / names[mount], access.known_hosts)
        finally:
            await self._pipes.call(lambda: shutil.rmtree(place, ignore_errors=True))

    async def _fetch(self, git: Git, wanted: GitAddress, work: _Work, *, keep_git: bool) -> Kept:
        commit = await self._pipes.call(lambda: git.fetch(wanted))
        submodules = await self._pipes.call(lambda: git.submodules(commit))
        blob = await self._pipes.call(
            lambda: self._pack(git.archive(commit, keep_git=keep_git), work.lease)
        )
        facts = {"submodules": msgspec.json.encode(submodules).decode()}
        kept = Kept(key=_key(wanted.url, commit, keep_git), blob=blob, facts=facts)
        await self._kept.keep(kept)
        return kept

    def _pack(self, files: tuple[Path, ...], lease: Lease) -> Digest:
        """Files one after the other, as one compressed blob."""
        deflater = Deflater()
        with self._store.upload() as upload:
            for path in files:
                with path.open("rb", buffering=0) as file:
                    while chunk := file.read(CHUNK):
                        upload.write(deflater.feed(chunk))
            upload.write(deflater.finish())
            return self._store.commit(upload, lease)


_HOSTS = "does ssh know the host (~/.ssh/known_hosts), and does your agent have the key?"


def _key(url: str, commit: str, keep_git: bool) -> str:
    return key_of("git", url, commit, ".git" if keep_git else "")


def _check(wanted: GitAddress, access: Access) -> None:
    """Raise Unsupported or Invalid for where we do not go."""
    if wanted.ssh and access.connect is None:
        raise Unsupported(
            f"cannot fetch {masked(wanted.url)[:200]!r}: the daemon has no keys for ssh",
            hint="lend it your agent: --ssh default",
            code="build.git-ssh",
        )
    if not address.is_public_enough(wanted.host):
        raise Invalid(f"the address {wanted.host[:100]} is a reserved one", code="build.address")


def _directory(tree: Tree, wanted: GitAddress) -> Tree:
    found = tree.get(wanted.directory)
    if found is None or found.type is not Type.DIRECTORY:
        raise NotFound(
            f"there is no directory {wanted.directory[:200]!r} in {masked(wanted.url)[:200]}",
            hint="write URL#REF:DIRECTORY",
            code="build.git-directory",
        )
    return tree.take_out(wanted.directory)
