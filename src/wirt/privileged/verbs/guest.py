"""Verbs about one guest: starting, stopping, limits, cards, files, users."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from wirt.errors import Conflict, NotFound, Unsupported
from wirt.linux import disks, libc, limits, usage
from wirt.model.names import is_id, short
from wirt.privileged import bridges, check, facts, links, netstate, release
from wirt.privileged import launch as launching
from wirt.privileged.context import Context, Early, Ended, Outcome, on
from wirt.privileged.facts import Facts
from wirt.privileged.netlink import Netlink
from wirt.privileged.netstate import Card
from wirt.privileged.protocol import (
    ConnectGuest,
    DisconnectGuest,
    Done,
    Failure,
    ForgetGuest,
    FreezeGuest,
    KillGuest,
    LaunchGuest,
    LimitGuest,
    ListProcesses,
    Processes,
    ReleaseGuest,
    ResolvedUser,
    ResolveUser,
    Sweep,
    UpdateFiles,
)
from wirt.privileged.users import resolve

Fds = Sequence[int]

FROZEN_WITHIN, ASLEEP_WITHIN = 10.0, 1.0
"""Seconds. Whoever wants something of a guest waits until it is asleep, so nothing waits long for
a process that does not stop."""


def kill(ctx: Context, verb: KillGuest, _fds: Fds) -> Done:
    """SIGKILL everything of a guest."""
    release.kill(ctx, check.guest_id(verb.id), keeper=verb.keeper)
    return Done()


def freeze(ctx: Context, verb: FreezeGuest, _fds: Fds) -> Done:
    """Freeze or thaw."""
    try:
        path = ctx.layout.cgroup(check.guest_id(verb.id))
        patience = ASLEEP_WITHIN if verb.asleep else FROZEN_WITHIN
        done = ctx.cgroups.freeze(path, verb.frozen, timeout=patience)
    except FileNotFoundError:
        raise _not_running(verb.id) from None
    except TimeoutError as error:
        raise Conflict(
            f"processes of guest {short(verb.id)} do not stop",
            hint="they wait for a device or a network file system; try again later",
            code="guest.stuck",
        ) from error
    if not done and not verb.asleep:
        raise Conflict(
            f"guest {short(verb.id)} was thawed while it was to be frozen",
            hint="try again",
            code="guest.thawed",
        )
    return Done()


def frozen(ctx: Context, verb: FreezeGuest, ended: Ended[Done]) -> Ended[Done]:
    """Whatever became of the child: nobody sleeps whom nobody would wake."""
    if verb.frozen and verb.asleep and ctx.sleepers is not None:
        ctx.sleepers.frozen(verb.id)
    return ended


def limit(ctx: Context, verb: LimitGuest, _fds: Fds) -> Done:
    """Write new limits. That of a machine's memory only rises: what its guest gives back, it may
    give back late, and with less QEMU would be killed."""
    wanted, path = verb.resources, ctx.layout.cgroup(check.guest_id(verb.id))
    if verb.machine:
        now = usage.read(ctx.cgroups, path).memory_limit or 0
        rises = wanted.memory is not None and wanted.memory > now
        wanted = replace(
            wanted,
            memory=wanted.memory if rises else None,
            memory_swap=None,
            memory_reservation=None,
        )
    limits.write(
        ctx.cgroups, path, wanted,
        disks=disks.under(ctx.layout.on_disks),
    )  # fmt: skip
    return Done()


def limited(ctx: Context, verb: LimitGuest, ended: Ended[Done]) -> Ended[Done]:
    """What holds from now on holds without a governor, too."""
    memory = verb.resources.memory
    done = not isinstance(ended.answer, Failure)
    if done and memory is not None and not verb.machine and ctx.deadman is not None:
        ctx.deadman.allowed(verb.id, memory or -1)
    return ended


def release_guest(ctx: Context, verb: ReleaseGuest, _fds: Fds) -> Outcome[Done]:
    """Remove what exists only while it runs."""
    cards = release.release(ctx, check.guest_id(verb.id))
    return Early(answer=Done(), rest=lambda: release.unplugged(cards))


def forget(ctx: Context, verb: ForgetGuest, _fds: Fds) -> Outcome[Done]:
    """Remove all of it: its files may be many, and nobody need wait for their end."""
    cards = release.forget(ctx, check.guest_id(verb.id))
    return Early(answer=Done(), rest=lambda: _cleared(ctx, verb.id, cards))


def _cleared(ctx: Context, guest_id: str, cards: Sequence[int]) -> None:
    release.unplugged(cards)
    release.clear(ctx, guest_id)


def update_files(ctx: Context, verb: UpdateFiles, _fds: Fds) -> Done:
    """Rewrite managed files."""
    if not ctx.layout.guest_state(check.guest_id(verb.id)).is_dir():
        raise NotFound(f"guest {short(verb.id)} has no state", code="guest.unknown")
    launching.write_files(ctx, verb.id, verb.files)
    return Done()


def processes(ctx: Context, verb: ListProcesses, _fds: Fds) -> Processes:
    """Who is in the guest's cgroup."""
    return Processes(pids=ctx.cgroups.processes(ctx.layout.cgroup(check.guest_id(verb.id))))


def resolve_user(ctx: Context, verb: ResolveUser, _fds: Fds) -> ResolvedUser:
    """Look a user up as the running container sees its files."""
    run = ctx.layout.guest_run(check.guest_id(verb.id))
    try:
        pid = int((run / "pid").read_text())
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        raise _not_running(verb.id) from None
    try:
        # Asked after opening: if it is the guest's process now, it was when it was opened.
        if pid not in ctx.cgroups.processes(ctx.layout.cgroup(verb.id)):
            raise _not_running(verb.id)
        return resolve(root, verb.user)
    finally:
        os.close(root)


# --- cards ------------------------------------------------------------------------------------


def connect(ctx: Context, verb: ConnectGuest, _fds: Fds) -> Done:
    """One more card: written down, made, configured; taken away again if that fails."""
    bridges.check_name(ctx.layout, verb.link.bridge)
    about = _container(ctx, verb.id)
    run = ctx.layout.guest_run(verb.id)
    state = netstate.read(run)
    if any(card.link.interface == verb.link.interface for card in state.cards):
        raise Conflict(f"guest {short(verb.id)} has a card {verb.link.interface} already")
    card = Card(
        host=launching.card_name(ctx, verb.id, verb.link.interface),
        link=verb.link,
    )
    netstate.write(run, msgspec.structs.replace(state, cards=(*state.cards, card)))
    with Netlink() as host:
        try:
            _enter_network(ctx, verb.id, about)
            launching.add_card(ctx, verb.id, host, card)
        except BaseException:
            links.delete_link(host, name=card.host)
            netstate.write(run, state)
            raise
    return Done()


def disconnect(ctx: Context, verb: DisconnectGuest, _fds: Fds) -> Done:
    """One card less, and another way out. Idempotent: a card that is not there is gone."""
    about = _container(ctx, verb.id)
    run = ctx.layout.guest_run(verb.id)
    state = netstate.read(run)
    gone = [card for card in state.cards if card.link.interface == verb.interface]
    with Netlink() as host:
        for card in gone:
            links.delete_link(host, name=card.host)
    left = tuple(card for card in state.cards if card not in gone)
    netstate.write(run, msgspec.structs.replace(state, cards=left))
    if verb.gateway:
        _enter_network(ctx, verb.id, about)
        with Netlink() as inside, contextlib.suppress(FileExistsError):
            links.add_route(inside, gateway=verb.gateway)
    return Done()


def rewired(ctx: Context, verb: ConnectGuest | DisconnectGuest, ended: Ended[Done]) -> Ended[Done]:
    """A guest that sleeps must hear its new cards, too."""
    if ctx.sleepers is not None:
        ctx.sleepers.rewired(verb.id)
    return ended


def _container(ctx: Context, guest_id: str) -> Facts:
    """The facts of a running container with a network of its own."""
    about = facts.read(ctx.layout, check.guest_id(guest_id))
    keeper = facts.keeper(ctx.layout, guest_id)
    if keeper is None or about is None:
        raise _not_running(guest_id)
    os.close(keeper)
    if about.machine:
        raise Unsupported(
            "the network cards of a running machine cannot be changed",
            hint="stop it, change it, and start it again",
            code="network.machine",
        )
    if about.network != "private":
        raise Conflict(
            f"guest {short(guest_id)} shares a network and has no cards of its own",
            code="network.shared",
        )
    return about


def _enter_network(ctx: Context, guest_id: str, about: Facts) -> None:
    """Enter the keeper's network namespace, for good: this is a child process."""
    try:
        fd = os.open(f"/proc/{about.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _not_running(guest_id) from None
    keeper = facts.keeper(ctx.layout, guest_id)
    if keeper is None:
        raise _not_running(guest_id)
    os.close(keeper)
    libc.setns(fd, libc.CLONE_NEWNET)
    os.close(fd)


def _not_running(guest_id: str) -> NotFound:
    return NotFound(
        f"guest {short(guest_id)} does not run", hint="start it first", code="guest.not-running"
    )


# --- leftovers --------------------------------------------------------------------------------


def sweep(ctx: Context, verb: Sweep) -> Iterable[str]:
    """Guests that nobody knows: keepers, groups, run and state directories, crun's state."""
    running, known = frozenset(verb.running), frozenset(verb.guests)
    for guest_id in sorted(_traces(ctx) - running):
        release.release_wholly(ctx, guest_id)
        yield f"what was left of guest {short(guest_id)}"
    for pid, guest_id in _keepers(ctx):
        if guest_id not in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            yield f"keeper of guest {short(guest_id)}"
    for path in _ids(ctx.layout.state / "guests"):
        if path.name not in known | running:
            release.remove(path)
            yield f"state of guest {short(path.name)}"
    for path in _ids(ctx.layout.gone):
        if release.clear(ctx, path.name):
            yield f"files of removed guest {short(path.name)}"
    with Netlink() as netlink:
        for link in links.links(netlink):
            owner, colon, guest_id = link.alias.partition(":")
            if owner == ctx.layout.name and colon and is_id(guest_id) and guest_id not in running:
                links.delete_link(netlink, name=link.name)
                yield f"interface {link.name} of guest {short(guest_id)}"


def _keepers(ctx: Context) -> Iterator[tuple[int, str]]:
    """Keepers by where they work; the directory may have been deleted meanwhile."""
    for pid in ctx.cgroups.processes(ctx.layout.keeper_cgroup):
        with contextlib.suppress(OSError):
            place = Path(f"/proc/{pid}/cwd").readlink()
            name = place.name.removesuffix(" (deleted)")
            if place.parent == ctx.layout.run / "g" and is_id(name):
                yield pid, name


def _traces(ctx: Context) -> frozenset[str]:
    """Ids of guests that have anything which exists only while one runs."""
    groups = ctx.cgroups.children(f"/{ctx.layout.name}")
    found = {name for name in groups if is_id(name)}
    found.update(facts.guests(ctx.layout))
    found.update(path.name for path in _ids(ctx.layout.crun_root))
    return frozenset(found)


def _ids(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if is_id(path.name))


HANDLERS = (
    on(LaunchGuest, launching.launch, then=launching.launched),
    on(KillGuest, kill),
    on(FreezeGuest, freeze, then=frozen),
    on(LimitGuest, limit, then=limited),
    on(ReleaseGuest, release_guest),
    on(ForgetGuest, forget),
    on(ConnectGuest, connect, then=rewired),
    on(DisconnectGuest, disconnect, then=rewired),
    on(UpdateFiles, update_files),
    on(ListProcesses, processes),
    on(ResolveUser, resolve_user),
)
SWEEPERS = (sweep,)
