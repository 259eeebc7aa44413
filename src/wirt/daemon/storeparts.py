"""The classes that look after the store as a whole, put together."""

from __future__ import annotations

from wirt.aio import Nursery
from wirt.api.native.store import StoreRoutes
from wirt.host.allowance import Allowance
from wirt.host.build.caches import BuildCaches
from wirt.host.build.evict import CacheMounts
from wirt.host.build.roots import BuildResults
from wirt.host.check import CheckStore
from wirt.host.collect import Cache, Collect, LayerCaches, UnnamedImages
from wirt.host.images import Images
from wirt.host.layers import Layers
from wirt.host.prune import Prune
from wirt.host.roster import Roster
from wirt.host.trim import Trim
from wirt.host.upkeep import MINUTE, Chore, Upkeep, every
from wirt.host.usage import DiskUsage
from wirt.host.uses import Uses
from wirt.host.volumes import Volumes
from wirt.image.store import BlobStore
from wirt.privileged.client import Helper
from wirt.state.build_cache import BuildCacheTable
from wirt.state.db import Database
from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestTable
from wirt.state.store import StoreTable
from wirt.state.uses import UseTable


class Tables:
    """The tables about content."""

    def __init__(self, db: Database) -> None:
        self.images = ImageTable(db)
        self.manifests = ManifestTable(db)
        self.builds = BuildCacheTable(db)
        self.uses = Uses(UseTable(db))
        self.store = StoreTable(db)


class StoreParts:
    """Collection, clean-up, df and check."""

    def __init__(
        self,
        *,
        helper: Helper,
        store: BlobStore,
        layers: Layers,
        tables: Tables,
        images: Images,
        max_cache: int = 0,
    ) -> None:
        self._helper = helper
        self._reach = layers.reach
        self._tables = tables
        self.build_caches = BuildCaches(helper)
        builds: list[Cache] = [
            BuildResults(layers, tables.builds),
            CacheMounts(self.build_caches),
        ]
        unpacked = LayerCaches(layers, tables.store)
        caches: list[Cache] = [unpacked, UnnamedImages(layers, tables.store), *builds]
        self.collect = Collect(helper, store, layers.budget, caches)
        self.collect.further = self.build_caches.size
        self._limit = layers.budget.maximum
        trim = Trim(
            collect=self.collect, unpacked=unpacked, uses=layers.uses, images=tables.images,
            table=tables.store, store=store,
        )  # fmt: skip
        self.upkeep = Upkeep(layers.ended)
        allowance = Allowance(
            collect=self.collect, caches=[unpacked, *builds], uses=layers.uses, store=store,
            maximum=max_cache,
        )  # fmt: skip
        self.collect.relief = allowance.free
        self.upkeep.chores |= {
            "trim": trim.run, "sweep": images.sweep_blobs, "caches": allowance.run
        }  # fmt: skip
        self._prune = Prune(images, tables.images, self.collect, builds=builds, unpacked=[unpacked])
        self._check = CheckStore(
            helper=helper,
            store=store,
            layers=layers,
            images=images,
            table=tables.images,
            manifests=tables.manifests,
            rows=tables.store,
        )

    def begin(self, nursery: Nursery, expire: Chore) -> None:
        """Look after the store from now on. ``expire``: drops idle uploads."""
        nursery.start(self.upkeep.serve(), name="upkeep")
        nursery.start(every(MINUTE, {"uploads": expire}), name="upkeep of uploads")

    def routes(self, roster: Roster, volumes: Volumes) -> StoreRoutes:
        """The routes, which also tell of guests and volumes."""
        usage = DiskUsage(
            helper=self._helper,
            reach=self._reach,
            table=self._tables.images,
            roster=roster,
            volumes=volumes,
            limit=self._limit,
        )
        return StoreRoutes(
            usage=usage, prune=self._prune, check=self._check, table=self._tables.store
        )
