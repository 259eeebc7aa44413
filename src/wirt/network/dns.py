"""Names for guests: one small DNS server for each network, on its gateway's address.

It knows the guests of the asker's networks and passes everything else on. Every packet is hostile
until parsed: nothing a guest sends ends the server or makes it wait for anyone but that guest.
RFC 1035 (messages), 2308 (negative answers), 6891 (EDNS), 7766 (TCP).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

from dnslib import DNSBuffer, DNSHeader, DNSQuestion, DNSRecord
from dnslib.bimap import BimapError
from dnslib.buffer import BufferError as DNSBufferError
from dnslib.dns import CLASS, EDNS0, OPCODE, PTR, QR, QTYPE, RCODE, RR, A, DNSError
from dnslib.label import DNSLabelError

from wirt.aio import Nursery
from wirt.network.forward import MAX_MESSAGE, Forwarder
from wirt.network.names import View

log = logging.getLogger("wirt.dns")

TTL = 5
"""Seconds. A guest that goes away is soon forgotten."""

ASKER_LIMIT = 64
"""Questions under way, or connections, of one guest."""

IDLE_SECONDS = 10.0
_UDP_SIZE = 512
_OUR_UDP_SIZE = 1232
_REVERSE = ".in-addr.arpa"
_BROKEN = (
    DNSError, DNSBufferError, DNSLabelError, BimapError, struct.error, ValueError, TypeError,
    IndexError, KeyError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What dnslib raises for malformed messages."""


def respond(message: bytes, view: View, *, turn: int = 0, udp: bool = True) -> bytes | None:
    """The answer to a query, or None when it must be asked elsewhere. Pure.

    ``turn`` rotates several addresses of one name. A message that is no query, or none that can
    be answered, gets the code that says so; one too short to answer raises ValueError.
    """
    if len(message) < 12 or message[2] & 0x80:
        raise ValueError("no query")
    if (message[2] >> 3) & 0x0F != OPCODE.QUERY:
        return failure(message, RCODE.NOTIMP)
    try:
        query = DNSRecord.parse(message)
        (question,) = query.questions
        name = b".".join(question.qname.label).decode("ascii").lower()
    except UnicodeDecodeError:
        return None if view.forward else failure(message, RCODE.NXDOMAIN)
    except _BROKEN:
        return failure(message, RCODE.FORMERR)
    if question.qclass != CLASS.IN:
        return failure(message, RCODE.REFUSED)
    answer = _known(query, question, name, view, turn)
    if answer is None:
        return None if view.forward else failure(message, RCODE.NXDOMAIN)
    return _pack(query, answer, udp)


def failure(message: bytes, code: int) -> bytes:
    """An answer that has nothing but a code, and the question where it can be read."""
    (number,) = struct.unpack_from("!H", message)
    reply = DNSRecord(DNSHeader(id=number, qr=QR.RESPONSE, ra=1, rd=message[2] & 1, rcode=code))
    if code != RCODE.FORMERR:
        with contextlib.suppress(*_BROKEN):
            buffer = DNSBuffer(message)
            buffer.offset = 12
            reply.add_question(DNSQuestion.parse(buffer))
    packed: bytes = reply.pack()
    return packed


def _known(
    query: DNSRecord, question: DNSQuestion, name: str, view: View, turn: int
) -> DNSRecord | None:
    """The answer when the name is one of ours."""
    header = DNSHeader(id=query.header.id, qr=QR.RESPONSE, aa=1, ra=1, rd=query.header.rd)
    answer = DNSRecord(header, q=question)
    if name.endswith(_REVERSE):
        owner = view.name_of(_forwards(name))
        if owner is None:
            return None
        if question.qtype in {QTYPE.PTR, QTYPE.ANY}:
            answer.add_answer(RR(question.qname, QTYPE.PTR, rdata=PTR(owner), ttl=TTL))
        return answer
    addresses = view.addresses(name)
    if addresses is None:
        return None
    if question.qtype in {QTYPE.A, QTYPE.ANY}:
        first = turn % len(addresses)
        for address in addresses[first:] + addresses[:first]:
            answer.add_answer(RR(question.qname, QTYPE.A, rdata=A(address), ttl=TTL))
    return answer


def _forwards(name: str) -> str:
    """The address of ``2.0.210.10.in-addr.arpa``; nonsense leads to nobody."""
    return ".".join(reversed(name.removesuffix(_REVERSE).split(".")))


def _pack(query: DNSRecord, answer: DNSRecord, udp: bool) -> bytes:
    room = _UDP_SIZE
    extended = [rr for rr in query.ar if rr.rtype == QTYPE.OPT]
    if extended:
        room = min(max(_UDP_SIZE, extended[0].rclass), _OUR_UDP_SIZE)
        answer.add_ar(EDNS0(udp_len=_OUR_UDP_SIZE))
    packed: bytes = answer.pack()
    if udp and len(packed) > room:
        answer.rr = []
        answer.header.tc = 1
        packed = answer.pack()
    return packed


class DnsServer:
    """Answers on one network. ``view``: what an asker's address sees; ``servers``: the host's
    resolvers, read anew for each question that is passed on."""

    def __init__(
        self,
        *,
        subnet: str,
        view: Callable[[str], View],
        servers: Callable[[], tuple[str, ...]],
        forwarder: Forwarder,
        nursery: Nursery,
    ) -> None:
        self._subnet = IPv4Network(subnet)
        self._view = view
        self._servers = servers
        self._forwarder = forwarder
        self._nursery = nursery
        self._turns = itertools.count()
        self._busy: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def open(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Serve on a bound and a listening socket, which become the server's."""
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._datagram), sock=udp
            )
            self._tcp = await asyncio.start_server(self._connection, sock=tcp)
        except BaseException:
            udp.close()
            tcp.close()
            raise

    async def close(self) -> None:
        """Stop answering and close the sockets. Connections end by themselves."""
        if self._transport is not None:
            self._transport.close()
        if self._tcp is not None:
            self._tcp.close()

    # --- datagrams

    def _datagram(self, message: bytes, source: tuple[str, int]) -> None:
        asker = source[0]
        try:
            reply = self._local(message, asker, udp=True)
        except ValueError:
            return  # no query: never answered, so two servers cannot keep each other busy
        if reply is not None:
            self._send(reply, source)
        elif self._busy[asker] >= ASKER_LIMIT:
            self._send(failure(message, RCODE.SERVFAIL), source)
        else:
            self._nursery.start(self._pass_on(message, source), name=f"dns for {asker}")

    async def _pass_on(self, message: bytes, source: tuple[str, int]) -> None:
        with self._counted(source[0]):
            self._send(await self._ask(message, source[0], tcp=False), source)

    def _send(self, reply: bytes, source: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, source)

    # --- connections

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asker = writer.get_extra_info("peername")[0]
        try:
            if self._busy[asker] < ASKER_LIMIT:
                with self._counted(asker):
                    await self._converse(reader, writer, asker)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("connection of %s: %s", asker, error)
        finally:
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: str
    ) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2), "big")
                message = await reader.readexactly(length)
            reply = self._local(message, asker, udp=False)
            if reply is None:
                reply = await self._ask(message, asker, tcp=True)
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.drain()

    # --- both

    def _local(self, message: bytes, asker: str, *, udp: bool) -> bytes | None:
        if IPv4Address(asker) not in self._subnet:
            if len(message) < 12 or message[2] & 0x80:
                raise ValueError("no query")
            return failure(message, RCODE.REFUSED)
        return respond(message, self._view(asker), turn=next(self._turns), udp=udp)

    async def _ask(self, message: bytes, asker: str, *, tcp: bool) -> bytes:
        servers = self._view(asker).upstreams or self._servers()
        reply = await self._forwarder.ask(message, servers, tcp=tcp)
        if reply is None or len(reply) > MAX_MESSAGE:
            return failure(message, RCODE.SERVFAIL)
        return reply

    @contextlib.contextmanager
    def _counted(self, asker: str) -> Iterator[None]:
        self._busy[asker] += 1
        try:
            yield
        finally:
            self._busy[asker] -= 1
            if not self._busy[asker]:
                del self._busy[asker]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("a guest did not take its answer: %s", exc)
