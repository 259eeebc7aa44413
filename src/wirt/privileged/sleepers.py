"""Guests that the daemon has put to sleep: thawed here as soon as a frame for one of them comes, or
something for its standard input, of which its keeper tells through a named pipe.

The helper hears it, so it thaws, and tells afterwards: nobody else need run for a guest to
answer. A guest that nobody would wake any more is not left asleep either: when the daemon is gone
for :data:`GRACE` seconds, when a network card of it goes, and when the helper starts, for nobody
has heard what came meanwhile. Who sleeps is in ``<run>/sleepers.json``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

import msgspec

from wirt.errors import NotFound, Unsupported
from wirt.layout import Layout
from wirt.linux import libc, packets
from wirt.linux.cgroup import Cgroups
from wirt.model.names import is_id
from wirt.privileged import facts, netstate
from wirt.privileged.faults import fault
from wirt.privileged.holds import Woken

log = logging.getLogger("wirt.privileged")

FILE: Final = "sleepers.json"
GRACE: Final = 10.0
"""Seconds for which guests sleep on when the daemon has gone: one that is only started again is
back before."""
_DECODER = msgspec.json.Decoder(tuple[str, ...])


@dataclass(slots=True, eq=False)
class _Sleeper:
    """``told``: the end of a pipe whose other one is the daemon's, None once that is gone.
    ``until``: monotonic seconds at which it is woken then. ``typed``: the end of the pipe of its
    keeper."""

    id: str
    told: int | None
    cards: list[socket.socket] = field(default_factory=list)
    typed: int | None = None
    until: float = 0.0


class Sleepers:
    """Listens to the cards of those who sleep."""

    def __init__(self, layout: Layout, cgroups: Cgroups) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._path = layout.run / FILE
        self._poll = select.epoll()
        self._timer = libc.timerfd_create()
        self._poll.register(self._timer, select.EPOLLIN)
        self._sleeping: dict[str, _Sleeper] = {}
        self._ends: dict[int, _Sleeper] = {}
        for guest_id in self._left_over():
            self._thaw(guest_id)
        self._write()

    def fileno(self) -> int:
        """For poll(2)."""
        return self._poll.fileno()

    def watch(self, guest_id: str, *, typed: bool = False) -> int:
        """Thaw this guest when a frame for it comes; it may be frozen from now on, and may have
        been before, if it was watched. ``typed``: also when its standard input gets something.

        The end of a pipe, the caller's to close, out of which a :class:`Woken` comes then. Raises
        NotFound when it does not run, Unsupported when its keeper tells of no input, OSError when a
        card cannot be listened to.
        """
        about = facts.read(self._layout, guest_id)
        if about is None:
            raise NotFound(f"guest {guest_id[:12]} does not run", code="guest.not-running")
        pipe = self._input(guest_id) if typed else None
        try:
            cards = self._listen(guest_id, machine=about.machine)
        except BaseException:
            if pipe is not None:
                os.close(pipe)
            raise
        before = guest_id in self._sleeping
        self.heard()  # what came until now
        woken = before and guest_id not in self._sleeping
        self.ignore(guest_id)
        theirs, ours = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        one = _Sleeper(guest_id, ours, cards, pipe)
        self._sleeping[guest_id] = one
        heard = [*(card.fileno() for card in cards), *(() if pipe is None else (pipe,))]
        for end in (ours, *heard):
            self._ends[end] = one
            self._poll.register(end, 0 if end == ours else select.EPOLLIN)
        if woken:
            self._wake(one, Woken(why="traffic"))
            return theirs
        self._write()
        return theirs

    def frozen(self, guest_id: str) -> None:
        """It was frozen, to sleep: thaw it if it is not watched, since something came before."""
        if guest_id not in self._sleeping:
            self._thaw(guest_id)

    def ignore(self, guest_id: str) -> None:
        """Leave this guest as it is from now on."""
        one = self._sleeping.pop(guest_id, None)
        if one is not None:
            self._close(one)
            self._write()

    def rewired(self, guest_id: str) -> None:
        """Its cards are other ones now."""
        one = self._sleeping.get(guest_id)
        if one is not None:
            self._wake(one, Woken(why="unwatched"))

    def heard(self) -> Callable[[], None] | None:
        """Something has come for somebody. It is done at once: a thaw takes a tenth of a
        millisecond, a child to do it two."""
        for end, _ in self._poll.poll(0):
            if end == self._timer:
                self._over()
            elif (one := self._ends.get(end)) is None:
                continue
            elif end == one.told:
                self._lost(one)
            elif end == one.typed:
                self._wake(one, Woken(why="input"))
            else:
                self._came(one, next(card for card in one.cards if card.fileno() == end))
        return None

    def _came(self, one: _Sleeper, card: socket.socket) -> None:
        try:
            at = packets.came_at(card)
        except BlockingIOError:
            return
        except OSError as error:  # the card is gone: what came there, nobody hears
            log.warning("a card of guest %s is not heard: %s", one.id[:12], error.strerror)
            self._wake(one, Woken(why="unwatched"))
            return
        self._wake(one, Woken(why="traffic", at=at))

    def _lost(self, one: _Sleeper) -> None:
        """The daemon has let go of its end."""
        assert one.told is not None
        self._drop(one.told)
        one.told, one.until = None, time.monotonic() + GRACE
        self._wind()

    def _over(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._timer, 8)
        now = time.monotonic()
        for one in tuple(self._sleeping.values()):
            if one.told is None and one.until <= now:
                log.warning("nobody cares for guest %s: it is woken", one.id[:12])
                self._wake(one, Woken(why="unwatched"))
        self._wind()

    def _wind(self) -> None:
        waits = [one.until for one in self._sleeping.values() if one.told is None]
        libc.timerfd_settime(self._timer, max(min(waits) - time.monotonic(), 0.001) if waits else 0)

    def _wake(self, one: _Sleeper, woken: Woken) -> None:
        self._thaw(one.id)
        fault("sleepers.thawed")
        if one.told is not None:
            done = time.time_ns() - woken.at if woken.at else 0
            told = msgspec.structs.replace(woken, micros=max(done // 1000, 0))
            with contextlib.suppress(BrokenPipeError):
                os.write(one.told, msgspec.json.encode(told))
        self.ignore(one.id)

    def _thaw(self, guest_id: str) -> None:
        try:
            self._cgroups.freeze(self._layout.cgroup(guest_id), False)
        except FileNotFoundError:
            return  # it has ended
        except OSError as error:
            log.error("guest %s cannot be thawed: %s", guest_id[:12], error)

    def _listen(self, guest_id: str, *, machine: bool) -> list[socket.socket]:
        """Who has a container's address, the host's kernel answers; for a machine QEMU must run."""
        cards: list[socket.socket] = []
        try:
            for card in netstate.read(self._layout.guest_run(guest_id)).cards:
                mac = bytes.fromhex(card.link.mac.replace(":", ""))
                address = IPv4Address(card.link.address.partition("/")[0]).packed
                cards.append(
                    packets.listen(card.host, packets.for_card(mac, address if machine else None))
                )
        except BaseException:
            for heard in cards:
                heard.close()
            raise
        return cards

    def _input(self, guest_id: str) -> int:
        """The end of the pipe that the keeper writes to before it hands on any input."""
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(self._layout.input_pipe(guest_id), flags)
        except OSError as error:
            raise Unsupported(
                "nobody would hear what is typed into it: it was started by an older version",
                hint="restart the guest",
                code="idle.not-heard",
            ) from error

    def _close(self, one: _Sleeper) -> None:
        for card in one.cards:
            self._poll.unregister(card)
            del self._ends[card.fileno()]
            card.close()
        for end in (one.told, one.typed):
            if end is not None:
                self._drop(end)

    def _drop(self, end: int) -> None:
        self._poll.unregister(end)
        del self._ends[end]
        os.close(end)

    def _left_over(self) -> tuple[str, ...]:
        try:
            return tuple(filter(is_id, _DECODER.decode(self._path.read_bytes())))
        except (FileNotFoundError, msgspec.MsgspecError):
            return ()

    def _write(self) -> None:
        facts.replace(self._path, msgspec.json.encode(tuple(self._sleeping)))
