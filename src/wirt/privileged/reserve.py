"""Host ports held by sockets that the keeper inherits, so that nobody else can take them.

The sockets are in the host's network namespace: TCP ones listen, UDP ones are bound. Nothing ever
arrives at them, since nft leads the traffic to the guest before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wirt.errors import Conflict, Exhausted, Invalid
from wirt.linux import procfs
from wirt.model.names import is_id, short
from wirt.model.network import PortMap

EPHEMERAL = (32_768, 60_999)
_FAMILY = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LISTENING = {"tcp": "0A", "udp": "07"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Sockets to keep open, and the ports with the numbers they really got."""

    fds: tuple[int, ...]
    ports: tuple[PortMap, ...]


def reserve(ports: Iterable[PortMap]) -> Reserved:
    """Reserve all of them or none. Raises Conflict naming port and holder, Invalid, Exhausted."""
    fds: list[int] = []
    got: list[PortMap] = []
    try:
        for port in ports:
            sock, number = _reserve(port)
            fds.append(sock.detach())
            got.append(replace(port, host_port=number, host_port_end=0))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return Reserved(fds=tuple(fds), ports=tuple(got))


def candidates(port: PortMap) -> Iterator[int]:
    """The numbers to try: the one, the range in order, or the ephemeral ones from a random one."""
    if port.host_port and not port.host_port_end:
        yield port.host_port
    elif port.host_port:
        yield from range(port.host_port, port.host_port_end + 1)
    else:
        low, high = EPHEMERAL
        count = high - low + 1
        first = random.randrange(count)  # noqa: S311 - only to spread
        yield from (low + (first + i) % count for i in range(count))


def _reserve(port: PortMap) -> tuple[socket.socket, int]:
    _check(port)
    for number in candidates(port):
        sock = _bind(port, number)
        if sock is not None:
            return sock, number
    if port.host_port and not port.host_port_end:
        raise _in_use(port)
    if port.host_port:
        raise Conflict(
            f"all host ports {port.host_port}-{port.host_port_end}/{port.protocol} are in use",
            hint="give a larger range, or leave the host port out to get a free one",
            code="port.in-use",
        )
    raise Exhausted(f"no free {port.protocol} port in {EPHEMERAL[0]}-{EPHEMERAL[1]}")


def _check(port: PortMap) -> None:
    numbers = (port.guest_port, port.host_port or 1, port.host_port_end or port.host_port or 1)
    if port.protocol not in _FAMILY or not all(0 < n < 65_536 for n in numbers):
        raise Invalid(
            f"invalid port {port.host_port}:{port.guest_port}/{port.protocol}",
            hint="ports go from 1 to 65535, protocols are tcp and udp",
        )
    if port.host_port_end and port.host_port_end < port.host_port:
        raise Invalid(f"invalid port range {port.host_port}-{port.host_port_end}")


def _bind(port: PortMap, number: int) -> socket.socket | None:
    """A socket that holds the number, None when somebody else does."""
    sock = socket.socket(socket.AF_INET, _FAMILY[port.protocol])
    try:
        if port.protocol == "tcp":
            # Connections that ended a while ago (TIME_WAIT) shall not keep the port from us.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((port.host_ip or "0.0.0.0", number))  # noqa: S104 - what the user asked for
        if port.protocol == "tcp":
            sock.listen(1)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        if error.errno == errno.EADDRNOTAVAIL:
            raise Invalid(
                f"this host does not have the address {port.host_ip}",
                hint="publish on an address of this host, or on all",
            ) from error
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def _in_use(port: PortMap) -> Conflict:
    who = holder(port)
    return Conflict(
        f"host port {port.host_port}/{port.protocol} is in use" + (f" by {who}" if who else ""),
        hint="choose another host port, or leave it out to get a free one",
        code="port.in-use",
    )


def holder(port: PortMap, *, proc: Path = procfs.PROC) -> str:
    """Who has a port: a guest, or a program with its pid; empty when it can't be found."""
    inodes = set(_inodes(port, proc))
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in procfs.pids(proc=proc):
        with contextlib.suppress(OSError):
            for fd in (proc / str(pid) / "fd").iterdir():
                if fd.readlink().name in wanted:
                    return _name(pid, proc)
    return ""


def _inodes(port: PortMap, proc: Path) -> Iterator[str]:
    """Inodes of sockets that have the port, of proc's tables (their layout: proc(5))."""
    for table in (port.protocol, f"{port.protocol}6"):
        for line in (procfs.read(proc / "net" / table) or "").splitlines()[1:]:
            fields = line.split()
            number = int(fields[1].rpartition(":")[2], 16)
            if number == port.host_port and fields[3] == _LISTENING[port.protocol]:
                yield fields[9]


def _name(pid: int, proc: Path) -> str:
    """A keeper works in its guest's run directory."""
    with contextlib.suppress(OSError):
        directory = (proc / str(pid) / "cwd").readlink()
        if is_id(directory.name):
            return f"guest {short(directory.name)}"
    command = (procfs.read(proc / str(pid) / "comm") or "").strip()
    return f"{command} (process {pid})" if command else f"process {pid}"
