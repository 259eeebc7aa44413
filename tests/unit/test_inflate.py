"""Decompression in this process: recognised, whole or an error, bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.tar.inflate import Inflater


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": _zstd, "xz": lzma.compress, "bzip2": bz2.compress,
    "": lambda data: data,
}  # fmt: skip
DATA = bytes(range(256)) * 2000


class Dribble:
    """Gives at most ``most`` bytes at once, as a network does."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


def inflate(data: bytes, *, limit: int = 2**40, most: int = 2**20) -> bytes:
    seen: list[bytes] = []
    stream = Inflater(Dribble(data, most), limit=limit, on_output=seen.append)
    parts = []
    while part := stream.read(10_000):
        parts.append(part)
    assert b"".join(seen) == b"".join(parts)
    assert stream.read(1) == b""
    return b"".join(parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("most", [1, 3, 700, 2**20])
def test_every_form_in_pieces_of_every_size(form: str, most: int) -> None:
    data = DATA[:3000] if most == 1 else DATA
    packed = FORMS[form](data)
    assert inflate(packed, most=most) == data
    assert Inflater(io.BytesIO(packed), limit=2**40).compression == form


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz", "bzip2"])
def test_several_in_a_row_and_zero_padding(form: str) -> None:
    packed = FORMS[form](DATA)
    assert inflate(packed + packed, most=999) == DATA + DATA
    assert inflate(packed + bytes(4096)) == DATA


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz", "bzip2"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_is_never_taken_for_the_whole(form: str, data: st.DataObject) -> None:
    packed = FORMS[form](DATA[:5000])
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(6, len(packed) - 1))
        damaged = packed[:cut]
    else:
        damaged = packed + data.draw(st.binary(min_size=1, max_size=9).filter(lambda b: any(b)))
    with pytest.raises(Invalid) as failure:
        inflate(damaged)
    assert failure.value.code == "archive.malformed"


@pytest.mark.parametrize("form", FORMS)
def test_the_limit_holds(form: str) -> None:
    packed = FORMS[form](bytes(3_000_000))
    with pytest.raises(Invalid) as failure:
        inflate(packed, limit=2_000_000)
    assert failure.value.code == "archive.too-large"


def test_a_large_window_is_refused_before_it_is_made() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    squeeze = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = squeeze.compress(bytes(1000)) + squeeze.flush()
    with pytest.raises(Invalid, match="zstd"):
        inflate(packed)


def test_an_error_of_the_source_is_not_damage() -> None:
    class Broken:
        def __init__(self) -> None:
            self.first = True

        def read(self, size: int, /) -> bytes:
            if self.first:
                self.first = False
                return gzip.compress(DATA)[:100]
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        Inflater(Broken(), limit=2**40).drain()


def test_nothing_is_an_empty_stream() -> None:
    assert inflate(b"") == b""
