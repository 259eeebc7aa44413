"""Where a build's files come from: contexts, other stages, images; as trees and as layers."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from wirt.aio import Locks, beside
from wirt.errors import Invalid, NotFound
from wirt.host.build.holding import Holding
from wirt.host.build.works import Works
from wirt.host.pipe import FdReader
from wirt.image.build.graph import ContextRef, ImageRef, Nothing, Origin, StageRef
from wirt.image.build.outcome import Root
from wirt.image.build.tree import Entry, Filling, Tree, clean
from wirt.model.ignore import is_wild
from wirt.privileged.protocol import ReadTree, StatTree, TreeSource
from wirt.tar.member import Type


@dataclass(slots=True, kw_only=True)
class Sources:
    """What instructions of one build may take files from. ``contexts``: by name, ``""`` the main
    one. ``root_of``: the finished root of a stage or image. Trees made here go with
    :meth:`discard_read`."""

    works: Works
    holding: Holding
    contexts: Mapping[str, Tree]
    root_of: Callable[[StageRef | ImageRef], Awaitable[Root]]
    _read: dict[tuple[str, str], Tree] = field(default_factory=dict)
    _locks: Locks = field(default_factory=Locks)
    _layers: dict[str, str] = field(default_factory=dict)

    def context(self, name: str) -> Tree:
        """A context of files. Raises NotFound when the client sent none."""
        found = self.contexts.get(name)
        if found is None:
            raise NotFound(
                f"there is no build context {name!r}" if name else "there is no build context",
                hint="give a directory, or leave out what copies from it",
                code="build.no-context",
            )
        return found

    async def root(self, origin: Origin) -> Root:
        """The root of a stage or an image."""
        if isinstance(origin, (StageRef, ImageRef)):
            return await self.root_of(origin)
        assert isinstance(origin, Nothing)
        raise Invalid("nothing can be copied from scratch", code="build.no-source")

    async def tree(self, origin: Origin | None, pattern: str) -> Tree:
        """A tree in which ``pattern`` can be found. ``origin``: None for the build context."""
        if origin is None:
            return self.context("")
        if isinstance(origin, ContextRef):
            return self.context(origin.name)
        root = await self.root(origin)
        prefix = fixed_prefix(pattern)
        key = (root.chain_id, prefix)
        async with self._locks.hold(f"{key}"):
            if key not in self._read:
                self._read[key] = await self._read_layers(root, prefix)
            return self._read[key]

    async def _read_layers(self, root: Root, prefix: str) -> Tree:
        """The part of a root file system that is below ``prefix``; empty when it is not there."""
        if not root.layers:
            return Tree()
        await self.works.ensure(root)
        source = TreeSource(layers=root.chain_ids)
        try:
            status, _ = await self.works.helper.call(StatTree(source=source, path="/" + prefix))
        except (NotFound, Invalid) as error:
            if error.code == "layer.missing":
                raise
            return Tree()
        filling = await self.works.pipes.make(lambda: Filling(self.works.store), Filling.discard)
        path, under = "/" + prefix, posixpath.dirname(prefix)
        try:
            if status.link_target:
                link = Entry(path=prefix, type=Type.SYMLINK, mode=0o777, link=status.link_target)
                path = status.link_target
                under = clean(posixpath.dirname(path))
                filling.tree.add(link)
            await self._receive(ReadTree(source=source, path=path), filling, under)
        except BaseException:
            filling.tree.discard()
            raise
        return filling.finish()

    async def _receive(self, verb: ReadTree, filling: Filling, under: str) -> None:
        reader, writer = os.pipe()
        try:
            async with beside(self.works.helper.call(verb, [writer])) as task:
                task.add_done_callback(lambda _: os.close(writer))
                try:
                    await self.works.pipes.call(
                        lambda: filling.take_archive(FdReader(reader), under=under)
                    )
                except Invalid:
                    await task  # the helper's own error says more than a cut stream
                    raise
                await task
        finally:
            os.close(reader)

    async def layer(self, origin: Origin | None) -> tuple[str, ...]:
        """Chain ids of a mount's source; a context becomes a layer for the time of the build."""
        if origin is not None and not isinstance(origin, ContextRef):
            root = await self.root(origin)
            await self.works.ensure(root)
            return root.chain_ids
        name = origin.name if isinstance(origin, ContextRef) else ""
        async with self._locks.hold(f"layer {name}"):
            if name not in self._layers:
                self._layers[name] = await self.works.context_layer(
                    self.context(name), self.holding
                )
            return (self._layers[name],)

    @property
    def temporary_layers(self) -> tuple[str, ...]:
        """Layers that belong to this build alone."""
        return tuple(self._layers.values())

    async def discard_read(self) -> None:
        """Remove what was read from stages and images; the contexts stay."""
        trees = tuple(self._read.values())

        def work() -> None:
            for tree in trees:
                tree.discard()

        await asyncio.to_thread(work)


def fixed_prefix(pattern: str) -> str:
    """The part of a pattern before the first name with a wildcard."""
    parts: list[str] = []
    for part in clean(pattern).split("/"):
        if is_wild(part):
            break
        parts.append(part)
    return "/".join(parts)
