"""Questions, and a network with guests to ask about."""

from __future__ import annotations

import dnslib
from dnslib import DNSRecord

from wirt.model.network import Endpoint
from wirt.network.dns import respond
from wirt.network.names import View


def place(address: str, *names: str) -> Endpoint:
    return Endpoint(
        network_id="n", network="web", address=address, prefix=24, gateway="", mac="",
        interface="eth0", names=names,
    )  # fmt: skip


MANY = tuple(place(f"10.0.0.{n}", f"g{n}", "many") for n in range(10, 110))
OPEN = View(
    endpoints=(place("10.0.0.2", "db", "pg"), place("10.0.0.3", "db2", "pg"), *MANY),
    host="10.0.0.1",
    forward=True,
)
CLOSED = View(endpoints=OPEN.endpoints, host="10.0.0.1", forward=False)


def query(name: str, kind: str = "A", *, edns: int = 0) -> bytes:
    made = DNSRecord.question(name, kind)
    if edns:
        made.add_ar(dnslib.EDNS0(udp_len=edns))
    packed: bytes = made.pack()
    return packed


def ask(message: bytes, view: View = OPEN, *, turn: int = 0, udp: bool = True) -> DNSRecord:
    reply = respond(message, view, turn=turn, udp=udp)
    assert reply is not None
    assert reply[:2] == message[:2]
    parsed = DNSRecord.parse(reply)
    assert parsed.header.qr == 1
    return parsed


def addresses(record: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in record.rr]
