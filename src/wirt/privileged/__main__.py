"""``python -m wirt.privileged``: the root helper.

Crash-only: it makes the directories that are missing, takes over the socket and serves until it
is killed; everything else is done by verbs.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import pwd
import socket
import sys
from pathlib import Path
from typing import NoReturn

from wirt.errors import Invalid, WirtError
from wirt.layout import Layout
from wirt.linux import disks, limits
from wirt.linux.cgroup import Cgroups
from wirt.privileged import faults, registry, view
from wirt.privileged.calls import filter_program
from wirt.privileged.child import Ear
from wirt.privileged.context import Context
from wirt.privileged.deadman import Deadman
from wirt.privileged.rulewatch import RuleWatch
from wirt.privileged.server import Server
from wirt.privileged.sleepers import Sleepers

log = logging.getLogger("wirt.privileged")


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="wirt-helper", description=__doc__)
    parser.add_argument("--name", default="wirt", help="the instance's name (default: wirt)")
    parser.add_argument("--state", type=Path, required=True, help="directory that survives boots")
    parser.add_argument("--run", type=Path, required=True, help="directory on a tmpfs")
    parser.add_argument("--user", required=True, help="user (name or number) of the daemon")
    parser.add_argument("--keeper", type=Path, required=True, help="the keeper's program")
    parser.add_argument("--guest-dir", type=Path, help="kernel, initramfs and agent for machines")
    parser.add_argument("--debug", action="store_true", help="log every step")
    return parser.parse_args(argv)


def find_user(text: str) -> tuple[int, int]:
    """uid and main gid of a user given by name or number. Raises Invalid."""
    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        if text.isdecimal() and int(text) < 2**31:
            return int(text), int(text)
        raise Invalid(f"there is no user {text!r}", hint="make it with useradd --system") from None
    return entry.pw_uid, entry.pw_gid


def make_directories(layout: Layout, uid: int, gid: int) -> None:
    """Make what is missing, with the owners that ``layout`` tells. The daemon owns the top of
    both trees only where it must create files; what root trusts is root's."""
    for top in (layout.state, layout.run):
        top.mkdir(parents=True, exist_ok=True)
    root_owned = {
        layout.layers: 0o700,
        layout.disks: 0o755,
        layout.volumes: 0o700,
        layout.state / "guests": 0o711,
        layout.gone: 0o700,
        layout.run / "g": 0o711,
        layout.crun_root: 0o700,
        layout.net_run: 0o700,
        **dict.fromkeys(view.places(layout), 0o700),
    }
    for path, mode in root_owned.items():
        _make(path)
        _own(path, 0, 0, mode, trusted=True)
    for path in (layout.blobs, layout.uploads):
        _make(path)
        _own(path, uid, gid, 0o700)
    # Sticky: the daemon makes its database and socket here, but cannot rename root's directories.
    for top in (layout.state, layout.run):
        _own(top, 0, gid, 0o1771)


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)


def _own(path: Path, uid: int, gid: int, mode: int, *, trusted: bool = False) -> None:
    """Set owner and mode of a directory itself, never of what a link of the daemon's leads to.

    ``trusted``: root relies on what is in it, so nobody else may have made it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid(
            f"{path} is no directory", hint="move away what is there, then start again"
        ) from error
    try:
        if trusted and os.fstat(fd).st_uid != 0:
            raise Invalid(f"{path} is not root's", hint="move it away, then start again")
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def take_lock(layout: Layout) -> int:
    """Be the only helper of this instance. The kernel drops the lock with the process."""
    fd = os.open(layout.run / "helper.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Invalid(
            f"another helper serves {layout.run}", hint="stop it, or give another --run"
        ) from None
    return fd


def listen(path: Path, uid: int, gid: int) -> socket.socket:
    """Listen at ``path``, for the daemon's user only; what was there before is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    os.chown(path, uid, gid, follow_symlinks=False)
    listener.listen(64)
    return listener


def watches(layout: Layout, deadman: Deadman) -> tuple[Ear, ...]:
    """What is watched beside the daemon's wishes."""
    try:
        return (RuleWatch(layout), deadman)
    except OSError as error:
        log.warning("nobody watches over the rules of nftables: %s", error.strerror)
        return (deadman,)


def main(argv: list[str]) -> NoReturn:
    """Serve, or end with one sentence why not."""
    options = parse(argv)
    level = logging.DEBUG if options.debug else logging.INFO
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
    try:
        if os.geteuid() != 0:
            raise Invalid("the helper must be started by root")
        os.umask(0o022)
        uid, gid = find_user(options.user)
        layout = Layout(name=options.name, state=options.state.resolve(), run=options.run.resolve())
        make_directories(layout, uid, gid)
        lock = take_lock(layout)
        cgroups = Cgroups.detect()
        cgroups.create(layout.keeper_cgroup)
        context = Context(
            layout=layout,
            uid=uid,
            gid=gid,
            cgroups=cgroups,
            keeper=options.keeper.resolve(),
            guest_dir=options.guest_dir and options.guest_dir.resolve(),
            deadman=(deadman := Deadman(layout, cgroups)),
            sleepers=(sleepers := Sleepers(layout, cgroups)),
        )
        limits.count_disks(cgroups, layout.keeper_cgroup, disks.under(layout.on_disks))
        faults.arm()
        filter_program()  # once, for all children
        ears = (sleepers, *watches(layout, deadman))
        server = Server(context, listen(layout.helper_socket, uid, gid), registry.routes(), ears)
    except WirtError as error:
        sys.exit(f"wirt-helper: {error.message}\nhint: {error.hint or 'see the log'}")
    log.info("serving %s, lock %d", layout.helper_socket, lock)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
