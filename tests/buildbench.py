"""Builds for tests: the real use case over a real helper, with a runner that pretends to run.

A pretended command leaves one file whose content says what the step was given, so that what
reaches a runner can be seen in the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from filebench import Bench, Entry, file, pieces, tar
from wirt.errors import NotFound
from wirt.host.build.bases import Bases
from wirt.host.build.build import Build
from wirt.host.build.fetch import Fetch
from wirt.host.build.finish import Finish, Result
from wirt.host.build.kept import KeptFetches
from wirt.host.build.output import Outputs
from wirt.host.build.remote_cache import RemoteCache
from wirt.host.build.repositories import Repositories
from wirt.host.build.roots import BuildRoots
from wirt.host.build.visitors import Agents
from wirt.host.build.wallets import Wallets
from wirt.host.build.wish import BuildWish
from wirt.host.build.works import Works
from wirt.host.layers import Tell
from wirt.host.pull import PullWish
from wirt.host.registries import Registries
from wirt.image import config as configuration
from wirt.image.build.step import LayerMade, Out, RunStep, StepFailed
from wirt.image.remote.auth import Late
from wirt.image.remote.settings import Settings
from wirt.image.store import Lease
from wirt.model.image import Digest, Image
from wirt.state.build_cache import BuildCacheTable
from wirt.tar.deflate import deflate


@dataclass(kw_only=True)
class PretendingRunner:
    """Leaves ``ran/<digest>`` with the command; ``exit N`` as the command fails with N."""

    bench: Bench
    steps: list[RunStep] = field(default_factory=list)
    bases: list[tuple[str, ...]] = field(default_factory=list)

    async def run(
        self, base: tuple[str, ...], step: RunStep, out: Out, *, lease: Lease
    ) -> LayerMade:
        self.steps.append(step)
        self.bases.append(base)
        said = out(1, f"ran {step.argv[-1]}\n".encode())
        if said is not None:
            await said
        if step.argv[-1].startswith("exit "):
            raise StepFailed("failed", exit_code=int(step.argv[-1][5:]))
        text = "\n".join(step.argv).encode()
        name = hashlib.sha256(text).hexdigest()[:8]
        data = tar(file(f"ran/{name}", text, mtime=step.epoch or 0))
        diff_id = Digest("sha256", hashlib.sha256(data).hexdigest())
        blob = self.bench.store.put(deflate(data), lease)
        chain = configuration.chain_ids((diff_id,))[0]
        if base:
            chain = f"sha256:{hashlib.sha256(f'{base[-1]} {diff_id}'.encode()).hexdigest()}"
        await self.bench.layers.apply(chain, base, expected=str(diff_id), blob=blob)
        return LayerMade(
            chain_id=chain,
            diff_id=diff_id,
            blob=blob,
            size=len(text),
            blob_size=self.bench.store.size(blob),
        )

    async def shell(
        self, guest: str, argv: tuple[str, ...], descriptor: int, *, rows: int, columns: int
    ) -> int:
        raise NotImplementedError

    async def drop(self, guest: str) -> None:
        raise NotImplementedError


class NoRegistry:
    """There is nothing to pull from."""

    async def pull(
        self, wish: PullWish, tell: Tell, *, late: Late | None = None
    ) -> tuple[Image, ...]:
        raise NotFound(f"No such image: {wish.reference}")


@dataclass(kw_only=True)
class Builder:
    """Builds in a bench."""

    bench: Bench
    runner: PretendingRunner
    use_case: Build
    cache: BuildCacheTable
    registries: Registries
    told: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def on(cls, bench: Bench) -> Builder:
        cache = BuildCacheTable(bench.db)
        bench.reach.add(BuildRoots(cache))
        runner = PretendingRunner(bench=bench)
        registries = Registries(Settings())
        kept = KeptFetches(store=bench.store, table=cache, layers=bench.layers)
        works = Works(
            pipes=bench.pipes,
            store=bench.store,
            layers=bench.layers,
            helper=bench.helper,
            cache=cache,
            runner=runner,
            agents=Agents(),
            wallets=Wallets(),
            remote=cast(RemoteCache, None),
            fetch=Fetch(pipes=bench.pipes, store=bench.store, registries=registries, kept=kept),
            repositories=Repositories(
                pipes=bench.pipes, store=bench.store, uploads=bench.layout.uploads, kept=kept
            ),
        )
        finish = Finish(
            pipes=bench.pipes,
            store=bench.store,
            table=bench.table,
            load=bench.load_images,
            bus=bench.bus,
        )
        bases = Bases(
            pipes=bench.pipes, store=bench.store, images=bench.images, puller=NoRegistry()
        )
        outputs = Outputs(works=works, images=bench.images, save=bench.save_images)
        use_case = Build(works=works, bases=bases, finish=finish, outputs=outputs)
        return cls(
            bench=bench, runner=runner, use_case=use_case, cache=cache, registries=registries
        )

    async def build(self, dockerfile: str | None, *context: Entry, **wish: Any) -> Result:
        """Build ``dockerfile`` with a context of these entries; what it told is in ``told``."""
        self.told.clear()
        self.runner.steps.clear()
        asked = BuildWish(dockerfile=dockerfile, **wish)
        body = pieces(tar(*context)) if context else pieces(b"")
        try:
            return await self.use_case.run(asked, body, self._tell)
        finally:
            await self.registries.close()

    async def _tell(self, line: Mapping[str, object]) -> None:
        self.told.append(dict(line))

    def statuses(self) -> list[str]:
        """What became of each step that does something, in order: cached or done."""
        names = {line["step"]: line["name"] for line in self.told if "name" in line}
        return [
            line["status"]
            for line in self.told
            if line.get("status") in {"cached", "done", "failed"}
            and names[line["step"]].startswith("[")
            and " FROM " not in names[line["step"]]
        ]

    def explained(self) -> list[str]:
        return [line["explain"] for line in self.told if "explain" in line]

    def merged(self, image: Image) -> dict[str, Path]:
        """Files of an image by path, upper layers first; whiteouts are not looked at."""
        found: dict[str, Path] = {}
        for number in range(len(image.chain_ids)):
            diff = self.bench.diff(image, number)
            for path in sorted(diff.rglob("*")):
                found[str(path.relative_to(diff))] = path
        return found
