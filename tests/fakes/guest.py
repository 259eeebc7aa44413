"""A scripted daemon with one guest, for tests of attached commands."""

from __future__ import annotations

import socket
import threading

from fakes.daemon import Exchange, FakeDaemon, frame

GUEST = "c0ffee" + "0" * 58
ROUTE = f"/v1/guests/{GUEST}"


class Script:
    """A daemon with one guest: what it says once started, and how it ends."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.output = b""
        self.code = 0
        self.error: str | None = None
        self.begin = threading.Event()
        self.over = threading.Event()
        self.received = b""
        self.half_closed = threading.Event()
        self.hold = False
        daemon.routes.update(
            {
                "POST /v1/guests": lambda x: x.answer(
                    {"id": GUEST, "name": "n", "warnings": []}, status=201
                ),
                f"POST {ROUTE}/attach": self.attach,
                f"POST {ROUTE}/wait": self.wait,
                f"POST {ROUTE}/start": self.start,
                f"GET {ROUTE}": lambda x: x.answer(
                    {"id": GUEST, "status": {"state": "running"}, "spec": {}}
                ),
                f"POST {ROUTE}/kill": self.kill,
                f"POST {ROUTE}/resize": lambda x: x.answer(status=204),
            }
        )

    def attach(self, exchange: Exchange) -> None:
        stream = exchange.upgrade()
        self.begin.wait(10)
        stream.sendall(self.output)
        if exchange.request.one("stdin") == "1":
            while data := stream.recv(65536):
                self.received += data
            self.half_closed.set()
            stream.sendall(frame(1, b"bye\n"))
        if self.hold:
            self.over.wait(10)
        stream.shutdown(socket.SHUT_WR)
        self.over.set()

    def wait(self, exchange: Exchange) -> None:
        exchange.begin()
        self.over.wait(10)
        told = f'{{"code":{self.code}' + (f',"error":"{self.error}"' if self.error else "") + "}\n"
        exchange.chunk(told.encode())
        exchange.chunk(b"")

    def start(self, exchange: Exchange) -> None:
        exchange.answer(status=204)
        self.begin.set()

    def kill(self, exchange: Exchange) -> None:
        exchange.answer(status=204)
        self.over.set()
