"""``--ssh``: the user's SSH agent for RUN steps, by connections that wait in the daemon.

Each agent has one idle connection there. Its first byte says that a step begins to use it: then a
further one is made, and bytes go between this one and the agent until one side ends.
"""

from __future__ import annotations

import _thread
import posix
import socket

from wirt.cli.flags import misuse
from wirt.client.wire import Connection, Lost, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.client.daemon import Daemon

_PART = 65_536


def agents(texts: list[str]) -> dict[str, str]:
    """``default`` or ``NAME[=SOCKET]`` by name, to the agent's socket. Raises Invalid."""
    found = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            raise misuse(f"invalid --ssh {text!r}", hint="write default, or NAME=SOCKET")
        path = path or posix.environ.get(b"SSH_AUTH_SOCK", b"").decode("utf-8", "surrogateescape")
        try:
            is_socket = bool(path) and posix.stat(path).st_mode & 0o170000 == 0o140000
        except OSError:
            is_socket = False
        if not is_socket:
            raise misuse(
                f"--ssh {text!r} names no agent's socket",
                hint="start ssh-agent and set SSH_AUTH_SOCK, or write NAME=SOCKET",
            )
        found[name] = path
    return found


def known_hosts() -> str:
    """The servers that the user's ssh believes."""
    from wirt.cli.building import read_file

    home = posix.environ.get(b"HOME", b"").decode("utf-8", "surrogateescape")
    found = []
    for path in (f"{home}/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"):
        data = read_file(path, missing_ok=True) or b""
        found.append(data.decode("utf-8", "replace"))
    return "\n".join(text for text in found if text)


def serve(daemon: Daemon, token: str, found: dict[str, str]) -> None:
    """Hold connections ready in threads of their own, which end with this program."""
    for name, path in found.items():
        _thread.start_new_thread(_keep, (daemon.path, token, name, path))


def _keep(daemon: str, token: str, name: str, agent: str) -> None:
    """One idle connection after the other, until the build is over."""
    while True:
        connection = Connection(daemon)
        try:
            connection.send("POST", f"/v1/build/agents/{token}/{quote(name)}", kind="upgrade")
            if connection.receive().status != 101:
                connection.close()
                _wait()
                continue
            stream, rest = connection.give()
        except (OSError, Lost, ValueError):
            return
        if not (rest or stream.recv(1)):
            stream.close()
            return
        _thread.start_new_thread(_carry, (stream, rest[1:], agent))


def _wait() -> None:
    """The build may not have begun: its context is still on its way."""
    import select

    select.select([], [], [], 0.05)


def _carry(stream: socket.SocketType, rest: bytes, agent: str) -> None:
    other = socket.socket(socket.AF_UNIX)
    try:
        other.connect(agent)
        other.sendall(rest)
    except OSError:
        stream.close()
        other.close()
        return
    _thread.start_new_thread(_pump, (stream, other))
    _pump(other, stream)


def _pump(source: socket.SocketType, sink: socket.SocketType) -> None:
    try:
        while data := source.recv(_PART):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
