"""A small world of network namespaces: a host of its own, boxes beside it, real packets.

``@isolated`` runs a test in a child process with network and mount namespaces of its own, so the
machine's interfaces and rules are never touched and everything vanishes with the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec

import pytest

from wirt.privileged import links
from wirt.privileged.netlink import Netlink

P = ParamSpec("P")
_NEWNET = 0x40000000
_NEWNS = 0x00020000
_PATIENCE = 10.0
_BLOCKED = 0.4
"""Seconds after which a call that nobody answers counts as blocked, where that is expected."""


def isolated(test: Callable[P, None]) -> Callable[P, None]:
    """Run the test in a child with namespaces of its own; its failure is shown as text."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            status = 1
            try:
                _enter_namespaces()
                test(*args, **kwargs)
                status = 0
            except BaseException:  # noqa: BLE001 - told to the parent
                os.write(write, traceback.format_exc()[-60_000:].encode())
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            words = pipe.read().decode()
        _, status = os.waitpid(pid, 0)
        if status:
            pytest.fail(words or f"the test's process ended with status {status}", pytrace=False)

    return run


def _enter_namespaces() -> None:
    _die_with_parent()
    _unshare(_NEWNET | _NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with Netlink() as netlink:
        links.set_link(netlink, name="lo", up=True)


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _die_with_parent() -> None:
    _libc().prctl(1, signal.SIGKILL, 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class Box:
    """A network namespace held by a process: a stand-in for a guest, or the outside world."""

    def __init__(self) -> None:
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _die_with_parent()
            _unshare(_NEWNET)
            os.write(tell, b"x")
            os.closerange(3, 1024)  # sockets of whoever made the box
            while True:
                signal.pause()
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        self.address = ""

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """What is done here is done in this namespace: sockets stay in it for good."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(home)
            os.close(home)
            os.close(there)

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Here(Box):
    """The host of the small world: the namespace that the test is in."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        yield


def _setns(fd: int) -> None:
    if _libc().setns(fd, _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def plug(box: Box, *, bridge: str, address: str, gateway: str, host: str, alias: str = "x") -> None:
    """Give a box a card on a bridge, as the launch of a guest does."""
    ip = socket.inet_aton(address.partition("/")[0])
    with Netlink() as netlink:
        links.add_veth(
            netlink, host=host, guest="eth0", pid=box.pid, bridge=bridge,
            mac=(b"\x02\x42" + ip).hex(":"), mtu=1500, alias=alias,
        )  # fmt: skip
    with box.inside():
        links.configure("eth0", address, gateway)
    box.address = address.partition("/")[0]


def uplink(world: Box) -> None:
    """Connect the host (192.0.2.1) and the world (192.0.2.2), which knows no way to guests."""
    ip = f"ip link add up0 type veth peer name up0 netns {world.pid}"
    subprocess.run(ip.split(), check=True)
    with Netlink() as netlink:
        links.add_address(netlink, interface="up0", address="192.0.2.1/24")
        links.set_link(netlink, name="up0", up=True)
        links.add_route(netlink, gateway="192.0.2.2")
    with world.inside(), Netlink() as netlink:
        links.set_link(netlink, name="lo", up=True)
        links.add_address(netlink, interface="up0", address="192.0.2.2/24")
        links.set_link(netlink, name="up0", up=True)
    world.address = "192.0.2.2"


def tcp(
    client: Box, server: Box, to: str, port: int, *, at: int | None = None, blocked: bool = False
) -> str | None:
    """Whom the server sees when ``client`` connects to ``to``:``port``; None when it can't.

    The server listens on port ``at`` (``port`` when not given) of all its addresses. ``blocked``:
    it is expected not to work, so do not wait long.
    """
    patience = _BLOCKED if blocked else _PATIENCE
    with server.inside():
        listener = socket.create_server(("", at or port))
    with client.inside():
        calling = socket.socket()
    with listener, calling:
        calling.settimeout(patience)
        listener.settimeout(patience)
        try:
            calling.connect((to, port))
        except OSError:
            return None
        try:
            accepted, peer = listener.accept()
        except TimeoutError:
            return None  # somebody else took the call
        with accepted:
            accepted.settimeout(_PATIENCE)
            calling.settimeout(_PATIENCE)
            calling.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.sendall(b"pong")
            assert calling.recv(4) == b"pong"
            return str(peer[0])


def udp(
    client: Box, server: Box, to: str, port: int, *, at: int | None = None, blocked: bool = False
) -> str | None:
    """As :func:`tcp`, with one datagram there and one back. The client is a connected socket, so
    the answer must come from where the question went."""
    with server.inside():
        listener = socket.socket(type=socket.SOCK_DGRAM)
        listener.bind(("", at or port))
    with client.inside():
        calling = socket.socket(type=socket.SOCK_DGRAM)
    with listener, calling:
        listener.settimeout(_BLOCKED if blocked else _PATIENCE)
        try:
            calling.connect((to, port))
            calling.send(b"ping")
            data, peer = listener.recvfrom(100)
        except OSError:
            return None
        assert data == b"ping"
        listener.sendto(b"pong", peer)
        calling.settimeout(_PATIENCE)
        assert calling.recv(100) == b"pong"
        return str(peer[0])


def nft(*words: str) -> str:
    """What nft says."""
    done = subprocess.run(["nft", *words], capture_output=True, text=True, check=True)
    return done.stdout


def sysctl(name: str) -> str:
    """A kernel parameter of this network namespace, as ``net/ipv4/ip_forward``."""
    return Path("/proc/sys", name).read_text().strip()
