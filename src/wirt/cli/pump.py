"""The pump of an attached stream: our standard streams on one side, the guest's on the other.

The socket is the keeper's, not the daemon's, so a stream survives the daemon's restart. Standard
input is read only while the guest takes it; output is written blocking, which slows the guest down
to what our reader takes. The stream ends when the keeper closes it.
"""

from __future__ import annotations

import _socket
import posix
import select

from wirt.cli.frames import deliver
from wirt.cli.signals import drain
from wirt.client.frames import splitter

TYPE_CHECKING = False

READ_OUT = 262_144
READ_IN = 65_536
_HUNG = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Pump:
    """Moves bytes until the guest's side ends. ``detached`` tells whether the user left."""

    def __init__(
        self, sock: _socket.socket, rest: bytes, *, tty: bool, stdin: bool, keys: bytes = b""
    ) -> None:
        self._socket = sock
        self._splitter = splitter(tty=tty)
        self._rest = rest
        self._stdin = stdin
        self._keys = keys
        self._typed = b""
        self._pending = b""
        self._eof = not stdin

    @property
    def detached(self) -> bool:
        """Whether the last thing typed was the detach keys."""
        return bool(self._keys) and self._typed.endswith(self._keys)

    def run(self, wake: int) -> None:
        """Pump until the end; ``wake`` is readable when a signal came (:class:`Signals`).

        Raises BrokenPipeError when our reader is gone, ValueError for a stream without frames.
        """
        if self._rest:
            deliver(self._splitter.feed(self._rest))
        poll = select.poll()
        number = self._socket.fileno()
        poll.register(number, select.POLLIN)
        poll.register(wake, select.POLLIN)
        if self._stdin:
            poll.register(0, select.POLLIN)
        while True:
            for fd, happened in poll.poll():
                if fd == wake:
                    drain(wake)
                elif fd == 0:
                    self._read_input()
                elif happened & select.POLLOUT and not happened & (select.POLLIN | _HUNG):
                    self._send()
                elif not self._receive():
                    return
            if self._stdin:
                self._interests(poll, number)

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(READ_OUT)
        except ConnectionResetError:
            return False
        if not data:
            return False
        deliver(self._splitter.feed(data))
        return True

    def _interests(self, poll: select.poll, number: int) -> None:
        """Read more input only when the last was taken, so that memory stays bounded."""
        poll.modify(number, select.POLLIN | (select.POLLOUT if self._pending else 0))
        if not self._eof and not self._pending:
            poll.register(0, select.POLLIN)
            return
        try:  # noqa: SIM105 - contextlib costs 2 ms
            poll.unregister(0)
        except KeyError:
            pass

    def _read_input(self) -> None:
        try:
            data = posix.read(0, READ_IN)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        if data:
            if self._keys:
                self._typed = (self._typed + data)[-len(self._keys) :]
            self._pending = data
            self._send()
        else:
            self._eof = True
            self._half_close()

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._pending, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # the guest takes no more input; its output may still come
            self._pending, self._eof = b"", True
            return
        self._pending = self._pending[sent:]

    def _half_close(self) -> None:
        try:  # noqa: SIM105 - contextlib costs 2 ms
            self._socket.shutdown(_socket.SHUT_WR)
        except OSError:
            pass
