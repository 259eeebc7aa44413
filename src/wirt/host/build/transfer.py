"""COPY, ADD and WORKDIR: find the files, know them again, or make a layer of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from wirt.errors import Invalid
from wirt.host.build.job import Job
from wirt.host.build.running import Origins
from wirt.host.build.works import Works
from wirt.image.build import archives, cache
from wirt.image.build.address import file_address, git_address, is_remote, masked, pinned
from wirt.image.build.copying import (
    Ground,
    Owner,
    Picked,
    Placed,
    Rules,
    Source,
    pick,
    place,
)
from wirt.image.build.dockerfile import ast, mode
from wirt.image.build.graph import ImageRef, Origin, StageRef
from wirt.image.build.outcome import Layer, Root
from wirt.image.build.pack import fingerprint
from wirt.image.build.steps import Step
from wirt.image.build.tree import Filling, Tree
from wirt.privileged.protocol import LookAtTarget

CONTEXT = "the build context"


@dataclass(slots=True, kw_only=True)
class Transfer:
    """One COPY or ADD with its files found. Trees that only it needs go with :meth:`discard`."""

    instruction: ast.Copy | ast.Add
    destination: str
    picked: Picked
    trees: list[Tree] = field(default_factory=list)

    def inputs(self, root: Root, site: str) -> cache.Inputs:
        """What the layer depends on."""
        said = self.instruction
        linked = bool(said.link)
        parts = {
            "the files below it": "" if linked else root.chain_id,
            "the destination": self.destination,
            "the flags": cache.digest([said.chown, said.chmod, linked, self.picked.into]),
            "the time of files": str(root.epoch),
        }
        for item in self.picked.items:
            name = item.below or "."
            parts[f"file {name}"] = fingerprint(f"{item.keeps_owner}{name}", item.entry)
        if len(parts) > cache.MAX_NAMED:
            listed = sorted((k, v) for k, v in parts.items() if k.startswith("file "))
            parts = {k: v for k, v in parts.items() if not k.startswith("file ")}
            parts |= cache.files(listed)
        return cache.Inputs(site=site, parts=parts)


async def quick_inputs(
    job: Job, step: Step, root: Root, origins: Origins, site: str
) -> cache.Inputs | None:
    """What a copy from a stage or image depends on, said without reading its files; None where
    only the files themselves tell."""
    said = step.instruction
    if not isinstance(said, ast.Copy) or not said.origin:
        return None
    origin = origins[said.origin]
    if not isinstance(origin, (StageRef, ImageRef)):
        return None
    source = await job.sources.root(origin)
    parts = {
        "the files below it": root.chain_id,
        "the files to copy from": source.chain_id,
        "the destination": step.before.path(said.destination),
        "the sources": cache.digest(
            [
                said.destination, said.sources, [[doc.name, doc.content] for doc in said.inline],
                said.chown, said.chmod, said.link, said.parents, said.exclude,
            ]
        ),
        "the time of files": str(root.epoch),
    }  # fmt: skip
    return cache.Inputs(site=f"{site}*", parts=parts)


@asynccontextmanager
async def transfer(works: Works, job: Job, step: Step, origins: Origins) -> AsyncIterator[Transfer]:
    """Find all files of an instruction. Raises NotFound naming a missing source, Invalid."""
    said = step.instruction
    assert isinstance(said, (ast.Copy, ast.Add))
    trees: list[Tree] = []
    try:
        found = [
            await _source(works, job, said, origins, pattern, trees) for pattern in said.sources
        ]
        if said.inline:
            found += await works.pipes.call(lambda: _inline(works, said, trees))
        destination = step.before.path(said.destination)
        rules = Rules(
            destination=said.destination,
            chmod=mode.parse(said.chmod) if said.chmod else None,
            parents=isinstance(said, ast.Copy) and bool(said.parents),
            exclude=said.exclude,
            several=len(said.sources) + len(said.inline) > 1,
            keeps_owner=isinstance(said, ast.Copy) and said.origin is not None,
        )
        picked = await works.pipes.call(lambda: pick(found, rules))
        yield Transfer(instruction=said, destination=destination, picked=picked, trees=trees)
    finally:
        for tree in trees:
            tree.discard()


async def _source(
    works: Works,
    job: Job,
    said: ast.Copy | ast.Add,
    origins: Origins,
    pattern: str,
    trees: list[Tree],
) -> Source:
    if isinstance(said, ast.Add):
        if is_remote(pattern):
            return await _fetched(works, job, said, pattern, trees)
        tree = job.sources.context("")
        source = Source(tree=tree, pattern=pattern, what=CONTEXT)
        if said.unpack is False:
            return source
        return await works.pipes.call(lambda: _unpacked(works, source, trees))
    origin: Origin | None = origins[said.origin] if said.origin else None
    tree = await job.sources.tree(origin, pattern)
    what = CONTEXT if origin is None else f"'{said.origin}'"
    return Source(tree=tree, pattern=pattern, what=what)


async def _fetched(
    works: Works, job: Job, said: ast.Add, pattern: str, trees: list[Tree]
) -> Source:
    """What is behind an address: a file, or the content of a repository."""
    repository = git_address(pattern)
    if repository is None:
        url, name = file_address(pattern)
        tree = await works.fetch.file(url, name, checksum=said.checksum or "")
        trees.append(tree)
        source = Source(tree=tree, pattern=name, what=masked(url))
        if said.unpack:
            return await works.pipes.call(lambda: _unpacked(works, source, trees))
        return source
    if said.checksum:
        repository = pinned(repository, said.checksum)
    access = works.access(job.wish)
    tree = await works.repositories.tree(repository, access, keep_git=bool(said.keep_git_dir))
    trees.append(tree)
    return Source(tree=tree, pattern="/", what=masked(pattern), unpacked=True)


def _unpacked(works: Works, source: Source, trees: list[Tree]) -> Source:
    """A local archive's content instead of the archive."""
    unpacked = archives.unpack(source.tree, source.pattern, works.store)
    if unpacked is None:
        return source
    trees.append(unpacked)
    return Source(tree=unpacked, pattern="/", what=source.what, unpacked=True)


def _inline(works: Works, said: ast.Copy | ast.Add, trees: list[Tree]) -> list[Source]:
    """The files of heredocs."""
    filling = Filling(works.store)
    trees.append(filling.tree)
    for doc in said.inline:
        content = doc.content.encode("utf-8", "surrogateescape")
        filling.take_file(doc.name, iter([content]), mode=0o644)
    tree = filling.finish()
    return [Source(tree=tree, pattern=doc.name, what="the heredocs") for doc in said.inline]


async def place_files(works: Works, job: Job, found: Transfer, root: Root) -> Layer | None:
    """The layer of an instruction's files on a root; None when there is nothing to change."""
    said = found.instruction
    if said.link and not (said.chown and not _numeric(said.chown)):
        ground, owner = _free(found.destination), _given_owner(said.chown)
    else:
        ground, owner = await _look(works, found, root)
    members = place(found.picked, ground, owner=owner)
    return await works.pack(members, root, job.holding) if members else None


def _free(destination: str) -> Ground:
    """``--link``: as if there was nothing."""
    path = destination.strip("/")
    return Ground(path=path, kind="missing" if path else "directory")


def _numeric(chown: str) -> bool:
    return chown.replace(":", "", 1).isdigit()


def _given_owner(chown: str | None) -> Owner | None:
    if not chown:
        return None
    uid, _, gid = chown.partition(":")
    return Owner(uid=int(uid), gid=int(gid or uid))


async def _look(works: Works, found: Transfer, root: Root) -> tuple[Ground, Owner | None]:
    await works.ensure(root)
    directories, others = found.picked.directories, found.picked.others
    verb = LookAtTarget(
        layers=root.chain_ids,
        path=found.destination,
        directories=tuple(directories),
        others=tuple(others),
        owner=found.instruction.chown or "",
    )
    target, _ = await works.helper.call(verb)
    obstacles = {directories[number]: "other" for number in target.blocked}
    obstacles |= {others[number]: "directory" for number in target.covered}
    ground = Ground(
        path=target.path.strip("/"),
        kind=target.kind,
        above=target.above,
        existing=frozenset(directories[number] for number in target.existing),
        obstacles=obstacles,
    )
    owner = Owner(uid=target.uid, gid=target.gid) if found.instruction.chown else None
    return ground, owner


# --- WORKDIR ------------------------------------------------------------------------------------


def workdir_inputs(step: Step, root: Root, site: str) -> cache.Inputs:
    """What the layer of a WORKDIR depends on."""
    parts = {
        "the files below it": root.chain_id,
        "the directory": step.settings.cwd,
        "the time of files": str(root.epoch),
    }
    return cache.Inputs(site=site, parts=parts)


async def make_workdir(works: Works, job: Job, step: Step, root: Root) -> Layer | None:
    """The layer with a directory that was missing; None when it is there."""
    await works.ensure(root)
    verb = LookAtTarget(layers=root.chain_ids, path=step.settings.cwd)
    target, _ = await works.helper.call(verb)
    if target.kind == "directory":
        return None
    if target.kind == "other":
        raise Invalid(
            f"'{step.settings.cwd}' is a file in the image, not a directory to work in",
            code="build.not-a-directory",
        )
    ground = Ground(path=target.path.strip("/"), kind="missing", above=target.above)
    members: Sequence[Placed] = place(Picked(items=(), into=True), ground, owner=None)
    return await works.pack(members, root, job.holding) if members else None
