"""Compression of our own layers: valid gzip, and the same bytes for the same content."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.tar.deflate import Deflater, deflate

DATA = b"".join(n.to_bytes(4, "big") * (n % 7) for n in range(400_000))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000))
def test_what_goes_in_comes_out(data: bytes) -> None:
    assert gzip.decompress(deflate(data)) == data


@pytest.mark.parametrize("step", [1000, 65_536, 1_048_576, 3_000_000])
def test_the_writers_pieces_leave_no_trace(step: int) -> None:
    stream = Deflater()
    made = [stream.feed(memoryview(DATA)[at : at + step]) for at in range(0, len(DATA), step)]
    made.append(stream.finish())
    assert b"".join(made) == deflate(DATA)
    assert gzip.decompress(b"".join(made)) == DATA


def test_the_header_has_neither_time_nor_name() -> None:
    made = deflate(b"hello")
    assert made[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    assert len(deflate(DATA)) < len(DATA) / 2
