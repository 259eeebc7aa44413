"""The daemon as the command line sees it: JSON calls on one kept-alive connection.

Every failure leaves here as a :class:`~wirt.errors.WirtError`; ``wirt.errors`` itself is imported
only then, since ``enum`` is a third of the client's start.
"""

from __future__ import annotations

from wirt.client.fastjson import decode, encode
from wirt.client.wire import Connection, Lost, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wirt.errors import WirtError

DEFAULT_SOCKET = "/run/wirt/wirt.sock"


def socket_path(text: str) -> str:
    """The socket named by ``WIRT_HOST``: ``unix:///path`` or a path. Raises Invalid."""
    path = text.removeprefix("unix://")
    if path.startswith("/"):
        return path
    from wirt.errors import Invalid

    raise Invalid(
        f"cannot reach a daemon at {text!r}",
        hint="write unix:///path/to/wirt.sock or an absolute path",
    )


def unreachable(path: str, error: Exception) -> WirtError:
    """What an OSError or a lost connection means to the user."""
    from wirt.errors import Forbidden, Unavailable

    if isinstance(error, PermissionError):
        return Forbidden(
            f"you may not use the socket {path}",
            hint="run it as root or as a member of the group 'wirt'",
        )
    if isinstance(error, OSError) and not isinstance(
        error, (FileNotFoundError, ConnectionRefusedError)
    ):
        return Unavailable(f"cannot talk to the daemon on {path}: {error.strerror or error}")
    if isinstance(error, Lost):
        return Unavailable(f"the daemon on {path} broke off: {error}", code="daemon.lost")
    return Unavailable(f"no daemon answers on {path}", code="daemon.absent")


class Daemon:
    """One daemon, by its socket's path. Calls raise :class:`~wirt.errors.WirtError`."""

    __slots__ = ("_connection", "path")

    def __init__(self, path: str = DEFAULT_SOCKET) -> None:
        self.path = path
        self._connection = Connection(path)

    def connection(self) -> Connection:
        """A further connection, opened."""
        made = Connection(self.path)
        try:
            made.open()
        except OSError as error:
            raise unreachable(self.path, error) from error
        return made

    def call(self, method: str, where: str, value: Any = None) -> Any:
        """Send a request with a JSON body and return the JSON answer (None when it has none)."""
        body = b"" if value is None else encode(value)
        answer = self.request(method, where, body=body, kind="application/json" if body else "")
        try:
            data = answer.read()
            return decode(data) if data else None
        except (OSError, Lost) as error:
            raise unreachable(self.path, error) from error
        except ValueError as error:
            raise unreachable(self.path, Lost(f"its answer is no JSON: {error}")) from error

    def request(self, method: str, where: str, *, body: bytes = b"", kind: str = "") -> Response:
        """The head of a good answer; raises the daemon's problem for statuses of 400 and more."""
        kept = self._connection.is_open
        try:
            try:
                answer = self._connection.request(method, where, body=body, kind=kind)
            except (OSError, Lost):
                self._connection.close()
                if not kept or method != "GET":
                    raise
                # the daemon was restarted since the last request; reading again does no harm
                answer = self._connection.request(method, where, body=body, kind=kind)
            return self._good(answer)
        except (OSError, Lost, ValueError) as error:
            self._connection.close()
            raise unreachable(self.path, error) from error

    def upload(self, method: str, where: str, parts: Iterable[bytes], *, kind: str) -> Response:
        """As :meth:`request` with a streamed body, on a fresh connection.

        ``parts`` raises only WirtErrors of its own: an OSError would look like the daemon's.
        """
        self._connection.close()
        try:
            return self._good(self._connection.upload(method, where, parts, kind=kind))
        except BaseException as error:
            self._connection.close()
            if isinstance(error, (OSError, Lost, ValueError)):
                raise unreachable(self.path, error) from error
            raise

    def _good(self, answer: Response) -> Response:
        if answer.status < 400:
            return answer
        raise answer.problem()

    def close(self) -> None:
        """Close the kept connection."""
        self._connection.close()
