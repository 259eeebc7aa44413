"""``wirt build``: take the context in, plan, solve, and name the image that came of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from wirt.aio import Team, shielded
from wirt.errors import Invalid, NotFound, Unsupported, primary
from wirt.host.build.bases import Bases
from wirt.host.build.checks import Checked, Checks
from wirt.host.build.finish import Finish, Result
from wirt.host.build.holding import Holding, holding
from wirt.host.build.imports import Imports
from wirt.host.build.job import BaseImage, Job
from wirt.host.build.output import Outputs, check_kind
from wirt.host.build.progress import Progress, Tell
from wirt.host.build.solve import Solver
from wirt.host.build.sources import Sources
from wirt.host.build.verify import check_same
from wirt.host.build.wallets import Wallet
from wirt.host.build.wish import BuildWish
from wirt.host.build.works import Works
from wirt.host.fitting import runs_here
from wirt.host.pipe import FdReader
from wirt.image import platform
from wirt.image.build.address import file_address, git_address
from wirt.image.build.archives import unpack
from wirt.image.build.dockerfile import ast
from wirt.image.build.dockerfile.parse import parse
from wirt.image.build.dockerfile.scope import global_args, platform_args
from wirt.image.build.graph import (
    ContextRef,
    Graph,
    ImageRef,
    Names,
    Question,
    needs,
    plan,
    target_stage,
)
from wirt.image.build.outcome import Root
from wirt.image.build.tree import Amount, Filling, Tree
from wirt.image.platform import Platform
from wirt.model.image import Reference
from wirt.privileged.faults import fault
from wirt.state.images import Orphans
from wirt.tar.inflate import Inflater
from wirt.tar.member import Type

EPOCH = "SOURCE_DATE_EPOCH"
KEEP_GIT = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
"""The build argument that docker has for this."""
MAX_DOCKERFILE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A build's question with what it needs to be answered."""

    wish: BuildWish
    question: Question
    contexts: Mapping[str, Tree]
    platform: Platform
    epoch: int | None

    @property
    def known(self) -> dict[str, str]:
        """The arguments that are known without being given."""
        return platform_args(self.platform, platform.host(), self.wish.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The target's root, and the keys of the results that it is made of: of all stages, and of the
    target and what it begins from."""

    root: Root
    keys: tuple[str, ...]
    target_keys: tuple[str, ...]


class Build:
    """The use case."""

    def __init__(self, *, works: Works, bases: Bases, finish: Finish, outputs: Outputs) -> None:
        self._works = works
        self._bases = bases
        self._finish = finish
        self._outputs = outputs
        self._checks = Checks(pipes=works.pipes, images=bases.images)

    async def check(self, wish: BuildWish, body: AsyncIterable[bytes]) -> Checked:
        """Look for mistakes in the Dockerfile; nothing is built. Raises Invalid."""
        async with self._contexts(wish, body) as contexts:
            asked = self._ask(wish, contexts)
            return await self._checks.look(asked.question, wish, asked.known)

    async def run(self, wish: BuildWish, body: AsyncIterable[bytes], tell: Tell) -> Result:
        """Build an image. ``body``: the context as a tar, maybe compressed, maybe nothing.

        Raises Invalid with file and line for what cannot be built, StepFailed for a RUN that
        ended with another code than 0. Of a build that failed the results of its finished steps
        stay in the cache, and nothing else.
        """
        check_kind(wish.output.kind)
        for name in wish.tags:
            _check_name(name)
        async with self._contexts(wish, body) as contexts:
            fault("build.received")
            asked, progress = self._ask(wish, contexts), Progress(tell)
            with self._works.wallets.open(
                wish.credentials_token, wish.credentials, progress.ask
            ) as wallet:
                return await self._build(asked, wallet, progress)

    # --- the question -----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _contexts(
        self, wish: BuildWish, body: AsyncIterable[bytes]
    ) -> AsyncIterator[dict[str, Tree]]:
        """The contexts, whose files go when the block ends; the client's agents are waited for."""
        with self._works.agents.expect(wish.ssh_token, wish.ssh):
            contexts = await self._receive(wish, body)
            try:
                yield contexts
            finally:
                for tree in contexts.values():
                    await self._works.pipes.call(tree.discard)

    async def _receive(self, wish: BuildWish, body: AsyncIterable[bytes]) -> dict[str, Tree]:
        """The contexts that the body brings, and those that are fetched."""
        found = {"": await self._upload(body)}
        try:
            for one in wish.contexts:
                if one.prefix:
                    found[one.name.lower()] = found[""].take_out(one.prefix)
                elif one.url:
                    found[one.name.lower()] = await self._remote(one.url, wish)
            if wish.context_url:
                found[""].discard()
                found[""] = await self._remote(wish.context_url, wish)
        except BaseException:
            for tree in found.values():
                tree.discard()
            raise
        return found

    async def _remote(self, url: str, wish: BuildWish) -> Tree:
        """A context from elsewhere: a repository, an archive, or a lone Dockerfile."""
        works, repository = self._works, git_address(url)
        if repository is not None:
            keep = wish.args.get(KEEP_GIT, "") in {"1", "true"}
            access = works.access(wish)
            return await works.repositories.tree(repository, access, keep_git=keep)
        where, name = file_address(url)
        tree = await works.fetch.file(where, name)
        unpacked = await works.pipes.make(lambda: unpack(tree, name, works.store), _drop)
        if unpacked is not None:
            tree.discard()
            return unpacked
        tree.add(replace(tree.resolve(name), path="Dockerfile"))
        return tree

    async def _upload(self, body: AsyncIterable[bytes]) -> Tree:
        filling = await self._works.pipes.make(lambda: Filling(self._works.store), Filling.discard)
        limit = Amount().bytes + 2 * 1024**3

        def take(source: FdReader) -> Tree:
            stream = Inflater(source, limit=limit)
            filling.take_archive(stream, own=True)
            stream.drain()
            return filling.finish()

        try:
            return await self._works.pipes.feed(body, take)
        except BaseException:
            filling.tree.discard()
            raise

    def _ask(self, wish: BuildWish, contexts: Mapping[str, Tree]) -> Asked:
        file = parse(self._dockerfile(wish, contexts[""]), wish.dockerfile_name)
        host = platform.host()
        place = platform.parse(wish.platform) if wish.platform else host
        names = Names(
            contexts=frozenset(name for name in contexts if name),
            images={c.name.lower(): c.image for c in wish.contexts if c.image},
        )
        stage = wish.target
        arguments = global_args(file, wish.args, platform_args(place, host, stage))
        question = Question(file=file, arguments=arguments, names=names, target=wish.target)
        target_stage(question)
        return Asked(
            wish=wish,
            question=question,
            contexts=contexts,
            platform=place,
            epoch=_epoch(wish.args.get(EPOCH)),
        )

    @staticmethod
    def _dockerfile(wish: BuildWish, context: Tree) -> bytes:
        if wish.dockerfile is not None:
            return wish.dockerfile.encode("utf-8", "surrogateescape")
        try:
            entry = context.resolve(wish.dockerfile_name)
        except NotFound:
            raise NotFound(
                f"there is no {wish.dockerfile_name} in the build context",
                hint="name another file with -f",
                code="build.no-dockerfile",
            ) from None
        if entry.type is not Type.FILE or entry.size > MAX_DOCKERFILE:
            raise Invalid(f"{wish.dockerfile_name} is no Dockerfile", code="build.no-dockerfile")
        return b"".join(context.content(entry))

    # --- the answer -------------------------------------------------------------------------

    async def _build(self, asked: Asked, wallet: Wallet, progress: Progress) -> Result:
        async with holding(self._works.layers) as held:
            graph, bases = await self._plan(asked, held, wallet, progress)
            self._check(asked, graph, bases)
            await self._checks.before_build(asked.question, asked.wish, asked.known, progress)
            imports = Imports(self._works.remote, progress)
            await imports.open(asked.wish.cache_from, wallet)
            solve = partial(self._solve, asked, graph, bases, held, imports, progress)
            solved = await solve()
            if asked.wish.verify:
                again = await solve(cached=False)
                vertex = progress.vertex("comparing two builds of the same input")
                await vertex.begin()
                check_same(solved.root, again.root)
                await vertex.done()
            made = await self._deliver(asked, graph, solved.root, held, progress)
            return replace(
                made,
                keys=solved.keys,
                target_keys=solved.target_keys,
                mounts=_cache_mounts(graph),
            )

    async def _deliver(
        self, asked: Asked, graph: Graph, root: Root, held: Holding, progress: Progress
    ) -> Result:
        """The result in the form that was asked for."""
        kind = asked.wish.output.kind
        if kind == "none":
            return Result()
        if kind == "tar":
            return Result(output=await self._outputs.files(root))
        made = await self._finish.run(
            asked.wish, graph.target.plan.settings, root, asked.platform, held, progress
        )
        if kind == "image":
            return made
        temporary = made.new and not made.names
        output = await self._outputs.archive(made, kind, temporary=temporary)
        return replace(made, output=output)

    async def _plan(
        self, asked: Asked, held: Holding, wallet: Wallet, progress: Progress
    ) -> tuple[Graph, dict[ImageRef, BaseImage]]:
        """Look images up, at the same time, until nothing more is asked for."""
        known: dict[ImageRef, BaseImage] = {}

        async def look_up(ref: ImageRef) -> None:
            found = await self._bases.find(
                ref,
                platform=str(asked.platform),
                wish=asked.wish,
                wallet=wallet,
                progress=progress,
            )
            held.use(found.root.chain_ids)
            await self._works.layers.uses.based(found.root.chain_ids)
            for layer in found.root.layers:
                held.lease.hold(layer.descriptor.digest)
            known[ref] = found

        while True:
            settings = {ref: base.settings for ref, base in known.items()}
            missing = needs(asked.question, settings).images - known.keys()
            if not missing:
                return plan(asked.question, settings), known
            try:
                async with Team() as team:
                    for ref in sorted(missing, key=lambda ref: ref.name):
                        team.start(look_up(ref))
            except BaseExceptionGroup as group:
                raise primary(group) from group

    @staticmethod
    def _check(asked: Asked, graph: Graph, bases: Mapping[ImageRef, BaseImage]) -> None:
        """Refuse what cannot be done before anything is done."""
        runs = any(
            isinstance(step.instruction, ast.Run)
            for node in graph.stages
            for step in node.plan.steps
        )
        for place in (asked.platform, *(base.platform for base in bases.values())):
            if runs and not runs_here(place, asked.wish.isolation):
                raise Unsupported(
                    f"cannot run steps for {place}: this host is {platform.host()}",
                    hint="build on a host of that kind or without RUN, or install an emulator",
                    code="build.platform",
                )
        for node in graph.stages:
            if isinstance(node.base, ContextRef):
                raise Unsupported(
                    f"the stage {node.plan.name!r} begins FROM the context of files "
                    f"{node.base.name!r}",
                    hint="write FROM scratch, and COPY --from it",
                    code="build.from-context",
                )

    async def _solve(
        self,
        asked: Asked,
        graph: Graph,
        bases: Mapping[ImageRef, BaseImage],
        held: Holding,
        imports: Imports,
        progress: Progress,
        *,
        cached: bool = True,
    ) -> Solved:
        solver: Solver

        async def root_of(origin: object) -> Root:
            return await solver.root_of(origin)  # type: ignore[arg-type]

        sources = Sources(works=self._works, holding=held, contexts=asked.contexts, root_of=root_of)
        job = Job(
            wish=asked.wish,
            graph=graph,
            bases=bases,
            sources=sources,
            progress=progress,
            holding=held,
            agents=self._works.agents,
            imports=imports,
            cached=cached,
        )
        solver = Solver(works=self._works, job=job, epoch=asked.epoch)
        try:
            root = await solver.solve()
        finally:
            await shielded(self._tidy(sources))
        await self._works.cache.touch(solver.used, now=time.time_ns())
        return Solved(root=root, keys=solver.used, target_keys=solver.used_for_target)

    async def _tidy(self, sources: Sources) -> None:
        await sources.discard_read()
        if sources.temporary_layers:
            await self._works.layers.drop(Orphans(chain_ids=sources.temporary_layers))


def _drop(tree: Tree | None) -> None:
    if tree is not None:
        tree.discard()


def _cache_mounts(graph: Graph) -> tuple[str, ...]:
    """Ids of the cache mounts of all steps."""
    return tuple(
        mount.id or step.before.path(mount.target or "/")
        for node in graph.stages
        for step in node.plan.steps
        if isinstance(step.instruction, ast.Run)
        for mount in step.instruction.mounts
        if mount.kind is ast.MountKind.CACHE
    )


def _check_name(name: str) -> None:
    if Reference.parse(name).digest:
        raise Invalid(
            f"a name that users give has no digest: {name[:200]!r}", hint="write NAME or NAME:TAG"
        )


def _epoch(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise Invalid(
            f"{EPOCH}={text[:40]!r} is no time",
            hint="give Unix seconds, as from: date +%s",
            code="build.epoch",
        )
    return int(text)
