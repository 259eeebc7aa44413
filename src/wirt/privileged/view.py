"""Entering a guest's files as the guest sees them: the ``enter`` functions for the jail.

A running guest is entered through ``/proc/PID/root`` of its first process, so its volumes and
tmpfs are there and the kernel resolves every link inside its root. The files of one that does not
run are mounted for the moment, in a mount namespace that ends with the child.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wirt.errors import Conflict, NotFound
from wirt.layout import Layout
from wirt.linux import libc
from wirt.model.names import is_id
from wirt.privileged import userns
from wirt.privileged.overlay import mount_overlay, pivot_into, private_mounts
from wirt.privileged.paths import layer_diffs, volume_path
from wirt.privileged.protocol import TreeSource
from wirt.privileged.rootfs import make_upper
from wirt.privileged.stubs import Point, Stubs

_FLAGS = libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """``enter`` for :func:`wirt.privileged.jail.run` and the descriptors that it needs."""

    enter: Callable[[], None]
    keep: tuple[int, ...] = ()


def places(layout: Layout) -> tuple[Path, Path, Path]:
    """Root's own empty directories, on which guests' files are mounted for a moment: the files,
    layers with other owners, and mount points that are in no layer."""
    return layout.run / "view", layout.run / "view-ids", layout.run / "view-stubs"


def ready_places(layout: Layout) -> tuple[Path, Path, Path]:
    """The same, and they are there: where there is a helper, it made them."""
    for place in places(layout):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return places(layout)


@dataclass(slots=True)
class Views:
    """Opens views; a context manager that closes what they hold. ``mounts``: an empty directory
    to mount on (in a private namespace)."""

    layout: Layout
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Views:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def open(self, source: TreeSource, *, write: bool) -> View:
        """The view of a guest (running or not) or of plain layers.

        Raises NotFound for layers that are gone, Conflict for writing to plain layers.
        """
        if source.guest:
            if not is_id(source.guest):
                raise NotFound(f"no such guest: {source.guest[:80]}")
            running = self._running(source.guest)
            if running is not None:
                return running
            if source.running:
                raise Conflict(
                    "the guest ended meanwhile", hint="try again", code="guest.not-running"
                )
        elif write:
            raise Conflict("an image cannot be written to", code="image.read-only")
        return self._stopped(source, write=write)

    def _keep(self, fd: int) -> int:
        self._stack.callback(os.close, fd)
        return fd

    # --- running ----------------------------------------------------------------------------

    def _running(self, guest: str) -> View | None:
        """Through the first process of the guest; None when it does not run."""
        flags = os.O_PATH | os.O_DIRECTORY
        try:
            pid = int((self.layout.guest_run(guest) / "pid").read_text())
            process = self._keep(os.open(f"/proc/{pid}", flags))
            if not self._belongs(process, guest):
                return None
            root = self._keep(os.open("root", flags, dir_fd=process))
            users = self._keep(os.open("ns/user", os.O_RDONLY, dir_fd=process))
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        foreign = os.fstat(users).st_ino != Path("/proc/self/ns/user").stat().st_ino

        def enter() -> None:
            os.fchdir(root)
            os.chroot(".")
            os.chdir("/")
            if foreign:
                become_root_of(users)
            os.close(root)
            os.close(users)
            os.close(process)

        return View(enter=enter, keep=(root, users, process))

    def _belongs(self, process: int, guest: str) -> bool:
        """Whether this is not another process that got the same number."""
        fd = os.open("cgroup", os.O_RDONLY, dir_fd=process)
        with os.fdopen(fd, "rb") as file:
            return guest.encode() in file.read(65_536)

    # --- stopped ----------------------------------------------------------------------------

    def _stopped(self, source: TreeSource, *, write: bool) -> View:
        layers = layer_diffs(self.layout, source.layers)
        upper = None
        if source.guest:
            state = self.layout.guest_state(source.guest)
            upper = state / "upper"
            if write:
                state.mkdir(mode=0o711, exist_ok=True)
                make_upper(state, layers, source.idmap or 0)
        users = None
        if source.idmap is not None:
            users = self._keep(userns.make(source.idmap, network=False).user)
        spot, ids, stubs = ready_places(self.layout)
        mounts = _Mounts(
            spot=spot,
            ids=ids,
            stubs=Stubs(spot, stubs, owner=source.idmap or 0),
            state=self.layout.state,
            layers=layers,
            upper=upper if upper is not None and upper.is_dir() else None,
            binds=[(self._bind_source(name), target, ro) for name, target, ro in source.binds],
            users=users,
        )
        return View(
            enter=mounts.enter_to_write if write else mounts.enter_to_read,
            keep=() if users is None else (users,),
        )

    def _bind_source(self, name: str) -> Path:
        if name.startswith("/"):
            return Path(name)
        return volume_path(self.layout, name) / "_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mounts:
    """The files of a guest that does not run. ``spot`` and ``ids``: empty directories to mount on.
    ``stubs``: make places for binds that the image does not have, as a start does.
    ``users``: a user namespace like the guest's private one; its own layer is numbered so already,
    the image's layers and the volumes below ``state`` are shown so."""

    spot: Path
    ids: Path
    stubs: Stubs
    state: Path
    layers: list[Path]
    upper: Path | None
    binds: list[tuple[Path, str, bool]]
    users: int | None

    def enter_to_read(self) -> None:
        """Nothing can be written, so the guest may be started meanwhile."""
        layers = self._layers()
        own = [self.upper] if self.upper is not None else []

        def mount(stubs: list[Path]) -> None:
            mount_overlay(self.spot, [*layers, *stubs, *own], flags=_FLAGS | libc.MS_RDONLY)

        self._stack(mount)
        self._finish(write=False)

    def enter_to_write(self) -> None:
        """Changes go to the guest's own layer and its volumes."""
        upper = self.upper
        assert upper is not None, "made before"
        layers, work = self._layers(), upper.with_name("work")

        def mount(stubs: list[Path]) -> None:
            mount_overlay(self.spot, [*layers, *stubs], upper=upper, work=work, flags=_FLAGS)

        self._stack(mount)
        self._finish(write=True)

    def _stack(self, mount: Callable[[list[Path]], None]) -> None:
        """The overlay; once more with a layer of missing mount points."""
        mount([])
        wanted = [Point(target=t, is_file=path.is_file()) for path, t, _ in self.binds]
        if self.stubs.make(wanted):
            for _ in ("the overlay", "the links to its layers"):
                libc.umount2(self.spot)
            mount([self.stubs.place])

    def _layers(self) -> list[Path]:
        private_mounts()
        if self.users is None:
            return list(self.layers)
        libc.mount("tmpfs", self.ids, "tmpfs", data="mode=0700")
        return self._map(self.layers, "layers")

    def _map(self, paths: list[Path], name: str) -> list[Path]:
        assert self.users is not None
        below = self.ids / name
        below.mkdir()
        return userns.map_layers(paths, self.users, below)

    def _finish(self, *, write: bool) -> None:
        for number, (path, target, read_only) in enumerate(self.binds):
            if self.users is not None and path.is_relative_to(self.state) and path.exists():
                (path,) = self._map([path], f"bind{number}")
            _bind(path, self.spot, target, read_only=read_only or not write)
        pivot_into(self.spot)
        if self.users is not None:
            become_root_of(self.users)


def become_root_of(users: int) -> None:
    """From here on owners are seen, and given, as the guest's user namespace numbers them."""
    libc.setns(users, libc.CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _bind(source: Path, root: Path, target: str, *, read_only: bool) -> None:
    """Show ``source`` at ``target``, resolved inside ``root``; not at all where nothing is."""
    try:
        with _inside(root, target) as spot:
            libc.mount(source, spot, flags=libc.MS_BIND)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return
        raise
    with _inside(root, target) as spot:  # now what is mounted there, not what it covers
        flags = _FLAGS | libc.MS_REMOUNT | libc.MS_BIND | (libc.MS_RDONLY if read_only else 0)
        libc.mount(None, spot, flags=flags)


@contextlib.contextmanager
def _inside(root: Path, target: str) -> Iterator[str]:
    """A path for mount(2) to what ``target`` is inside ``root``, whatever links are there."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        found = libc.openat2(top, target, os.O_PATH)
    finally:
        os.close(top)
    try:
        yield f"/proc/self/fd/{found}"
    finally:
        os.close(found)
