"""The helper's loop: one thread, quick verbs in place, slow ones in forked children.

It keeps nothing that matters: all facts are in the kernel and in the run directories, so that it
may be killed at any instant and started again. A child dies with the helper and with the
connection that asked for its work; its route's ``then`` undoes what it left.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from wirt.errors import Invalid
from wirt.linux import pidfd
from wirt.privileged import child
from wirt.privileged.answers import Answer, answer_type, pack, to_failure, unpack_verb
from wirt.privileged.child import Ear
from wirt.privileged.context import Context, Ended, Sent
from wirt.privileged.protocol import Failure
from wirt.privileged.wire import BrokenPacket, Channel, Packet, close_all
from wirt.privileged.worker import EARLY, AnyRoute, AnyVerb, Worker, route_of

log = logging.getLogger("wirt.privileged")

MAX_CHILDREN = 256
MAX_STREAMS = 160
"""Of these, how many work on a descriptor of the daemon's, at the pace of who is behind it: slow
readers shall not keep guests from being started or killed."""
_KILL_SECONDS = 5.0
_PEER = struct.Struct("3i")
HANDED_OVER = 64 * 1024
"""Bytes of a request that a waiting child is sent; a socket takes that much at once."""


@dataclass(slots=True, eq=False)
class _Connection:
    """A client that may use the helper."""

    channel: Channel
    pid: int


@dataclass(slots=True, eq=False)
class _Work:
    """A slow verb: waiting for its turn (``child`` None) or under way in a child."""

    connection: _Connection
    packet: Packet
    verb: AnyVerb
    pid: int = 0
    child: Channel | None = None
    replies: list[Packet] = field(default_factory=list)
    answered: bool = False


class Server:
    """Serves one listening socket for ever. ``routes``: who carries out which verb."""

    def __init__(
        self,
        context: Context,
        listener: socket.socket,
        routes: dict[type[AnyVerb], AnyRoute],
        ears: Sequence[Ear] = (),
    ) -> None:
        self._context = context
        self._listener = listener
        self._routes = routes
        self._poll = select.poll()
        self._connections: dict[int, _Connection] = {}
        self._under_way: dict[int, _Work] = {}
        self._waiting: deque[_Work] = deque()
        self._left: set[int] = set()  # children whose work is done: keepers, or about to end
        self._pid = os.getpid()
        self._worker = Worker(context=context, routes=routes, parent=self._pid)
        self._spare: tuple[Channel, int] | None = None  # a child that waits for work, and its pid
        listener.setblocking(False)
        self._poll.register(listener, select.POLLIN)
        signals, self._wakeup = socket.socketpair()
        for end in (signals, self._wakeup):
            end.setblocking(False)
        self._signals = signals
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._poll.register(signals, select.POLLIN)
        self._ears = {ear.fileno(): ear for ear in ears}
        for number in self._ears:
            self._poll.register(number, select.POLLIN)

    def serve(self) -> NoReturn:
        """Run until killed."""
        gc.freeze()  # children share these pages as long as nobody counts on them
        while True:
            self._make_spare()
            self.step()

    def step(self, timeout_ms: int | None = None) -> None:
        """Wait for something to happen and do it."""
        for fd, events in self._poll.poll(timeout_ms):
            if fd == self._listener.fileno():
                self._accept()
            elif fd == self._signals.fileno():
                self._reap()
            elif fd in self._ears:
                if (errand := self._ears[fd].heard()) is not None:
                    self._send(errand)
            elif fd in self._connections:
                self._serve(self._connections[fd], events)
            elif fd in self._under_way:
                self._collect(self._under_way[fd])

    # --- connections

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptors left: the others' work will free some
            log.error("cannot accept a connection: %s", error)
            return
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, uid, _gid = _PEER.unpack(raw)
        if uid not in {0, self._context.uid}:
            log.warning("refused a connection of process %d, uid %d", pid, uid)
            sock.close()
            return
        connection = _Connection(Channel(sock), pid)
        self._connections[sock.fileno()] = connection
        self._poll.register(sock, select.POLLIN)

    def _serve(self, connection: _Connection, events: int) -> None:
        channel = connection.channel
        try:
            if events & select.POLLOUT:
                channel.flush()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                while (packet := channel.receive()) is not None:
                    self._begin(connection, packet)
        except (EOFError, BrokenPacket, OSError) as error:
            if not isinstance(error, EOFError):
                log.warning("connection of process %d: %s", connection.pid, error)
            self._drop(connection)
            return
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        pending = select.POLLOUT if connection.channel.pending else 0
        with contextlib.suppress(FileNotFoundError):
            self._poll.modify(connection.channel.fileno(), select.POLLIN | pending)

    def _drop(self, connection: _Connection) -> None:
        """End a connection with all work it asked for, undone before anything else happens."""
        self._poll.unregister(connection.channel.fileno())
        del self._connections[connection.channel.fileno()]
        for work in [w for w in self._waiting if w.connection is connection]:
            self._waiting.remove(work)
            close_all(work.packet.fds)
        lost = [w for w in self._under_way.values() if w.connection is connection]
        for work in lost:
            os.kill(work.pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own
        for work in lost:
            self._give_up(work)
        connection.channel.close()
        if self._context.deadman is not None:
            self._context.deadman.lost()

    def _give_up(self, work: _Work) -> None:
        self._drain(work)
        close_all([fd for packet in work.replies for fd in packet.fds])
        fd = os.pidfd_open(work.pid)
        if not pidfd.wait(fd, _KILL_SECONDS):
            log.error("child %d does not die", work.pid)
        os.close(fd)
        gone = Failure(kind="unavailable", message="the daemon went away meanwhile")
        self._finish(work, Ended(pid=work.pid, answer=gone))

    # --- requests

    def _begin(self, connection: _Connection, packet: Packet) -> None:
        try:
            verb = unpack_verb(packet.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            close_all(packet.fds)
            self._answer(connection, packet.id, to_failure(Invalid(f"malformed request: {error}")))
            return
        if verb.slow:
            self._waiting.append(_Work(connection, packet, verb))
            self._start_waiting()
            return
        answer, fds = self._run(verb, packet.fds)
        close_all(packet.fds)
        self._answer(connection, packet.id, answer, fds)

    def _run(self, verb: AnyVerb, fds: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
        try:
            outcome = route_of(self._routes, verb).run(self._context, verb, fds)
        except Exception as error:  # noqa: BLE001 - a verb's failure must not end the helper
            return to_failure(error), ()
        return (outcome.answer, outcome.fds) if isinstance(outcome, Sent) else (outcome, ())

    def _answer(
        self, connection: _Connection, packet_id: int, answer: Any, fds: tuple[int, ...] = ()
    ) -> None:
        try:
            connection.channel.send(packet_id, pack(answer), fds)
        except ValueError as error:
            close_all(fds)
            connection.channel.send(packet_id, pack(to_failure(error)))
        except OSError as error:
            log.debug("answer to process %d: %s", connection.pid, error)
            return
        self._watch(connection)

    # --- children

    def _start_waiting(self) -> None:
        while (work := self._next()) is not None:
            self._waiting.remove(work)
            try:
                work.child, work.pid = self._hand_over(work) or self._fork(work)
            except OSError as error:
                close_all(work.packet.fds)
                self._answer(work.connection, work.packet.id, to_failure(error))
                continue
            close_all(work.packet.fds)
            self._under_way[work.child.fileno()] = work
            self._poll.register(work.child, select.POLLIN)

    def _fork(self, work: _Work | None = None) -> tuple[Channel, int]:
        """The helper's end of a child's socket, and its pid; without work it waits for some."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if pid == 0 and work is not None:
                self._worker.work(work.verb, work.packet.fds, theirs)
            elif pid == 0:
                self._worker.wait(theirs)
        return Channel(ours), pid

    def _make_spare(self) -> None:
        """A fork and its first steps take 2 ms, for which nobody waits when they are over."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = self._fork()

    def _hand_over(self, work: _Work) -> tuple[Channel, int] | None:
        """Give the work to the child that waits; None when there is none, or not for this."""
        if self._spare is None or len(work.packet.payload) > HANDED_OVER:
            return None
        (channel, pid), self._spare = self._spare, None
        with contextlib.suppress(OSError):  # somebody killed it
            channel.send(0, work.packet.payload, [os.dup(fd) for fd in work.packet.fds])
            if not channel.pending:
                return channel, pid
        os.kill(pid, signal.SIGKILL)  # not reaped yet
        self._left.add(pid)
        channel.close()
        return None

    def _next(self) -> _Work | None:
        """The first work that may begin now."""
        if len(self._under_way) >= MAX_CHILDREN:
            return None
        streams = sum(1 for work in self._under_way.values() if work.packet.fds)
        free = streams < MAX_STREAMS
        return next((work for work in self._waiting if free or not work.packet.fds), None)

    def _send(self, errand: Callable[[], None]) -> None:
        """Have a child do something that nobody waits for."""
        try:
            pid = os.fork()
        except OSError as error:
            log.error("cannot start a child: %s", error)
            return
        if pid == 0:
            child.run(errand, parent=self._pid)
        self._left.add(pid)

    def _collect(self, work: _Work) -> None:
        if self._drain(work):
            self._finish(work, self._ended(work))
            self._start_waiting()
        elif any(packet.id == EARLY for packet in work.replies) and not work.answered:
            work.answered = True
            ended = self._ended(work)
            self._answer(work.connection, work.packet.id, ended.answer, ended.fds)

    @staticmethod
    def _drain(work: _Work) -> bool:
        """Take what the child has told; whether it has nothing more to tell."""
        assert work.child is not None
        try:
            while (packet := work.child.receive()) is not None:
                work.replies.append(packet)
        except (EOFError, BrokenPacket, OSError):
            return True
        return False

    def _ended(self, work: _Work) -> Ended[Any]:
        """What the last reply says: a failed ``execve`` is told after the answer."""
        answer: Any = Failure(kind="internal", message="the helper's child crashed")
        fds: tuple[int, ...] = ()
        for packet in work.replies:
            close_all(fds)
            fds = packet.fds
            try:
                told = msgspec.json.decode(packet.payload, type=Answer)
                answer = told.failure
                if answer is None:
                    answer = msgspec.json.decode(told.answer, type=answer_type(type(work.verb)))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                answer = Failure(kind="internal", message=f"a child answered nonsense: {error}")
        return Ended(pid=work.pid, answer=answer, fds=fds)

    def _finish(self, work: _Work, ended: Ended[Any]) -> None:
        assert work.child is not None
        self._poll.unregister(work.child.fileno())
        del self._under_way[work.child.fileno()]
        work.child.close()
        route = self._routes.get(type(work.verb))
        if route is not None and route.then is not None:
            try:
                ended = route.then(self._context, work.verb, ended)
            except Exception as error:  # noqa: BLE001 - told to the daemon
                ended = Ended(pid=ended.pid, answer=to_failure(error))
        self._left.add(work.pid)
        self._reap()
        if not work.answered:
            self._answer(work.connection, work.packet.id, ended.answer, ended.fds)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._signals.recv(4096)
        for pid in tuple(self._left):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                self._left.discard(pid)
