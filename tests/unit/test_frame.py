"""The codec in Python, and against the one in C."""

from __future__ import annotations

import subprocess
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import NATIVE, ROOT, needs
from wirt.guest.frame import (
    HEADER,
    MORE,
    PAYLOAD_MAX,
    RECORD_MAX,
    Frame,
    FrameParser,
    Malformed,
    RecordParser,
    decode_record,
    encode_record,
    pairs_of,
    record_frames,
)

KEYS = st.text(
    st.characters(blacklist_characters="=\0", blacklist_categories=["Cs"]), min_size=1, max_size=8
)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)
PAIRS = st.lists(st.tuples(KEYS, VALUES), max_size=12)


def _parse(data: bytes) -> list[tuple[int, int, bytes]]:
    frames, records = FrameParser(), RecordParser()
    found = []
    for frame in frames.feed(data):
        whole = records.add(frame)
        if whole is not None:
            found.append((frame.type, frame.channel, whole))
    assert not frames.torn
    return found


@given(PAIRS)
def test_a_record_comes_back_in_order(pairs: list[tuple[str, str]]) -> None:
    record = decode_record(encode_record(pairs))
    assert sorted(pairs_of(record)) == sorted(pairs)
    for key, _ in pairs:
        assert record[key] == [value for other, value in pairs if other == key]


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=99))),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_frames_survive_every_cut(contents: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    frames = [Frame(kind, channel, payload, 2) for kind, channel, payload in contents]
    data = b"".join(frame.encode() for frame in frames)
    parser = FrameParser()
    found: list[Frame] = []
    edges = [at for at in accumulate(cuts, initial=0) if at < len(data)] + [len(data)]
    for start, end in pairwise(edges):
        found += parser.feed(data[start:end])
    assert found == frames
    assert not parser.torn


def test_bytes_that_are_not_text_come_back() -> None:
    record = decode_record(encode_record([("k", b"\xff\xfe=x"), ("t", "é")]))
    assert encode_record(pairs_of(record)) == b"k=\xff\xfe=x\0t=\xc3\xa9\0"


@pytest.mark.parametrize("pairs", [[("", "x")], [("a=b", "x")], [("a", "x\0y")], [("a\0", "x")]])
def test_what_no_record_can_hold_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"key|NUL"):
        encode_record(pairs)


def test_a_record_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_record([("a", "x" * RECORD_MAX)])
    with pytest.raises(Malformed):
        decode_record(b"a=" + b"x" * RECORD_MAX + b"\0")
    parser = RecordParser()
    piece = Frame(1, 1, b"x" * PAYLOAD_MAX, MORE)
    for _ in range(RECORD_MAX // PAYLOAD_MAX):
        assert parser.add(piece) is None
    with pytest.raises(Malformed):
        parser.add(piece)


@pytest.mark.parametrize("data", [b"a=1", b"a\0", b"=1\0", b"\0", b"a=1\0\0"])
def test_malformed_records(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_record(data)


@pytest.mark.parametrize(
    "header", [b"\x00\x01\x00\x01" + bytes(8), bytes(6) + b"\x01" + bytes(5), b"\xff" * 12]
)
def test_malformed_frames(header: bytes) -> None:
    with pytest.raises(Malformed):
        FrameParser().feed(header)


def test_a_record_may_not_be_interrupted() -> None:
    parser = RecordParser()
    assert parser.add(Frame(1, 1, b"a=", MORE)) is None
    with pytest.raises(Malformed):
        parser.add(Frame(1, 2, b"b=1\0"))


@pytest.mark.parametrize("size", [0, 1, PAYLOAD_MAX, PAYLOAD_MAX + 1, 3 * PAYLOAD_MAX])
def test_long_records_are_split(size: int) -> None:
    data = encode_record([("k", "x" * size)])
    frames = FrameParser().feed(record_frames(5, 6, data))
    assert [f.flags for f in frames] == [MORE] * (len(frames) - 1) + [0]
    assert len(frames) == -(-len(data) // PAYLOAD_MAX)
    assert _parse(record_frames(5, 6, data)) == [(5, 6, data)]


@pytest.fixture(scope="module")
def echo() -> str:
    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "native"), "../build/native/wire-echo"],
        check=True,
        capture_output=True,
    )
    return str(NATIVE / "wire-echo")


def _echoed(echo: str, data: bytes) -> bytes:
    return subprocess.run([echo], input=data, capture_output=True, check=True, timeout=20).stdout


@needs("gcc", "make")
@settings(max_examples=20, deadline=None)
@given(records=st.lists(st.tuples(st.integers(0, 254), st.integers(0, 2**32 - 1), PAIRS)))
def test_both_codecs_agree(
    echo: str, records: list[tuple[int, int, list[tuple[str, str]]]]
) -> None:
    sent = [(kind, channel, encode_record(pairs)) for kind, channel, pairs in records]
    data = b"".join(record_frames(*record) for record in sent)
    assert _parse(_echoed(echo, data)) == sent


@needs("gcc", "make")
def test_both_codecs_agree_on_long_records(echo: str) -> None:
    data = encode_record([("a", "x" * 300_000), ("b", ""), ("a", "y" * PAYLOAD_MAX)])
    assert _parse(_echoed(echo, record_frames(7, 8, data))) == [(7, 8, data)]


@needs("gcc", "make")
@settings(max_examples=25, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda payload: Frame(3, 4, payload).encode()),
        st.builds(
            lambda payload, flags: Frame(3, 4, payload, flags).encode(),
            st.sampled_from([b"a=1\0", b"a=1", b"", b"=\0"]),
            st.integers(0, 3),
        ),
    )
)
def test_both_codecs_refuse_the_same(echo: str, data: bytes) -> None:
    broken = Frame(255, 0, b"").encode()
    try:
        frames, records = FrameParser(), RecordParser()
        for frame in frames.feed(data):
            whole = records.add(frame)
            if whole is not None:
                decode_record(whole)
    except Malformed:
        assert _echoed(echo, data).endswith(broken)
    else:
        assert broken not in _echoed(echo, data)


def test_the_header_is_as_documented() -> None:
    frame = Frame(0x16, 0x01020304, b"hi", 2).encode()
    assert frame == b"\0\0\0\x02" + b"\x16\x02" + b"\0\0" + b"\x01\x02\x03\x04" + b"hi"
    assert len(frame) == HEADER + 2
