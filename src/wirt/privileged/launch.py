"""Starting a guest: a forked child makes everything a guest lives in, then becomes its keeper.

The child opens what needs the host's network namespace first (port reservations, a netlink
socket, taps), then leaves for namespaces of its own. Mounts, namespaces, cards and sockets end
with it, so a crash leaves nothing but files, which :mod:`wirt.privileged.release` removes. What
cannot be found again by looking is written down before it is made.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wirt.errors import Conflict, Invalid, NotFound
from wirt.guest.frame import encode_record
from wirt.linux import libc, pidfd, procfs, spawn
from wirt.linux.cgroup import Mode
from wirt.model.network import PortMap
from wirt.privileged import (
    bridges,
    check,
    container,
    facts,
    links,
    machine,
    netstate,
    publish,
    release,
    reserve,
    tap,
    userns,
)
from wirt.privileged.context import Become, Context, Ended
from wirt.privileged.facts import Facts
from wirt.privileged.faults import fault
from wirt.privileged.netlink import Netlink
from wirt.privileged.netstate import Card, NetState
from wirt.privileged.program import Program
from wirt.privileged.protocol import Failure, Launched, LaunchGuest, LinkPlan
from wirt.privileged.userns import UserNamespace

_NAME_TRIES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What was made in the host's namespaces before leaving them."""

    netlink: Netlink
    cards: tuple[Card, ...]
    taps: tuple[int, ...]
    held: tuple[int, ...]
    ports: tuple[PortMap, ...]
    network: int | None


def launch(ctx: Context, verb: LaunchGuest, _fds: Sequence[int]) -> Become[Launched]:
    """Carry out LaunchGuest in the child that will be the keeper."""
    _check(ctx, verb)
    _begin(ctx, verb)
    user = _user_namespace(verb)  # forks, so before there are threads
    joining = ctx.cgroups.enter(ctx.layout.keeper_cgroup)
    ground = _stay(ctx, verb)
    fault("launch.leave")
    _leave(ctx, verb, ground, user)
    fault("launch.left")
    program = _prepare(ctx, verb, ground, user)
    _connect(ctx, verb, ground)
    fault("launch.connected")
    control = _listen(ctx, verb.id)
    _write_conf(ctx, verb, program, held=ground.held, control=control)
    fault("launch.conf")
    if joining is not None:
        joining.wait()
    answer = Launched(
        keeper_pid=os.getpid(),
        keeper_start=procfs.start_time(os.getpid()) or 0,
        ports=ground.ports,
        uid=program.uid,
        gid=program.gid,
    )
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    return Become(
        answer=answer,
        argv=(os.fspath(ctx.keeper), os.fspath(ctx.layout.guest_run(verb.id))),
        env=spawn.environment(),
        keep=(control, *ground.held, *program.keep),
    )


def launched(ctx: Context, verb: LaunchGuest, ended: Ended[Launched]) -> Ended[Launched]:
    """In the helper: send the keeper's pidfd along, or undo everything."""
    if isinstance(ended.answer, Failure):
        _undo(ctx, verb.id, ended.pid)
        return ended
    return Ended(pid=ended.pid, answer=ended.answer, fds=(os.pidfd_open(ended.pid),))


def _undo(ctx: Context, guest_id: str, pid: int) -> None:
    """Undo what the child ``pid`` made; a guest that was running before is not touched."""
    try:
        run = ctx.layout.guest_run(check.guest_id(guest_id))
    except Invalid:
        return
    about = facts.read(ctx.layout, guest_id)
    if run.exists() and (about is None or about.pid == pid):
        release.release_wholly(ctx, guest_id)


# --- before leaving the host's namespaces -----------------------------------------------------


def _check(ctx: Context, verb: LaunchGuest) -> None:
    check.guest_id(verb.id)
    for plan in verb.links:
        bridges.check_name(ctx.layout, plan.bridge)
    check.files(verb.files)
    if (verb.container is None) is (verb.machine is None):
        raise Invalid("a launch is for a container or for a machine")
    kind, colon, other = verb.network.partition(":")
    if kind == "guest" and colon:
        check.guest_id(other)
    elif verb.network not in {"private", "host"}:
        raise Invalid(f"unknown network {verb.network[:80]!r}")
    if verb.network != "private" and (verb.links or verb.ports):
        raise Invalid("cards and ports need a network of the guest's own")
    if verb.machine is not None and verb.network != "private":
        raise Invalid("a machine has its own network", code="machine.network")


def _begin(ctx: Context, verb: LaunchGuest) -> None:
    """Take the run directory; whoever lives there already keeps it."""
    run = ctx.layout.guest_run(verb.id)
    if run.exists():
        keeper = facts.keeper(ctx.layout, verb.id)
        if keeper is not None:
            os.close(keeper)
            raise Conflict(f"guest {verb.id[:12]} runs already", code="guest.running")
        release.release_wholly(ctx, verb.id)
    # Others may pass: the engine goes to the root as the guest's own root user.
    _own_directory(run, ctx.gid, 0o2751)
    overlay = verb.container.overlay if verb.container is not None else None
    about = Facts(
        pid=os.getpid(),
        start=procfs.start_time(os.getpid()) or 0,
        network=verb.network,
        machine=verb.machine is not None,
        idmap=None if overlay is None else overlay.idmap,
    )
    facts.write(ctx.layout, verb.id, about)
    fault("launch.begun")
    if verb.stdin:
        os.mkfifo(ctx.layout.input_pipe(verb.id), 0o600)
    state = ctx.layout.guest_state(verb.id)
    # Set-user-ID programs of a container must not be reached by users of this host.
    _own_directory(state, ctx.gid, 0o711 if about.machine else 0o710)
    _own_directory(state / "etc", 0, 0o755)
    _own_directory(state / "log", ctx.gid, 0o2750)
    write_files(ctx, verb.id, verb.files)


def _own_directory(path: Path, gid: int, mode: int) -> None:
    """Make a directory of root and the daemon's group. Set-group-ID: files get the group too."""
    path.mkdir(exist_ok=True)
    os.chown(path, 0, gid)
    path.chmod(mode)


def write_files(ctx: Context, guest_id: str, files: dict[str, str]) -> None:
    """Write managed files in place: a running guest has mounted these very inodes."""
    etc = ctx.layout.guest_state(guest_id) / "etc"
    for name, text in check.files(files).items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(etc / name, flags, 0o644)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            data = text.encode()
            file.write(data)
            file.truncate(len(data))


def _stay(ctx: Context, verb: LaunchGuest) -> Ground:
    """Everything that must be done in the host's namespaces."""
    held = reserve.reserve(verb.ports)
    fault("launch.ports")
    cards = tuple(
        Card(host=card_name(ctx, verb.id, plan.interface), link=plan) for plan in verb.links
    )
    netstate.write(ctx.layout.guest_run(verb.id), NetState(cards=cards))
    netlink = Netlink()
    taps = tuple(
        tap.open_tap(
            netlink,
            name=card.host,
            bridge=card.link.bridge,
            mtu=card.link.mtu,
            alias=ctx.layout.link_alias(verb.id),
        )
        for card in (cards if verb.machine is not None else ())
    )
    fault("launch.publish")
    if held.ports:
        address = netstate.publish_address(verb.links)
        publish.publish(ctx.layout, verb.id, address=address, ports=held.ports)
    return Ground(
        netlink=netlink,
        cards=cards,
        taps=taps,
        held=held.fds,
        ports=held.ports,
        network=_network_of(ctx, verb.network),
    )


def card_name(ctx: Context, guest_id: str, interface: str) -> str:
    """A free name for a card's host side: the instance's, ``v``, then as many digits as fit."""
    prefix = f"{ctx.layout.name}v"
    for attempt in range(_NAME_TRIES):
        seed = f"{guest_id}/{interface}/{attempt}".encode()
        name = prefix + hashlib.sha256(seed).hexdigest()[: 15 - len(prefix)]
        try:
            socket.if_nametoindex(name)
        except OSError:
            return name
    raise Conflict(f"no free interface name for guest {guest_id[:12]}")


def _network_of(ctx: Context, network: str) -> int | None:
    """The network namespace of another guest's keeper, to share it; else None."""
    kind, _, other = network.partition(":")
    if kind != "guest":
        return None
    gone = NotFound(
        f"guest {other[:12]} does not run",
        hint="start the guest whose network is to be shared first",
        code="guest.not-running",
    )
    keeper = facts.keeper(ctx.layout, other)
    about = facts.read(ctx.layout, other)
    if keeper is None or about is None:
        raise gone
    try:
        fd = os.open(f"/proc/{about.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if pidfd.ended(keeper):
            os.close(fd)
            raise gone
    except FileNotFoundError:
        raise gone from None
    finally:
        os.close(keeper)
    return fd


# --- in namespaces of its own -----------------------------------------------------------------


def _user_namespace(verb: LaunchGuest) -> UserNamespace | None:
    """The user namespace made for the guest, if it wants one."""
    if verb.container is None or verb.container.overlay.idmap is None:
        return None
    return userns.make(verb.container.overlay.idmap, network=verb.network == "private")


def _leave(ctx: Context, verb: LaunchGuest, ground: Ground, user: UserNamespace | None) -> None:
    """Enter new namespaces, of which ``user`` may hold one."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount(None, "/", flags=libc.MS_SLAVE | libc.MS_REC)
    network = ground.network if user is None or user.network is None else user.network
    if network is not None:
        libc.setns(network, libc.CLONE_NEWNET)
    elif verb.network == "private":
        libc.unshare(libc.CLONE_NEWNET)
    if verb.container is not None and ctx.cgroups.mode is Mode.HYBRID and ctx.cgroups.v2:
        # crun refuses to work where a version 2 tree with controllers lies beside version 1.
        libc.mount("tmpfs", ctx.cgroups.v2, "tmpfs", data="size=1m,mode=0755")


def _prepare(
    ctx: Context, verb: LaunchGuest, ground: Ground, user: UserNamespace | None
) -> Program:
    if verb.container is not None:
        return container.prepare(ctx, verb, user)
    return machine.prepare(ctx, verb, ground.taps)


def _connect(ctx: Context, verb: LaunchGuest, ground: Ground) -> None:
    """Bring the loopback up and give a container its cards."""
    if verb.network != "private":
        return
    if verb.container is None or not ground.cards:
        with Netlink() as inside:
            links.set_link(inside, name="lo", up=True)
        return
    for card in ground.cards:
        add_card(ctx, verb.id, ground.netlink, card)


def add_card(ctx: Context, guest_id: str, host: Netlink, card: Card) -> None:
    """Make a veth pair with its peer in this process' network namespace, and configure that.

    ``host``: a netlink socket of the host's namespace.
    """
    plan: LinkPlan = card.link
    links.add_veth(
        host,
        host=card.host,
        guest=plan.interface,
        pid=os.getpid(),
        bridge=plan.bridge,
        mac=plan.mac,
        mtu=plan.mtu,
        alias=ctx.layout.link_alias(guest_id),
    )
    fault("launch.card")
    links.configure(plan.interface, plan.address, plan.gateway)


def _listen(ctx: Context, guest_id: str) -> int:
    """The keeper's control socket: the daemon may connect as soon as it has the answer."""
    run = ctx.layout.guest_run(guest_id)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.chdir(run)  # a socket's path has at most 107 bytes
    before = os.umask(0o177)
    listener.bind("keeper.sock")
    os.umask(before)
    os.chown("keeper.sock", 0, ctx.gid)
    os.chmod("keeper.sock", 0o660)  # noqa: PTH101 - a path relative on purpose
    listener.listen(64)
    return listener.detach()


def _write_conf(
    ctx: Context, verb: LaunchGuest, program: Program, *, held: tuple[int, ...], control: int
) -> None:
    path = ctx.layout.cgroup(verb.id)
    oom = ctx.cgroups.oom_file(path)
    keepers = next(ctx.cgroups.directories(ctx.layout.keeper_cgroup))
    pairs: list[tuple[str, str]] = [
        ("id", verb.id),
        ("nudge", os.fspath(keepers / "cgroup.procs")),
        *program.conf,
        *(("env", f"{name}={value}") for name, value in spawn.environment().items()),
        ("tty", str(int(verb.tty))),
        ("stdin", str(int(verb.stdin))),
        ("stdin_once", str(int(verb.stdin_once))),
        ("log", os.fspath(ctx.layout.guest_log(verb.id))),
        ("log_size", str(verb.log_size)),
        ("log_files", str(verb.log_files)),
        ("listen_fd", str(control)),
        *(("hold_fd", str(fd)) for fd in held),
    ]
    if oom is not None:
        pairs.append(("oom", os.fspath(oom)))
    facts.replace(ctx.layout.guest_run(verb.id) / "keeper.conf", encode_record(pairs))
