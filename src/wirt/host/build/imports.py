"""``--cache-from``: caches of registries that one build may take results from, as it needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from wirt.errors import WirtError
from wirt.host.build.progress import Progress
from wirt.host.build.remote_cache import Listed, RemoteCache
from wirt.host.build.wallets import Wallet
from wirt.image.store import Lease
from wirt.model.image import Reference

_NOTHING = frozenset({"registry.not-found", "build.cache-none"})


class Imports:
    """The caches of one build, in the order in which they are asked. One that fails is told of and
    left alone: what it has is made here."""

    def __init__(self, remote: RemoteCache, progress: Progress) -> None:
        self._remote = remote
        self._progress = progress
        self._listed: list[Listed] = []

    async def open(self, references: Sequence[str], wallet: Wallet) -> None:
        """Read the lists of these caches. One that there is not is no error; that a registry does
        not let us in, or gives something damaged, is."""
        for reference in references:
            name = Reference.parse(reference)
            vertex = self._progress.vertex(f"importing the build cache of {name.familiar}")
            await vertex.begin()
            try:
                late = partial(wallet.of, name.domain)
                self._listed.append(await self._remote.open(reference, late))
            except WirtError as error:
                await vertex.failed(f"there is no build cache at {reference}: {error.message}"
                                    if error.code in _NOTHING else error.message)  # fmt: skip
                if error.code not in _NOTHING:
                    raise
            else:
                await vertex.done()

    async def fetch(self, key: str, lease: Lease) -> bool:
        """Have the result of this key here, if one of the caches has it."""
        for listed in tuple(self._listed):
            try:
                if await self._remote.fetch(listed, key, lease):
                    return True
            except WirtError as error:
                await self._leave(listed, error)
        return False

    async def mounts(self, names: Iterable[str]) -> None:
        """Have these cache mounts here, as far as the caches have them."""
        for name in names:
            for listed in tuple(self._listed):
                try:
                    if await self._remote.mount(listed, name):
                        break
                except WirtError as error:
                    await self._leave(listed, error)

    async def _leave(self, listed: Listed, error: WirtError) -> None:
        if listed in self._listed:
            self._listed.remove(listed)
            vertex = self._progress.vertex(f"taking results from {listed.name}")
            await vertex.begin()
            await vertex.failed(error.message)
