"""A child of the helper that carries out one slow verb: it tells the outcome, and ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from wirt.errors import Unsupported
from wirt.linux import libc
from wirt.privileged import child
from wirt.privileged.answers import pack, to_failure, unpack_verb
from wirt.privileged.context import Become, Context, Early, Route, Sent
from wirt.privileged.protocol import Verb
from wirt.privileged.wire import Channel

LAST, EARLY = 0, 1
"""Numbers of a child's packets: :data:`EARLY` is an answer after which the child goes on."""

AnyVerb: TypeAlias = Verb[Any]
AnyRoute: TypeAlias = Route[Any, Any]


def route_of(routes: Mapping[type[AnyVerb], AnyRoute], verb: AnyVerb) -> AnyRoute:
    """Who carries out a verb. Raises Unsupported."""
    try:
        return routes[type(verb)]
    except KeyError:
        raise Unsupported(f"this helper does not know {type(verb).__name__}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What such a child is born with. ``parent``: the helper's pid."""

    context: Context
    routes: Mapping[type[AnyVerb], AnyRoute]
    parent: int

    def work(self, verb: AnyVerb, fds: Sequence[int], reply: socket.socket) -> NoReturn:
        """Carry out a verb of which the parent knows already; the outcome goes to ``reply``."""

        def carry_out() -> None:
            self._carry_out(verb, fds, _blocking(reply))
            reply.close()  # the answer need not wait until the kernel has taken us apart

        child.run(carry_out, parent=self.parent, keep=(reply.fileno(), *fds))

    def wait(self, reply: socket.socket) -> NoReturn:
        """Carry out the verb that comes by ``reply``, whenever it comes."""

        def carry_out() -> None:
            channel = _blocking(reply)
            try:
                packet = channel.receive()
            except EOFError:
                return
            assert packet is not None, "it waits for a whole one"
            self._carry_out(unpack_verb(packet.payload), packet.fds, channel)
            reply.close()

        child.run(carry_out, parent=self.parent, keep=(reply.fileno(),))

    def _carry_out(self, verb: AnyVerb, fds: Sequence[int], tell: Channel) -> None:
        try:
            outcome = route_of(self.routes, verb).run(self.context, verb, fds)
            if isinstance(outcome, Become):
                tell.send(LAST, pack(outcome.answer))
                _become(outcome, tell.fileno())
            elif isinstance(outcome, Sent):
                tell.send(LAST, pack(outcome.answer), outcome.fds)
            elif not isinstance(outcome, Early):
                tell.send(LAST, pack(outcome))
        except Exception as error:  # noqa: BLE001 - told to the daemon
            tell.send(LAST, pack(to_failure(error)))
            return
        if isinstance(outcome, Early):
            tell.send(EARLY, pack(outcome.answer))
            outcome.rest()


def _blocking(reply: socket.socket) -> Channel:
    channel = Channel(reply)
    reply.setblocking(True)
    return channel


def _become(outcome: Become[Any], reply: int) -> NoReturn:
    # The reply socket closes by itself when the program has really been started.
    libc.close_except((reply, *outcome.keep))
    for fd in outcome.keep:
        os.set_inheritable(fd, True)
    libc.prctl(libc.PR_SET_PDEATHSIG, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.execve(outcome.argv[0], outcome.argv, outcome.env)  # noqa: S606 - becomes the keeper
