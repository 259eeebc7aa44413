"""What becomes of a built root besides an image of this host: archives, as a stream of bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from wirt.aio import beside
from wirt.errors import Invalid
from wirt.host.build.finish import Result
from wirt.host.build.works import Works
from wirt.host.images import Images
from wirt.host.pipe import chunks
from wirt.host.save import SaveImages
from wirt.image.build.outcome import Root
from wirt.privileged.protocol import ReadTree, TreeSource
from wirt.tar import writer

ARCHIVES = ("oci", "docker")
KINDS = ("image", "none", "tar", *ARCHIVES)


def check_kind(kind: str) -> None:
    """Raises Invalid for an output that there is not."""
    if kind not in KINDS:
        raise Invalid(
            f"unknown output {kind[:40]!r}", hint=f"outputs are {', '.join(KINDS)}, local"
        )


class Outputs:
    """Streams results. A stream holds what it reads until its end."""

    def __init__(self, *, works: Works, images: Images, save: SaveImages) -> None:
        self._works = works
        self._images = images
        self._save = save

    async def archive(self, made: Result, form: str, *, temporary: bool) -> AsyncIterator[bytes]:
        """A stored image as an archive. ``temporary``: the image goes afterwards."""
        choices = await self._save.choose(made.names or (made.id,), form)
        return self._archive(made, choices, form, temporary=temporary)

    async def _archive(
        self, made: Result, choices: object, form: str, *, temporary: bool
    ) -> AsyncIterator[bytes]:
        try:
            async with contextlib.aclosing(
                self._save.stream(choices, form)  # type: ignore[arg-type]
            ) as stream:
                async for chunk in stream:
                    yield chunk
        finally:
            if temporary:
                await self._images.remove(made.id)

    async def files(self, root: Root) -> AsyncIterator[bytes]:
        """The root file system as a tar archive."""
        await self._works.ensure(root)
        held = contextlib.ExitStack()
        held.enter_context(self._works.layers.hold(root.chain_ids))
        return self._files(root, held)

    async def _files(self, root: Root, held: contextlib.ExitStack) -> AsyncIterator[bytes]:
        with held:
            if not root.layers:
                yield writer.END
                return
            verb = ReadTree(source=TreeSource(layers=root.chain_ids), path="/")
            reader, write_end = os.pipe()
            try:
                async with beside(self._works.helper.call(verb, [write_end])) as task:
                    task.add_done_callback(lambda _: os.close(write_end))
                    async for chunk in chunks(reader):
                        yield chunk
                    await task
            finally:
                os.close(reader)
