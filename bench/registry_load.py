#!/usr/bin/env python3
"""Clients of a registry that cost next to nothing: bytes go by sendfile, and come into the void.

    bench/registry_load.py ADDRESS push|pull BYTES BLOBS CLIENTS

Prints the seconds that it took. Blobs are pushed as docker and skopeo do (POST, PATCH, PUT) and are
new each time; before pulls they are pushed once, which does not count.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

NAME = "bench/blobs"
BUFFER = 1 << 20
MSG_TRUNC = 0x20
"""tcp(7): bytes are dropped instead of copied."""


@dataclass(frozen=True)
class Blob:
    """Bytes in memory: a few of its own, then what all have."""

    head: bytes
    body: int
    size: int
    digest: str


class Connection:
    """One kept-alive connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = address
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(BUFFER)

    def ask(
        self, verb: str, target: str, *, blob: Blob | None = None, wanted: int
    ) -> dict[str, str]:
        """One request; its answer's headers. Raises RuntimeError for another status."""
        size = blob.size if blob else 0
        head = f"{verb} {target} HTTP/1.1\r\nHost: {self._address}\r\nContent-Length: {size}\r\n"
        if blob:
            head += "Content-Type: application/octet-stream\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + (blob.head if blob else b""))
        if blob:
            at = len(blob.head)
            while at < blob.size:
                at += os.sendfile(self._socket.fileno(), blob.body, at, blob.size - at)
        return self._answer(wanted)

    def _answer(self, wanted: int) -> dict[str, str]:
        data = b""
        while b"\r\n\r\n" not in data:
            got = self._socket.recv(65536)
            if not got:
                raise RuntimeError("the connection was closed")
            data += got
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        left = int(headers.get("content-length", "0")) - len(rest)
        while left > 0:
            dropped = self._socket.recv_into(self._buffer, min(left, BUFFER), MSG_TRUNC)
            if not dropped:
                raise RuntimeError("the connection was closed")
            left -= dropped
        if status != wanted:
            raise RuntimeError(f"{lines[0]}: {rest.decode('latin-1')}")
        return headers


def make(size: int, count: int) -> list[Blob]:
    """Blobs that no registry has seen."""
    body = os.memfd_create("blob")
    os.truncate(body, size)
    block = secrets.token_bytes(min(size, BUFFER))
    for at in range(0, size, BUFFER):
        os.pwrite(body, block[: size - at], at)
    blobs = []
    for _ in range(count):
        head = secrets.token_bytes(16)
        found = hashlib.sha256(head)
        for at in range(16, size, BUFFER):
            found.update(os.pread(body, min(BUFFER, size - at), at))
        blobs.append(Blob(head, body, size, f"sha256:{found.hexdigest()}"))
    return blobs


def push(link: Connection, blob: Blob) -> None:
    """As docker does."""
    place = link.ask("POST", f"/v2/{NAME}/blobs/uploads/", wanted=202)["location"]
    place = link.ask("PATCH", _target(place), blob=blob, wanted=202)["location"]
    joint = "&" if "?" in place else "?"
    link.ask("PUT", f"{_target(place)}{joint}digest={blob.digest}", wanted=201)


def _target(place: str) -> str:
    return place[place.index("/v2/") :]


def pull(link: Connection, blob: Blob) -> None:
    """The bytes come and are dropped."""
    link.ask("GET", f"/v2/{NAME}/blobs/{blob.digest}", wanted=200)


def spend(
    address: str, blobs: Sequence[Blob], clients: int, action: Callable[[Connection, Blob], None]
) -> float:
    """Seconds until that many clients have done it with all blobs."""
    links = [Connection(address) for _ in range(clients)]

    def work(number: int) -> None:
        for blob in blobs[number::clients]:
            action(links[number], blob)

    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        list(pool.map(work, range(clients)))
        return time.perf_counter() - began


def main() -> int:
    address, verb, size, count, clients = sys.argv[1:]
    blobs = make(int(size), int(count))
    if verb == "pull":
        spend(address, blobs, int(clients), push)
    print(spend(address, blobs, int(clients), {"push": push, "pull": pull}[verb]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
