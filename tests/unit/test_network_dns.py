"""What the DNS server answers, and that no message ends it."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from dnslab import CLOSED, OPEN, addresses, ask, query
from wirt.network.dns import failure, respond
from wirt.network.forward import question_end


def test_names_resolve_whatever_their_case() -> None:
    assert addresses(ask(query("db"))) == ["10.0.0.2"]
    reply = ask(query("DB."))
    assert addresses(reply) == ["10.0.0.2"]
    assert str(reply.rr[0].rname) == "DB.", "the question is echoed as it was"
    assert addresses(ask(query("db.web"))) == ["10.0.0.2"]
    assert addresses(ask(query("host.docker.internal"))) == ["10.0.0.1"]


def test_a_shared_alias_takes_turns() -> None:
    assert addresses(ask(query("pg"))) == ["10.0.0.2", "10.0.0.3"]
    assert addresses(ask(query("pg"), turn=1)) == ["10.0.0.3", "10.0.0.2"]


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "HTTPS", "SRV"])
def test_a_name_of_ours_has_nothing_else_and_says_so(kind: str) -> None:
    reply = ask(query("db", kind))
    assert reply.header.rcode == RCODE.NOERROR
    assert reply.rr == []
    assert respond(query("elsewhere.example", kind), OPEN) is None


def test_reverse_lookups() -> None:
    reply = ask(query("2.0.0.10.in-addr.arpa", "PTR"))
    assert str(reply.rr[0].rdata) == "db.web."
    assert respond(query("9.9.9.9.in-addr.arpa", "PTR"), OPEN) is None
    assert respond(query("x.in-addr.arpa", "PTR"), OPEN) is None


def test_without_a_way_out_unknown_names_do_not_exist() -> None:
    assert addresses(ask(query("db"), CLOSED)) == ["10.0.0.2"]
    assert ask(query("elsewhere.example"), CLOSED).header.rcode == RCODE.NXDOMAIN
    assert ask(query("9.9.9.9.in-addr.arpa", "PTR"), CLOSED).header.rcode == RCODE.NXDOMAIN


def test_long_answers_are_cut_for_udp_and_whole_over_tcp() -> None:
    cut = respond(query("many"), OPEN)
    assert cut is not None
    assert len(cut) <= 512
    assert DNSRecord.parse(cut).header.tc == 1
    assert str(DNSRecord.parse(cut).q.qname) == "many."
    roomy = respond(query("many", edns=65_000), OPEN)
    assert roomy is not None
    assert len(roomy) <= 1232
    whole = ask(query("many"), udp=False)
    assert whole.header.tc == 0
    assert len(whole.rr) == 100


def test_edns_is_answered_with_edns() -> None:
    assert ask(query("db")).ar == []
    assert [rr.rtype for rr in ask(query("db", edns=1232)).ar] == [QTYPE.OPT]


def test_odd_messages_get_the_code_that_fits() -> None:
    two = DNSRecord(DNSHeader(id=7, rd=1), questions=[DNSQuestion("a"), DNSQuestion("b")])
    assert ask(two.pack()).header.rcode == RCODE.FORMERR
    notify = DNSRecord(DNSHeader(id=7, opcode=4), q=DNSQuestion("db"))
    assert ask(notify.pack()).header.rcode == RCODE.NOTIMP
    chaos = DNSRecord(DNSHeader(id=7), q=DNSQuestion("version.bind", QTYPE.TXT, 3))
    assert ask(chaos.pack()).header.rcode == RCODE.REFUSED
    assert ask(query("db")[:-3]).header.rcode == RCODE.FORMERR
    loop = query("db")[:12] + b"\xc0\x0c\0\1\0\1"
    assert ask(loop).header.rcode == RCODE.FORMERR
    for none in (b"", b"short", query("db")[:2] + b"\x81" + query("db")[3:]):
        with pytest.raises(ValueError, match="no query"):
            respond(none, OPEN)


damaged = st.builds(
    lambda base, cuts, tail: _damage(base, cuts) + tail,
    st.sampled_from([query("db"), query("many", edns=4096), query("2.0.0.10.in-addr.arpa", "PTR")]),
    st.lists(st.tuples(st.integers(2, 60), st.integers(0, 255)), max_size=6),
    st.binary(max_size=40),
)


def _damage(base: bytes, cuts: list[tuple[int, int]]) -> bytes:
    data = bytearray(base)
    for at, value in cuts:
        if at < len(data):
            data[at] = value
    return bytes(data)


@given(message=st.one_of(st.binary(max_size=600), damaged), forward=st.booleans())
def test_no_message_ends_the_server(message: bytes, forward: bool) -> None:
    view = OPEN if forward else CLOSED
    if len(message) < 12 or message[2] & 0x80:
        with pytest.raises(ValueError, match="no query"):
            respond(message, view)
        return
    reply = respond(message, view)
    if reply is None:
        reply = failure(message, RCODE.SERVFAIL)
    assert reply[:2] == message[:2]
    assert reply[2] & 0x80
    assert len(reply) <= 1232


@given(message=st.binary(max_size=80))
def test_the_end_of_a_question_is_inside_the_message(message: bytes) -> None:
    end = question_end(message)
    assert end is None or 17 <= end <= len(message)
