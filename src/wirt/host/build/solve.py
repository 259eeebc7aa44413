"""Carrying a graph out: stages beside each other, steps one after the other, results remembered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from wirt.aio import Team
from wirt.errors import Internal, NotFound, WirtError
from wirt.host.build import running, transfer
from wirt.host.build.job import Job, at
from wirt.host.build.progress import Vertex
from wirt.host.build.works import Found, Works
from wirt.image.build import cache
from wirt.image.build.dockerfile import ast
from wirt.image.build.graph import ContextRef, ImageRef, Nothing, StageNode, StageRef
from wirt.image.build.outcome import EARLIEST, Layer, Root
from wirt.image.build.step import CacheMount, StepFailed
from wirt.image.build.steps import Step
from wirt.image.manifest import Descriptor

PARALLEL = max(2, os.cpu_count() or 1)
"""Steps that run at once."""

Make = Callable[[], Awaitable[Layer | None]]


@dataclass(slots=True, kw_only=True)
class Solver:
    """Solves one build. ``epoch``: SOURCE_DATE_EPOCH as given, Unix seconds."""

    works: Works
    job: Job
    epoch: int | None
    _used: list[tuple[int, str]] = field(default_factory=list)
    _stages: dict[int, asyncio.Task[Root]] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))

    async def solve(self) -> Root:
        """The root of the target. Raises what the first failing step raises."""
        graph = self.job.graph
        async with Team() as team:
            for node in graph.stages:
                self._stages[node.plan.index] = team.start(self._stage(node))
        return self._stages[graph.target.plan.index].result()

    @property
    def used(self) -> tuple[str, ...]:
        """Keys of results that were of use."""
        return tuple(key for _, key in self._used)

    @property
    def used_for_target(self) -> tuple[str, ...]:
        """Of those the ones of the target, and of the stages that it begins from."""
        node = self.job.graph.target
        own = {node.plan.index}
        while isinstance(node.base, StageRef):
            number = node.base.index
            node = next(one for one in self.job.graph.stages if one.plan.index == number)
            own.add(number)
        return tuple(key for stage, key in self._used if stage in own)

    async def root_of(self, origin: StageRef | ImageRef) -> Root:
        """The finished root of a stage, waited for, or of an image."""
        if isinstance(origin, StageRef):
            try:
                return await asyncio.shield(self._stages[origin.index])
            except WirtError:  # told where it happened; this stage just does not go on
                raise asyncio.CancelledError from None
        return self._dated(self.job.bases[origin].root)

    def _dated(self, root: Root) -> Root:
        epoch = root.epoch if self.epoch is None else self.epoch
        return Root(layers=root.layers, history=root.history, epoch=epoch)

    async def _stage(self, node: StageNode) -> Root:
        root = await self._base(node)
        for step in node.plan.steps:
            root = await self._step(node, step, root)
        return root

    async def _base(self, node: StageNode) -> Root:
        base = node.base
        if isinstance(base, Nothing):
            return self._dated(Root(epoch=EARLIEST))
        if isinstance(base, ContextRef):
            raise Internal("a stage on a context of files was not refused")
        if isinstance(base, ImageRef):
            vertex = self.job.progress.vertex(
                f"[{_stage_name(node)}1/{node.plan.working + 1}] FROM {self.job.bases[base].title}"
            )
            await vertex.cached()
        return await self.root_of(base)

    async def _step(self, node: StageNode, step: Step, root: Root) -> Root:
        if not step.number:
            return root.with_step(step.said, None)
        title = f"[{_stage_name(node)}{step.number + 1}/{node.plan.working + 1}] {step.title}"
        vertex = self.job.progress.vertex(title)
        site = cache.digest(
            [self.job.wish.tags[:1], self.job.wish.dockerfile_name, node.plan.name, step.number]
        )
        try:
            try:
                layer = await self._layer(node, step, root, vertex, site)
            except NotFound as error:
                if not self.works.layers.lost(error, tuple(self.works.layers.present)):
                    raise
                layer = await self._layer(node, step, root, vertex, site)
        except WirtError as error:
            known = at(step, error)
            await vertex.failed(known.message)
            raise known from error
        if layer is not None:
            self.job.holding.use((layer.chain_id,))
        return root.with_step(step.said, layer)

    async def _layer(
        self, node: StageNode, step: Step, root: Root, vertex: Vertex, site: str
    ) -> Layer | None:
        works, job = self.works, self.job
        match step.instruction:
            case ast.Run():
                inputs = await running.inputs(job, step, root, node.sources, site)
                return await self._cached(
                    node, root, vertex, inputs, lambda: self._run(node, step, root, vertex)
                )
            case ast.Workdir():
                inputs = transfer.workdir_inputs(step, root, site)
                return await self._cached(
                    node,
                    root,
                    vertex,
                    inputs,
                    lambda: transfer.make_workdir(works, job, step, root),
                )
            case _:
                return await self._copy(node, step, root, vertex, site)

    async def _copy(
        self, node: StageNode, step: Step, root: Root, vertex: Vertex, site: str
    ) -> Layer | None:
        """A copy is known by its files; one from a stage also by the stage that it copies from."""
        works, job = self.works, self.job
        quick = await transfer.quick_inputs(job, step, root, node.sources, site)
        if quick is not None and job.may_use_cache(node.plan.name):
            found = await self._find(quick, root)
            if found is not None:
                self._used.append((node.plan.index, found.key))
                await vertex.cached()
                return found.layer
        async with transfer.transfer(works, job, step, node.sources) as files:
            layer = await self._cached(
                node,
                root,
                vertex,
                files.inputs(root, site),
                lambda: transfer.place_files(works, job, files, root),
            )
        if quick is not None:
            self._used.append((node.plan.index, quick.key))
            await works.remember(quick, layer)
        return layer

    async def _find(self, inputs: cache.Inputs, root: Root) -> Found | None:
        """An earlier result: of this host, or of a cache that the build takes from."""
        lease = self.job.holding.lease
        found = await self.works.find(inputs, root, lease)
        if found is None and await self.job.imports.fetch(inputs.key, lease):
            found = await self.works.find(inputs, root, lease)
        return found

    async def _cached(
        self, node: StageNode, root: Root, vertex: Vertex, inputs: cache.Inputs, make: Make
    ) -> Layer | None:
        """An earlier result of the same inputs, or a new one."""
        works, job = self.works, self.job
        if job.may_use_cache(node.plan.name):
            found = await self._find(inputs, root)
            if found is not None:
                self._used.append((node.plan.index, found.key))
                await vertex.cached()
                return found.layer
        self._used.append((node.plan.index, inputs.key))
        if job.wish.explain:
            earlier = await works.cache.recent(inputs.site)
            why = cache.explain(inputs, [row.inputs for row in earlier])
            await vertex.explain(why if job.may_use_cache(node.plan.name) else "--no-cache")
        async with self._slots:
            await vertex.begin()
            layer = await make()
        await works.remember(inputs, layer)
        await vertex.done()
        return layer

    async def _run(self, node: StageNode, step: Step, root: Root, vertex: Vertex) -> Layer:
        await self.works.ensure(root)
        wanted = await running.run_step(self.job, step, root, node.sources, vertex.name)
        mounts = [mount.id for mount in wanted.mounts if isinstance(mount, CacheMount)]
        await self.job.imports.mounts(mounts)
        try:
            made = await self.works.runner.run(
                root.chain_ids, wanted, vertex.log, lease=self.job.holding.lease
            )
        except StepFailed as error:
            failed = StepFailed(
                f"{step.where}: the command '{step.title}' ended with exit code {error.exit_code}",
                exit_code=error.exit_code,
                guest=error.guest,
            )
            raise failed from error
        self.job.holding.make(made.chain_id)
        return Layer(
            chain_id=made.chain_id,
            diff_id=made.diff_id,
            descriptor=Descriptor(
                media_type="application/vnd.oci.image.layer.v1.tar+gzip",
                digest=made.blob,
                size=made.blob_size,
            ),
            size=made.size,
        )


def _stage_name(node: StageNode) -> str:
    """``build `` before the count, nothing for a stage without a name."""
    return "" if node.plan.name.startswith("stage-") else f"{node.plan.name} "
