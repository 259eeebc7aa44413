"""The one file that knows every class: makes the use cases and gives each what it names.

Nothing is decided here, and nothing outside this file constructs a use case.
"""

from __future__ import annotations

from aiohttp import web

from wirt.aio import Nursery
from wirt.api.http.app import Noun, application
from wirt.api.native.archive import ArchiveRoutes
from wirt.api.native.build import BuildRoutes
from wirt.api.native.build_agents import BuildAgentRoutes
from wirt.api.native.build_cache import BuildCacheRoutes
from wirt.api.native.build_credentials import BuildCredentialRoutes
from wirt.api.native.changes import ChangeRoutes
from wirt.api.native.guests import GuestRoutes
from wirt.api.native.images import ImageRoutes
from wirt.api.native.life import LifeRoutes
from wirt.api.native.networks import NetworkRoutes
from wirt.api.native.observe import ObserveRoutes
from wirt.api.native.registry import RegistryRoutes
from wirt.api.native.remote import RemoteRoutes
from wirt.api.native.streams import ExecRoutes, StreamRoutes
from wirt.api.native.system import SystemRoutes
from wirt.api.native.volumes import VolumeRoutes
from wirt.daemon.claimparts import ClaimParts
from wirt.daemon.config import Config
from wirt.daemon.engines import make_engines
from wirt.daemon.governparts import GovernParts
from wirt.daemon.netparts import Nets
from wirt.daemon.registry import RegistryParts
from wirt.daemon.storeparts import StoreParts, Tables
from wirt.host.adopt import Adopt, Revive
from wirt.host.archive import Archive
from wirt.host.attach import Attach
from wirt.host.build.bases import Bases
from wirt.host.build.build import Build
from wirt.host.build.exchange import Exchange
from wirt.host.build.fetch import Fetch
from wirt.host.build.finish import Finish as FinishBuild
from wirt.host.build.ground import BuildGround
from wirt.host.build.kept import KeptFetches
from wirt.host.build.output import Outputs
from wirt.host.build.remote_cache import RemoteCache
from wirt.host.build.repositories import Repositories
from wirt.host.build.roots import BuildRoots
from wirt.host.build.runner import Steps
from wirt.host.build.stock import Stock
from wirt.host.build.visitors import Agents
from wirt.host.build.wallets import Wallets
from wirt.host.build.works import Works
from wirt.host.changes import Changes
from wirt.host.commit import Commit
from wirt.host.create import Create
from wirt.host.doctor import Doctor
from wirt.host.download import Downloads
from wirt.host.events import Bus
from wirt.host.execute import Execute
from wirt.host.finish import Finish
from wirt.host.governing.policy import Policies
from wirt.host.health import Health
from wirt.host.images import Images
from wirt.host.import_image import ImportImage
from wirt.host.inspect import Inspect
from wirt.host.launch import Launch, Plans
from wirt.host.layers import Layers
from wirt.host.load import LoadImages
from wirt.host.logs import Logs
from wirt.host.look import Look
from wirt.host.pipe import Pipes
from wirt.host.prepare import Prepare
from wirt.host.pull import Pull
from wirt.host.push import Push
from wirt.host.registries import Registries
from wirt.host.registry.own import OwnRegistry
from wirt.host.remove import Remove
from wirt.host.roots import ImageRoots, Reach
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.save import SaveImages
from wirt.host.stats import Stats
from wirt.host.stop import Signals, Stop
from wirt.host.sweep import SweepUp
from wirt.host.unpack import Unpack
from wirt.host.update import Update
from wirt.host.volumes import Volumes
from wirt.host.waits import Waits
from wirt.image.budget import Budget
from wirt.image.store import BlobStore
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.guests import GuestTable
from wirt.state.volumes import VolumeTable


class Ground:
    """What all use cases stand on: database, helper, events, guests, engines."""

    def __init__(self, config: Config) -> None:
        self.layout = config.layout
        self.registries = config.registries
        self.max_disk, self.max_cache = config.max_disk, config.max_cache
        self.nursery = Nursery("wirtd")
        self.db = Database(config.layout.database)
        self.helper = Helper(config.layout.helper_socket)
        self.bus = Bus(EventTable(self.db), self.nursery)
        self.roster = Roster(GuestTable(self.db))
        self.engines = make_engines(config, self.helper)
        self.claims = ClaimParts(
            db=self.db, roster=self.roster, engines=self.engines, bus=self.bus, helper=self.helper,
            policies=Policies(config.governor, config.layout.policy),
            places=config.layout.on_disks,
        )  # fmt: skip
        self.running = Running(config.layout, self.engines)
        self.governing = GovernParts(
            layout=config.layout, claims=self.claims, roster=self.roster, running=self.running,
            helper=self.helper, nursery=self.nursery, bus=self.bus,
        )  # fmt: skip
        self.waits = Waits()
        self.attach = Attach(self.roster, self.running)
        self.doctor = Doctor(
            layout=config.layout, guest_dir=config.guest_dir, native=config.keeper.parent
        )


class Files:
    """Images and volumes."""

    def __init__(self, ground: Ground) -> None:
        self.pipes = Pipes()
        self.budget = Budget(ground.max_disk)
        self.store = BlobStore(ground.layout.blobs, ground.layout.uploads, budget=self.budget)
        tables = Tables(ground.db)
        self.table, self.manifests, self.build_cache = (
            tables.images,
            tables.manifests,
            tables.builds,
        )
        table = self.table
        self.reach = Reach(self.manifests, [ImageRoots(table), BuildRoots(self.build_cache)])
        self.layers = layers = Layers(
            ground.helper, self.store, self.reach, tables.uses, budget=self.budget
        )
        unpack = Unpack(layers, table)
        self.images = Images(self.pipes, self.store, layers, unpack, table, ground.bus)
        self.parts = StoreParts(
            helper=ground.helper, store=self.store, layers=layers, images=self.images,
            tables=tables, max_cache=ground.max_cache,
        )  # fmt: skip
        self.load = LoadImages(self.pipes, self.store, layers, table, ground.bus)
        self.save = SaveImages(
            self.pipes, self.store, self.images, layers, self.manifests, ground.bus
        )
        self.import_image = ImportImage(self.pipes, self.store, layers, self.load, ground.bus)
        self.registry = RegistryParts(
            db=ground.db, store=self.store, pipes=self.pipes, bus=ground.bus,
            sweep=self.images.sweep_blobs, freed=layers.ended.set,
        )  # fmt: skip
        self.reach.add(self.registry.roots)
        self.registries = Registries(ground.registries)
        self.registries.own = OwnRegistry(
            mark=self.registry.mark, adopt=self.registry.adopt,
            listeners=self.registry.listeners, manifests=self.manifests,
        )  # fmt: skip
        self.downloads = Downloads(self.pipes, self.store)
        self.pull = Pull(
            registries=self.registries, downloads=self.downloads, layers=layers,
            load=self.load, table=table, bus=ground.bus,
        )  # fmt: skip
        self.push = Push(
            registries=self.registries, images=self.images, pipes=self.pipes, store=self.store,
            table=table, manifests=self.manifests, bus=ground.bus,
        )  # fmt: skip
        volumes = VolumeTable(ground.db)
        self.volumes = Volumes(ground.helper, volumes, ground.layout, ground.bus)


class Builds:
    """Builds of images, and what runs their steps."""

    def __init__(self, ground: Ground, files: Files, nets: Nets) -> None:
        self.ground = BuildGround(
            layout=ground.layout, helper=ground.helper, engines=ground.engines,
            networks=nets.networks, pipes=files.pipes, store=files.store, layers=files.layers,
        )  # fmt: skip
        self.caches = files.parts.build_caches
        self.steps = Steps(self.ground, self.caches)
        self.agents, self.wallets = Agents(), Wallets()
        stock = Stock(
            pipes=files.pipes, store=files.store, table=files.build_cache, caches=self.caches
        )
        self.exchange = Exchange(pipes=files.pipes, store=files.store, stock=stock)
        self.remote_cache = RemoteCache(
            registries=files.registries, downloads=files.downloads, push=files.push,
            pipes=files.pipes, store=files.store, layers=files.layers, stock=stock,
        )  # fmt: skip
        kept = KeptFetches(store=files.store, table=files.build_cache, layers=files.layers)
        works = Works(
            pipes=files.pipes, store=files.store, layers=files.layers, helper=ground.helper,
            cache=files.build_cache, runner=self.steps, agents=self.agents,
            wallets=self.wallets, remote=self.remote_cache,
            fetch=Fetch(
                pipes=files.pipes, store=files.store, registries=files.registries, kept=kept
            ),
            repositories=Repositories(
                pipes=files.pipes, store=files.store, uploads=ground.layout.uploads, kept=kept
            ),
        )  # fmt: skip
        self.build = Build(
            works=works,
            outputs=Outputs(works=works, images=files.images, save=files.save),
            bases=Bases(
                pipes=files.pipes, store=files.store, images=files.images, puller=files.pull
            ),
            finish=FinishBuild(
                pipes=files.pipes, store=files.store, table=files.table, load=files.load,
                bus=ground.bus,
            ),
        )  # fmt: skip

    def nouns(self) -> tuple[Noun, ...]:
        """What of the API is about builds."""
        return (
            BuildRoutes(build=self.build, steps=self.steps),
            BuildAgentRoutes(agents=self.agents),
            BuildCredentialRoutes(wallets=self.wallets),
            BuildCacheRoutes(exchange=self.exchange, remote=self.remote_cache),
        )


class Life:
    """The verbs that move a guest from creation to removal."""

    def __init__(self, ground: Ground, files: Files, nets: Nets) -> None:
        g = ground
        self.create = Create(
            roster=g.roster, engines=g.engines, images=files.images, networks=nets.networks,
            volumes=files.volumes, bus=g.bus, admit=g.claims.admit,
        )  # fmt: skip
        prepare = Prepare(
            roster=g.roster, images=files.images, networks=nets.networks, volumes=files.volumes
        )
        self.plans = Plans(prepare=prepare, engines=g.engines, helper=g.helper)
        self.health = Health(roster=g.roster, running=g.running, bus=g.bus, nursery=g.nursery)
        self.launch = Launch(
            roster=g.roster, running=g.running, plans=self.plans, attach=g.attach,
            health=self.health, bus=g.bus, waits=g.waits,
        )  # fmt: skip
        self.remove = Remove(
            roster=g.roster, running=g.running, helper=g.helper, bus=g.bus, waits=g.waits,
            holders=(g.attach, files.images, files.volumes, nets.networks),
        )  # fmt: skip
        self.finish = Finish(
            layout=g.layout, roster=g.roster, running=g.running, helper=g.helper, bus=g.bus,
            waits=g.waits, nursery=g.nursery,
        )  # fmt: skip
        self.revive = Revive(roster=g.roster, launch=self.launch, nursery=g.nursery)
        self.finish.remove = lambda guest, _: self.remove.remove(guest)
        self.launch.discard = self.remove.remove
        self.launch.admit = g.claims.admit.start
        self.launch.fence = g.governing.governor.newcomers.starting
        self.launch.shape = g.claims.shaping.starting
        self.finish.start_again = self.revive.later
        self.signals = Signals(
            roster=g.roster, running=g.running, helper=g.helper, finish=self.finish, bus=g.bus
        )
        self.remove.take_down = self.signals.take_down
        self.stop = Stop(
            roster=g.roster, signals=self.signals, launch=self.launch, bus=g.bus,
            admit=g.claims.admit,
        )  # fmt: skip
        self.adopt = Adopt(
            layout=g.layout, roster=g.roster, running=g.running, finish=self.finish,
            remove=self.remove, helper=g.helper, health=self.health,
        )  # fmt: skip
        self.sweep = SweepUp(
            roster=g.roster, running=g.running, adopt=self.adopt, images=files.images,
            volumes=files.volumes, helper=g.helper,
        )  # fmt: skip


class Daemon:
    """Everything, made in order; opened, begun and closed by ``daemon/main.py``."""

    def __init__(self, config: Config) -> None:
        self._ground = Ground(config)
        self._files = Files(self._ground)
        self._nets = Nets(
            layout=config.layout, db=self._ground.db, helper=self._ground.helper,
            roster=self._ground.roster, nursery=self._ground.nursery, bus=self._ground.bus,
        )  # fmt: skip
        self._life = Life(self._ground, self._files, self._nets)
        self._builds = Builds(self._ground, self._files, self._nets)

    async def open(self) -> None:
        """Put the world right before anybody is answered: adopt, then sweep."""
        ground = self._ground
        await self._files.pipes.call(self._files.store.open_store)
        await ground.db.open()
        await ground.bus.open()
        await ground.roster.open()
        await ground.claims.groups.open()
        await ground.claims.boosting.open()
        await self._nets.networks.open()
        await self._life.adopt.adopt_all()
        await self._life.sweep.sweep()
        await ground.claims.shaping.open()
        await self._files.parts.collect.open()
        await self._files.registry.listeners.open()

    def begin(self) -> None:
        """Start the guests that should be up; called once requests are answered."""
        self._life.adopt.go_on(self._ground.nursery)
        self._life.revive.all()
        shaping = self._ground.claims.shaping
        self._ground.nursery.start(shaping.keep_up(self._ground.bus), name="hear of traffic")
        self._ground.nursery.start(shaping.keep_on(), name="shape traffic")
        self._files.parts.begin(self._ground.nursery, self._files.registry.uploads.expire)
        self._ground.governing.begin(self._ground.nursery)
        self._ground.bus.publish("daemon", "start", self._ground.layout.name)

    def application(self) -> web.Application:
        """The HTTP application over all use cases."""
        return application(self._nouns(), wake=self._ground.governing.wake)

    def _nouns(self) -> tuple[Noun, ...]:
        g, files, life = self._ground, self._files, self._life
        update = Update(
            roster=g.roster, running=g.running, engines=g.engines, bus=g.bus,
            admit=g.claims.admit,
        )  # fmt: skip
        inspect = Inspect(layout=g.layout, running=g.running, images=files.images, plans=life.plans)
        return (
            GuestRoutes(
                roster=g.roster, create=life.create, remove=life.remove, update=update,
                inspect=inspect,
            ),
            LifeRoutes(
                roster=g.roster, launch=life.launch, stop=life.stop, signals=life.signals,
                waits=g.waits,
            ),
            StreamRoutes(
                roster=g.roster, running=g.running, attach=g.attach,
                logs=Logs(layout=g.layout, running=g.running),
            ),
            ExecRoutes(
                roster=g.roster, execute=Execute(roster=g.roster, running=g.running, bus=g.bus)
            ),
            ObserveRoutes(
                roster=g.roster, running=g.running, bus=g.bus,
                stats=Stats(roster=g.roster, running=g.running, insight=g.governing.insight),
            ),
            SystemRoutes(layout=g.layout, roster=g.roster, doctor=g.doctor),
            ImageRoutes(
                images=files.images, load=files.load, save=files.save, importer=files.import_image
            ),
            *self._builds.nouns(),
            RemoteRoutes(
                pull=files.pull, push=files.push, look=Look(files.registries)
            ),
            VolumeRoutes(volumes=files.volumes),
            g.claims.routes(), *g.governing.routes(),
            files.parts.routes(g.roster, files.volumes),
            ArchiveRoutes(
                guests=g.roster,
                archive=Archive(
                    helper=g.helper, pipes=files.pipes, images=files.images, volumes=files.volumes,
                    running=g.running, locks=g.roster.locks,
                ),
            ),
            RegistryRoutes(
                listeners=files.registry.listeners, manifests=files.registry.manifests,
                collect=files.registry.collect,
            ),
            ChangeRoutes(
                guests=g.roster,
                changes=Changes(g.helper, files.images, files.pipes, g.running),
                commit=Commit(
                    self._builds.ground, files.images, files.load, life.signals, g.bus, g.running
                ),
            ),
            NetworkRoutes(
                networks=self._nets.networks, plug=self._nets.plug, guests=g.roster
            ),
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of everything; guests go on."""
        await self._files.registry.close()
        await self._ground.nursery.close()
        await self._nets.networks.close()
        for guest_id in self._ground.running.ids():
            await self._ground.running.drop(guest_id)
        await self._files.registries.close()
        self._files.pipes.close()
        await self._ground.helper.close()
        await self._ground.db.close()
