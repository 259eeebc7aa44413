"""The DNS server and the forwarder with sockets on the loopback, beside liars and the dead."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import dnslib
from dnslib import RCODE, DNSRecord

from dnslab import OPEN, addresses, query
from wirt.aio import Nursery
from wirt.network.dns import ASKER_LIMIT, DnsServer
from wirt.network.forward import Forwarder
from wirt.network.names import View


class Upstream(asyncio.DatagramProtocol):
    """A resolver that can be told to lie: ``replies`` makes the messages sent back."""

    def __init__(self, replies: Callable[[bytes], list[bytes]]) -> None:
        self._replies = replies
        self.seen: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.seen.append(data)
        for reply in self._replies(data):
            self._transport.sendto(reply, addr)


def truth(data: bytes, address: str = "192.0.2.80", code: int = RCODE.NOERROR) -> bytes:
    reply = DNSRecord.parse(data).reply()
    reply.header.rcode = code
    if code == RCODE.NOERROR:
        reply.add_answer(*dnslib.RR.fromZone(f"{reply.q.qname} 60 A {address}"))
    packed: bytes = reply.pack()
    return packed


@contextlib.asynccontextmanager
async def upstream(
    replies: Callable[[bytes], list[bytes]], address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[Upstream, int]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Upstream(replies), local_addr=(address, port)
    )
    try:
        yield protocol, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def test_questions_are_passed_on_with_another_number_and_lies_are_ignored() -> None:
    def replies(data: bytes) -> list[bytes]:
        wrong_number = bytes([data[0] ^ 1]) + truth(data, "6.6.6.6")[1:]
        wrong_question = data[:2] + truth(query("bank.example"), "6.6.6.6")[2:]
        no_reply = data[:2] + query("elsewhere.example")[2:]
        return [wrong_number, wrong_question, no_reply, b"", b"x" * 9, truth(data)]

    async def story() -> None:
        async with upstream(replies) as (server, port):
            message = query("elsewhere.example")
            seen = set()
            for _ in range(20):
                reply = await Forwarder(port=port).ask(message, ["127.0.0.1"])
                assert reply is not None
                assert reply[:2] == message[:2]
                assert addresses(DNSRecord.parse(reply)) == ["192.0.2.80"]
            seen = {data[:2] for data in server.seen}
            assert len(seen) > 15, "the numbers are random"

    asyncio.run(story())


def test_the_next_server_is_asked_when_one_fails_or_is_silent() -> None:
    async def story() -> None:
        silent = upstream(lambda _: [])
        async with silent as (dead, port):
            broken = upstream(lambda d: [truth(d, code=RCODE.SERVFAIL)], "127.0.0.2", port)
            good = upstream(lambda d: [truth(d, code=RCODE.NXDOMAIN)], "127.0.0.3", port)
            async with broken as (ill, _), good:
                forwarder = Forwarder(timeout=1.0, port=port)
                servers = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
                reply = await forwarder.ask(query("x"), servers)
                assert reply is not None
                assert DNSRecord.parse(reply).header.rcode == RCODE.NXDOMAIN
                assert (len(dead.seen), len(ill.seen)) == (1, 1)
                reply = await forwarder.ask(query("x"), servers[:2])
                assert reply is not None
                assert DNSRecord.parse(reply).header.rcode == RCODE.SERVFAIL, "all there is"
                assert await forwarder.ask(query("x"), servers[:1]) is None
                assert await forwarder.ask(query("x"), ["127.0.0.9"]) is None, "nobody there"
                assert await forwarder.ask(query("x"), []) is None

    asyncio.run(story())


def both_sockets() -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one free port of the loopback; others take ports at the same time."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(type=socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp


@contextlib.asynccontextmanager
async def serving(
    servers: tuple[str, ...] = (), *, port: int = 53, subnet: str = "127.0.0.0/8", view: View = OPEN
) -> AsyncIterator[tuple[str, int]]:
    nursery = Nursery("test")
    udp, tcp = both_sockets()
    where: tuple[str, int] = udp.getsockname()
    for sock in (udp, tcp):
        sock.setblocking(False)
    server = DnsServer(
        subnet=subnet,
        view=lambda _asker: view,
        servers=lambda: servers,
        forwarder=Forwarder(timeout=1.0, port=port),
        nursery=nursery,
    )
    await server.open(udp, tcp)
    try:
        yield where
    finally:
        await server.close()
        await nursery.close()
    assert nursery.failures == 0


def resolving(port: int) -> contextlib.AbstractAsyncContextManager[tuple[str, int]]:
    return serving(("127.0.0.1",), port=port)


async def by_udp(
    where: tuple[str, int], *messages: bytes, replies: int | None = None
) -> list[bytes]:
    loop = asyncio.get_running_loop()
    count = len(messages) if replies is None else replies
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(where)
        for message in messages:
            await loop.sock_sendall(sock, message)
        return [await asyncio.wait_for(loop.sock_recv(sock, 65_535), 20) for _ in range(count)]


async def by_tcp(where: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    writer.write(data)
    writer.write_eof()
    got = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return got


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story(), 60)

    asyncio.run(bounded())


def test_the_server_answers_over_udp_and_tcp() -> None:
    async def story() -> None:
        async with upstream(lambda d: [truth(d)]) as (_, port), resolving(port) as where:
            (local,) = await by_udp(where, query("db"))
            assert addresses(DNSRecord.parse(local)) == ["10.0.0.2"]
            (passed,) = await by_udp(where, query("elsewhere.example"))
            assert addresses(DNSRecord.parse(passed)) == ["192.0.2.80"]
            both = await by_tcp(where, framed(query("db")) + framed(query("many")))
            length = int.from_bytes(both[:2], "big")
            assert addresses(DNSRecord.parse(both[2 : 2 + length])) == ["10.0.0.2"]
            assert len(DNSRecord.parse(both[4 + length :]).rr) == 100

    run(story)


def test_a_truncated_answer_is_had_whole_over_tcp() -> None:
    async def truthful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(framed(truth(await reader.readexactly(length))))
        await writer.drain()
        writer.close()

    def cut(data: bytes) -> bytes:
        reply = DNSRecord.parse(data).reply()
        reply.header.tc = 1
        packed: bytes = reply.pack()
        return packed

    async def story() -> None:
        tcp = await asyncio.start_server(truthful, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        async with tcp, upstream(lambda d: [cut(d)], port=port), resolving(port) as where:
            (short,) = await by_udp(where, query("big.example"))
            assert DNSRecord.parse(short).header.tc == 1
            whole = await by_tcp(where, framed(query("big.example")))
            assert addresses(DNSRecord.parse(whole[2:])) == ["192.0.2.80"]

    run(story)


def test_a_dead_upstream_is_a_failure_not_silence() -> None:
    async def story() -> None:
        async with upstream(lambda _: []) as (_, port), resolving(port) as where:
            (reply,) = await by_udp(where, query("elsewhere.example"))
            assert DNSRecord.parse(reply).header.rcode == RCODE.SERVFAIL
            assert str(DNSRecord.parse(reply).q.qname) == "elsewhere.example."
        async with serving() as where:
            (reply,) = await by_udp(where, query("elsewhere.example"))
            assert DNSRecord.parse(reply).header.rcode == RCODE.SERVFAIL, "no resolver at all"

    run(story)


def test_strangers_are_refused() -> None:
    async def story() -> None:
        async with serving(subnet="10.0.0.0/24") as where:
            (reply,) = await by_udp(where, query("db"))
            assert DNSRecord.parse(reply).header.rcode == RCODE.REFUSED
            assert DNSRecord.parse(reply).rr == []
            reply = await by_tcp(where, framed(query("db")))
            assert DNSRecord.parse(reply[2:]).header.rcode == RCODE.REFUSED

    run(story)


def test_garbage_over_both_ways_leaves_the_server_whole() -> None:
    async def story() -> None:
        async with serving() as where:
            junk = [b"", b"x", bytes(11), bytes(12), b"\xff" * 700, query("db")[:-1]]
            responses = b"\0\1\x80\0" + bytes(8)
            answered = [m for m in junk if len(m) >= 12 and not m[2] & 0x80]
            await by_udp(where, *junk, responses, replies=len(answered))
            for data in (
                b"",
                b"\0",
                b"\0\5ab",
                b"\xff\xff" + bytes(100),
                framed(b""),
                framed(b"x"),
            ):
                await by_tcp(where, data)
            (reply,) = await by_udp(where, query("db"))
            assert addresses(DNSRecord.parse(reply)) == ["10.0.0.2"]

    run(story)


def test_one_guest_cannot_keep_the_server_busy() -> None:
    async def story() -> None:
        async with upstream(lambda _: []) as (silent, port), resolving(port) as where:
            questions = [query(f"{n}.example") for n in range(ASKER_LIMIT + 30)]
            replies = await by_udp(where, *questions)
            assert {DNSRecord.parse(r).header.rcode for r in replies} == {RCODE.SERVFAIL}
            asked = {data[12:] for data in silent.seen}
            assert len(asked) <= ASKER_LIMIT
            (reply,) = await by_udp(where, query("db"))
            assert addresses(DNSRecord.parse(reply)) == ["10.0.0.2"]

    run(story)
