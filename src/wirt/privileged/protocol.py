"""The verbs of the root helper as typed messages. This list is closed: adding one needs a review.

A request is ``u32 length (big endian), u32 id, JSON`` on a unix stream socket; file descriptors
travel as SCM_RIGHTS with the first byte. The answer has the same id. A verb that takes long
(``slow = True``) runs in a child process of the helper, so answers may come out of order.
Every path in a message is derived from the instance's :class:`~wirt.layout.Layout` by the helper:
messages carry ids and names, never paths, except bind sources and paths inside a guest.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import msgspec

from wirt.model.network import PortMap
from wirt.model.resources import Resources
from wirt.privileged.holds import Governed, Hold, Safe, SwapDevice

A = TypeVar("A")


class Verb(
    msgspec.Struct,
    Generic[A],
    frozen=True,
    kw_only=True,
    tag_field="verb",
    forbid_unknown_fields=True,
):
    """A request whose answer is an ``A``. ``slow``: answered from a child process."""

    slow: ClassVar[bool] = False


# --- guests ---------------------------------------------------------------------------------


class LinkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A network card to make: ``veth`` into the keeper's netns, or ``tap`` handed to QEMU.

    ``address`` is CIDR; ``gateway`` empty means no default route; ``interface`` is the guest's name
    for it (containers). ``isolated`` bridge ports cannot reach each other. ``mtu`` in bytes.
    """

    bridge: str
    address: str
    mac: str
    gateway: str = ""
    interface: str = "eth0"
    mtu: int = 1500


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """The container's root: layers (chain ids, base first) below the guest's own ``upper``.

    ``idmap``: first host uid and gid of a private user namespace of 65536 ids, or None.
    ``volatile``: nothing of ``upper`` need survive a power cut.
    """

    layers: tuple[str, ...]
    idmap: int | None = None
    volatile: bool = False


class VolumeFill(msgspec.Struct, frozen=True, kw_only=True):
    """Fill an empty volume from the image's directory at ``target`` before the start."""

    volume: str
    target: str


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Files given to a machine by virtiofs under ``tag``; volume name or bind source.

    ``file``: the source is a file, shown as ``it`` in a directory of its own. ``prepared``: number
    of the plan's source that is shown so instead, a directory or a file. ``make``: make a missing
    source as a directory.
    """

    tag: str
    volume: str = ""
    source: str = ""
    prepared: int | None = None
    read_only: bool = False
    file: bool = False
    make: bool = False


class StepSource(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of a build sees somewhere; the helper makes it ``<run>/g/<id>/step/<number>``.

    Exactly one of ``layers`` (with ``source``, a path inside them; ``writable``: what is written
    is thrown away with the guest), ``cache`` (a name; ``key``: what the user calls it; filled
    from ``layers`` when new), ``secret`` and ``socket`` (its name among the daemon's uploads).
    ``mode``, ``uid``, ``gid``: of the secret, the socket, or the root of a new cache.
    ``own``: the secret belongs to the step's user instead.
    """

    layers: tuple[str, ...] = ()
    source: str = "/"
    writable: bool = False
    cache: str = ""
    key: str = ""
    secret: bytes | None = None
    socket: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    own: bool = False


class ContainerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a container.

    ``config``: the OCI ``config.json`` as text; the helper fills in ``process.user`` from ``user``
    (docker's ``USER[:GROUP]`` form, looked up in the container's own passwd and group files), and
    ``HOME`` when the environment has none. ``binds_to_make``: missing bind sources to create.
    ``sources``: of a step of a build, whose ``config`` names their places.
    ``filtered``: it has a filter of system calls, which further processes get too.
    """

    config: str
    overlay: Overlay
    user: str = ""
    fills: tuple[VolumeFill, ...] = ()
    binds_to_make: tuple[str, ...] = ()
    sources: tuple[StepSource, ...] = ()
    filtered: bool = True


class MachinePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a microVM or VM.

    ``argv``: QEMU's arguments without the program, in which ``{agent}``, ``{qmp}``, ``{tap0}``...,
    ``{fs0}``... stand for descriptor numbers, ``{kernel}``, ``{initrd}``, ``{root}`` (the image's
    erofs) and ``{disk}`` (the guest's own) for files. ``agent_config``: the CONFIG record for the
    agent (see ``docs/reference/keeper-protocol.md``), base64. ``disk_size``: bytes, made when
    missing. ``shares``: one virtiofsd each. ``layers``: the image's, for ``fills`` only.
    ``sources``: of a step of a build, for ``shares``; a machine is given no secret and no socket
    in this way.
    """

    argv: tuple[str, ...]
    image_id: str
    agent_config: str
    disk_size: int
    shares: tuple[Share, ...] = ()
    fills: tuple[VolumeFill, ...] = ()
    layers: tuple[str, ...] = ()
    sources: tuple[StepSource, ...] = ()
    kvm: bool = False


class LaunchGuest(Verb["Launched"], frozen=True, kw_only=True, tag="launch"):
    """Make all kernel objects of a guest and start its keeper, which waits for START.

    Exactly one of ``container`` and ``machine`` is set. ``network``: ``private``, ``host`` or
    ``guest:<id>``. ``files``: contents of ``hosts``, ``hostname`` and ``resolv.conf``.
    ``ports``: reserved by listening sockets that the keeper inherits, then published in nft.
    Answer: :class:`Launched` with one descriptor, the keeper's pidfd. On failure everything made
    so far is undone.
    """

    slow: ClassVar[bool] = True
    id: str
    tty: bool
    stdin: bool
    stdin_once: bool
    network: str
    log_size: int
    log_files: int
    links: tuple[LinkPlan, ...] = ()
    ports: tuple[PortMap, ...] = ()
    files: dict[str, str] = {}
    resources: Resources = Resources()
    container: ContainerPlan | None = None
    machine: MachinePlan | None = None
    plan: str = ""


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """``keeper_start``: field 22 of /proc/PID/stat. ``ports`` are those really reserved.

    ``uid``/``gid``: what ``user`` was resolved to (containers).
    """

    keeper_pid: int
    keeper_start: int
    ports: tuple[PortMap, ...] = ()
    uid: int = 0
    gid: int = 0


class KillGuest(Verb["Done"], frozen=True, kw_only=True, tag="kill"):
    """SIGKILL everything in the guest's cgroup; with ``keeper`` the keeper too. Idempotent."""

    slow: ClassVar[bool] = True
    id: str
    keeper: bool = False


class FreezeGuest(Verb["Done"], frozen=True, kw_only=True, tag="freeze"):
    """Freeze or thaw all processes of a guest (cgroup freezer). ``asleep``: it stays frozen only
    if it is watched, see :class:`WatchTraffic`, and may have been woken before it stood still."""

    slow: ClassVar[bool] = True
    id: str
    frozen: bool
    asleep: bool = False


class LimitGuest(Verb["Done"], frozen=True, kw_only=True, tag="limit"):
    """Write new limits into a running guest's cgroup. None leaves a value as it is."""

    slow: ClassVar[bool] = True
    id: str
    resources: Resources
    machine: bool = False


class ReleaseGuest(Verb["Done"], frozen=True, kw_only=True, tag="release"):
    """Remove all that exists only while a guest runs. Idempotent; kills what is left first."""

    slow: ClassVar[bool] = True
    id: str


class ForgetGuest(Verb["Done"], frozen=True, kw_only=True, tag="forget"):
    """Release, then delete the guest's state, whose files may go after the answer. Idempotent."""

    slow: ClassVar[bool] = True
    id: str


class ConnectGuest(Verb["Done"], frozen=True, kw_only=True, tag="connect"):
    """Give a running container one more network card."""

    slow: ClassVar[bool] = True
    id: str
    link: LinkPlan


class DisconnectGuest(Verb["Done"], frozen=True, kw_only=True, tag="disconnect"):
    """Take a network card away from a running container.

    ``gateway``: by which it goes out from then on, if the card was its way out; empty: no way.
    """

    slow: ClassVar[bool] = True
    id: str
    interface: str
    gateway: str = ""


class UpdateFiles(Verb["Done"], frozen=True, kw_only=True, tag="files"):
    """Rewrite a guest's ``hosts``, ``hostname`` or ``resolv.conf`` in place."""

    id: str
    files: dict[str, str]


class ResolveUser(Verb["ResolvedUser"], frozen=True, kw_only=True, tag="user"):
    """Look up ``USER[:GROUP]`` in a running container. Answer: :class:`ResolvedUser`."""

    slow: ClassVar[bool] = True
    id: str
    user: str


class ResolvedUser(msgspec.Struct, frozen=True, kw_only=True):
    """Numeric ids, supplementary groups and home directory of a user."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class ListProcesses(Verb["Processes"], frozen=True, kw_only=True, tag="processes"):
    """The host pids in a guest's cgroup. Answer: :class:`Processes`."""

    id: str


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """Host pids."""

    pids: tuple[int, ...]


# --- the governor ---------------------------------------------------------------------------


class Govern(Verb[Governed], frozen=True, kw_only=True, tag="govern"):
    """The governor's quick writes, in order, and its sign of life. Answer: :class:`Governed`.

    A limit below what the guest holds is not written: :class:`Squeeze` is for that.
    ``safe``: what the helper writes by itself when no sign of life has come for 10 seconds (4 after
    a connection ended); None: as before; empty: nothing, nobody is governed.
    """

    holds: tuple[Hold, ...] = ()
    safe: tuple[Safe, ...] | None = None


class Squeeze(Verb[Governed], frozen=True, kw_only=True, tag="squeeze"):
    """Take memory back until each guest holds at most its ``limit``, in bites, as far as that goes.

    Answer: :class:`Governed`.
    """

    slow: ClassVar[bool] = True
    holds: tuple[Hold, ...]


class WatchMemory(Verb["Done"], frozen=True, kw_only=True, tag="watch-memory"):
    """Answer: one descriptor that tells when the guest stands still for want of memory: an eventfd,
    or a trigger of version 2 (``pressure.py``). ``id`` empty: a trigger for the whole host."""

    id: str


class WatchTraffic(Verb["Done"], frozen=True, kw_only=True, tag="watch-traffic"):
    """Thaw a guest when a frame for it comes (see ``sleepers.py``); ``on`` False: no more. Answer:
    one descriptor, out of which a :class:`~wirt.privileged.holds.Woken` comes. ``typed``: also when
    something comes for its standard input; Unsupported when its keeper would not tell."""

    id: str
    on: bool = True
    typed: bool = False


class SetPool(Verb["Done"], frozen=True, kw_only=True, tag="set-pool"):
    """Limit all guests of this instance together: thousandths of a core, bytes; 0 for no limit."""

    slow: ClassVar[bool] = True
    cpu_millis: int = 0
    memory: int = 0


class SetSwap(Verb[SwapDevice], frozen=True, kw_only=True, tag="set-swap"):
    """Have ``size`` bytes of compressed memory as swap, 0 for none. Idempotent."""

    slow: ClassVar[bool] = True
    size: int = 0


# --- images, trees, volumes -----------------------------------------------------------------


class ApplyLayer(Verb["AppliedLayer"], frozen=True, kw_only=True, tag="apply-layer"):
    """Unpack one layer as ``chain_id`` on top of ``parents`` (chain ids, base first).

    Descriptor 0: the blob, compressed or not (recognised by content). Runs chrooted, with few
    capabilities and limits: ``max_bytes`` of contents and ``max_entries`` of the unpacked layer
    (Invalid), and ``max_disk``: what it may take on the disk (Exhausted, ``layer.no-room``).
    Answer: :class:`AppliedLayer`; nothing is left behind on failure. Already there: success.
    ``expected``: diff id the uncompressed bytes must have, or empty.
    """

    slow: ClassVar[bool] = True
    chain_id: str
    parents: tuple[str, ...]
    expected: str
    max_bytes: int
    max_entries: int
    max_disk: int = 2**62


class AppliedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """``size``: bytes of file contents; ``entries``: number of tar members. ``disk``: bytes that
    it takes on the disk, 0 when that was not measured."""

    diff_id: str
    size: int
    entries: int
    disk: int = 0


class PackChanges(Verb["PackedChanges"], frozen=True, kw_only=True, tag="pack-changes"):
    """Write what a container changed as an image layer, an uncompressed tar, into descriptor 0.

    ``layers`` and ``idmap``: what it was made from. ``epoch``: Unix seconds that no time in the
    archive exceeds. More than ``max_bytes`` of contents or ``max_entries`` is Invalid.
    ``adopt``: afterwards its writable layer *is* the unpacked layer (it must not run); the guest
    can only be forgotten then. Answer: :class:`PackedChanges`.
    """

    slow: ClassVar[bool] = True
    id: str
    layers: tuple[str, ...]
    idmap: int | None = None
    epoch: int | None = None
    max_bytes: int
    max_entries: int
    adopt: bool = False


class PackedChanges(msgspec.Struct, frozen=True, kw_only=True):
    """``size`` and ``entries`` as in :class:`AppliedLayer`. ``exact``: the archive says all there
    is. ``chain_id``: of the unpacked layer, or empty when it was not, or could not be, adopted.
    ``disk``: bytes that a layer takes which was not there before.
    """

    diff_id: str
    size: int
    entries: int
    exact: bool
    chain_id: str = ""
    disk: int = 0


class ListChanges(Verb["Done"], frozen=True, kw_only=True, tag="list-changes"):
    """Write into descriptor 0 what differs, a JSON list ``[kind, path, size, before]`` a line.

    Of a container ``id`` made from ``layers``, or, when ``id`` is empty, of the image ``other``
    against that of ``layers``. ``kind``: ``A``, ``C`` or ``D``; sizes are bytes of regular files.
    """

    slow: ClassVar[bool] = True
    id: str = ""
    layers: tuple[str, ...]
    other: tuple[str, ...] = ()
    idmap: int | None = None


class ExportTree(Verb["Done"], frozen=True, kw_only=True, tag="export-tree"):
    """Write the root file system of a container (running or not), without what is mounted into
    it, as a tar stream into descriptor 0."""

    slow: ClassVar[bool] = True
    id: str
    layers: tuple[str, ...]
    idmap: int | None = None


class DropLayers(Verb["Done"], frozen=True, kw_only=True, tag="drop-layers"):
    """Delete unpacked layers and image disks that nothing uses. Idempotent."""

    slow: ClassVar[bool] = True
    chain_ids: tuple[str, ...] = ()
    image_ids: tuple[str, ...] = ()


class MakeImageDisk(Verb["ImageDisk"], frozen=True, kw_only=True, tag="image-disk"):
    """Make ``disks/<image id>.erofs`` (lz4) of an image's layers. Already there: success."""

    slow: ClassVar[bool] = True
    image_id: str
    layers: tuple[str, ...]


class ImageDisk(msgspec.Struct, frozen=True, kw_only=True):
    """``size``: bytes that it takes on the disk."""

    size: int


class ListStore(Verb["StoreList"], frozen=True, kw_only=True, tag="list-store"):
    """The unpacked layers and the disks that are there. Answer: :class:`StoreList`."""

    slow: ClassVar[bool] = True


class StoreList(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on disk by chain id and by image id; ``broken``: chain ids of what is no whole layer.
    ``scratch``: bytes of what is being made."""

    layers: dict[str, int]
    disks: dict[str, int]
    broken: tuple[str, ...] = ()
    scratch: int = 0


class TreeSource(msgspec.Struct, frozen=True, kw_only=True):
    """Whose files: a guest (running or not) as it sees them, with its volumes, or plain layers.

    ``running``: only through the guest's processes. ``idmap`` (as :class:`Overlay`) and ``binds``
    (volume name or host path, target, read-only) are for a guest that does not run.
    """

    guest: str = ""
    running: bool = False
    idmap: int | None = None
    layers: tuple[str, ...] = ()
    binds: tuple[tuple[str, str, bool], ...] = ()


class ReadTree(Verb["Done"], frozen=True, kw_only=True, tag="read-tree"):
    """Write ``path`` as a tar stream into descriptor 0 (docker's archive semantics)."""

    slow: ClassVar[bool] = True
    source: TreeSource
    path: str


class WriteTree(Verb["Done"], frozen=True, kw_only=True, tag="write-tree"):
    """Unpack the tar stream of descriptor 0 into the directory ``path``.

    ``no_overwrite_dir_non_dir``: a directory may not replace a non-directory, nor the reverse.
    ``copy_uid_gid``: keep the archive's owners; otherwise everything belongs to the guest's root.
    """

    slow: ClassVar[bool] = True
    source: TreeSource
    path: str
    no_overwrite_dir_non_dir: bool = False
    copy_uid_gid: bool = False


class StatTree(Verb["TreeStat"], frozen=True, kw_only=True, tag="stat-tree"):
    """lstat of a path as the guest sees it. Answer: :class:`TreeStat`."""

    slow: ClassVar[bool] = True
    source: TreeSource
    path: str


class TreeStat(msgspec.Struct, frozen=True, kw_only=True):
    """``mode``: st_mode; ``mtime``: Unix nanoseconds; ``link_target``: empty unless a symlink."""

    name: str
    size: int
    mode: int
    mtime: int
    link_target: str = ""


class LookAtTarget(Verb["Target"], frozen=True, kw_only=True, tag="look-at-target"):
    """What plain layers have where a COPY goes. ``path``: the destination, links followed inside.

    ``directories`` and ``others``: paths below it where directories and other files shall be.
    ``owner``: docker's ``USER[:GROUP]`` to look up, or empty. Answer: :class:`Target`.
    """

    slow: ClassVar[bool] = True
    layers: tuple[str, ...]
    path: str
    directories: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    owner: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """``path``: without links. ``kind``: ``missing``, ``directory`` or ``other``. ``above``: how
    many of its components are there. ``existing``: which of ``directories``, by number.
    ``blocked``: numbers of ``directories`` where something else is, ``covered``: of ``others``
    where a directory is.
    """

    path: str
    kind: str
    above: int
    existing: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    covered: tuple[int, ...] = ()
    uid: int = 0
    gid: int = 0


class LookAtPaths(Verb["HostPaths"], frozen=True, kw_only=True, tag="look-at-paths"):
    """What bind sources are; the daemon's user may not see them."""

    slow: ClassVar[bool] = True
    paths: tuple[str, ...]


class HostPaths(msgspec.Struct, frozen=True, kw_only=True):
    """By path as asked: ``missing``, ``directory`` or ``file``, links followed."""

    paths: dict[str, str]


class TreeUsage(Verb["Usages"], frozen=True, kw_only=True, tag="tree-usage"):
    """Bytes on disk of volumes, layers and guests' own layers. Answer: :class:`Usages`."""

    slow: ClassVar[bool] = True
    volumes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()


class Usages(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes by name; -1 for what is not there."""

    volumes: dict[str, int] = {}
    layers: dict[str, int] = {}
    guests: dict[str, int] = {}


class MeasureState(Verb["StateUsage"], frozen=True, kw_only=True, tag="measure-state"):
    """What the state directory takes on the disk. Answer: :class:`StateUsage`."""

    slow: ClassVar[bool] = True


class StateUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes by the name of the file or directory, as du(1) counts them; ``blobs`` by
    ``algorithm/hex``. ``rest``: all that is nowhere else, the directories themselves too."""

    layers: dict[str, int] = {}
    disks: dict[str, int] = {}
    guests: dict[str, int] = {}
    volumes: dict[str, int] = {}
    caches: dict[str, int] = {}
    blobs: dict[str, int] = {}
    uploads: dict[str, int] = {}
    rest: int = 0


class CompareLayer(Verb["ComparedLayer"], frozen=True, kw_only=True, tag="compare-layer"):
    """Unpack a layer's blob (descriptor 0) again and compare; as :class:`ApplyLayer`."""

    slow: ClassVar[bool] = True
    chain_id: str
    parents: tuple[str, ...]
    expected: str
    max_bytes: int
    max_entries: int


class ComparedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """``difference``: the first one, for people; empty when the layer is as its blob says."""

    difference: str = ""


class MakeVolume(Verb["Done"], frozen=True, kw_only=True, tag="make-volume"):
    """Make a volume's directory. Idempotent."""

    name: str


class DropVolume(Verb["Done"], frozen=True, kw_only=True, tag="drop-volume"):
    """Delete a volume with its files. Idempotent."""

    slow: ClassVar[bool] = True
    name: str


class ListCaches(Verb["Caches"], frozen=True, kw_only=True, tag="list-caches"):
    """The caches that steps of builds keep. Answer: :class:`Caches`."""

    slow: ClassVar[bool] = True


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """``key``: what the user calls it. ``size``: bytes on disk. ``used_at``: Unix nanoseconds."""

    name: str
    key: str
    size: int
    used_at: int


class Caches(msgspec.Struct, frozen=True, kw_only=True):
    """By name."""

    caches: tuple[Cache, ...]


class DropCaches(Verb["Done"], frozen=True, kw_only=True, tag="drop-caches"):
    """Delete caches that no step uses. Idempotent."""

    slow: ClassVar[bool] = True
    names: tuple[str, ...]


class ReadCache(Verb["Done"], frozen=True, kw_only=True, tag="read-cache"):
    """Write the files of a cache as a tar stream into descriptor 0."""

    slow: ClassVar[bool] = True
    name: str


class WriteCache(Verb["Done"], frozen=True, kw_only=True, tag="write-cache"):
    """Make a cache of the tar stream of descriptor 0, unless there is one of this name."""

    slow: ClassVar[bool] = True
    name: str
    key: str
    max_bytes: int
    max_entries: int


# --- networks -------------------------------------------------------------------------------


class BridgePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A network's bridge: interface name, ``address`` in CIDR form, way out or not."""

    bridge: str
    address: str
    internal: bool = False
    mtu: int = 1500


class SetNetworks(Verb["Done"], frozen=True, kw_only=True, tag="set-networks"):
    """Make exactly these bridges exist, and the nft table with its chains and empty maps.

    Published ports of running guests are put back from their run directories. Without bridges
    there is no table either: nothing is left. Idempotent.
    """

    bridges: tuple[BridgePlan, ...]


class PublishPorts(Verb["Done"], frozen=True, kw_only=True, tag="publish"):
    """Make exactly ``ports`` the published ones of a running guest, at ``address``."""

    id: str
    address: str
    ports: tuple[PortMap, ...]


class Listen(Verb["Done"], frozen=True, kw_only=True, tag="listen"):
    """Bind a UDP or TCP socket on a bridge's address (DNS). Answer: one descriptor."""

    address: str
    port: int
    udp: bool


class HostRoutes(Verb["Routes"], frozen=True, kw_only=True, tag="routes"):
    """The IPv4 networks that this host has routes to, as CIDR. Answer: :class:`Routes`."""


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """CIDR networks."""

    networks: tuple[str, ...]


class TrafficClass(msgspec.Struct, frozen=True, kw_only=True):
    """A guest's or group's part of the network, each way. ``name``: ``guest:<id>`` or
    ``group:<path>``; ``parent``: a name, or empty at the top. ``rate``: bits a second that it has
    for sure; ``ceiling``: that it never passes; ``shares``: 1 to 10000, by which what is left is
    divided among the children of one parent."""

    name: str
    parent: str = ""
    rate: int = 0
    ceiling: int
    shares: int = 1000


class ShapeTraffic(Verb["Done"], frozen=True, kw_only=True, tag="shape"):
    """Make exactly these classes exist, parents before children, and lead the cards of running
    guests into theirs. Guests without a class are free. Idempotent."""

    classes: tuple[TrafficClass, ...]


# --- the whole ------------------------------------------------------------------------------


class Sweep(Verb["Swept"], frozen=True, kw_only=True, tag="sweep"):
    """Remove every object of this instance that belongs to none of these. Answer: :class:`Swept`.

    ``running``: guests whose keeper lives; ``guests``: all that have a row; likewise the others.
    """

    slow: ClassVar[bool] = True
    running: tuple[str, ...]
    guests: tuple[str, ...]
    volumes: tuple[str, ...]
    layers: tuple[str, ...]
    images: tuple[str, ...]


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, one readable line each."""

    removed: tuple[str, ...]


class Ping(Verb["Pong"], frozen=True, kw_only=True, tag="ping"):
    """Answer: :class:`Pong`."""


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """Pid of the helper and its version."""

    pid: int
    version: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of verbs that have nothing to tell."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error: ``kind`` of :class:`wirt.errors.Kind`, or an ``errno`` with call and path."""

    kind: str
    message: str
    hint: str = ""
    code: str = ""
    errno: int = 0
