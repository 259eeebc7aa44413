"""Decompression in this process, recognised by content, with output and memory bounded.

No program is ever run for it: a decompressor taken from an image's own files has been an attack.
Damage (a cut stream, a wrong checksum, bytes after the end) is an error, not a shorter file;
several gzip members or zstd frames one after the other are valid.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Protocol, cast

import zstandard
from isal import isal_zlib

from wirt.errors import Invalid
from wirt.tar.header import malformed
from wirt.tar.reader import Readable

MAX_WINDOW = 128 * 1024 * 1024
"""Bytes of memory that a zstd or xz stream may ask for (zstd's own default for decoding)."""

_CHUNK = 64 * 1024
_OUTPUT = 256 * 1024
_ZSTD_SLICE = 512
"""Input given to zstd at once: 4 bytes may become 128 KiB, so this bounds one step to 16 MiB."""


class _Codec(Protocol):
    """One member of a compressed stream."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Output, and the input that must be given again."""
        ...

    @property
    def done(self) -> bool: ...

    @property
    def hungry(self) -> bool:
        """Whether it can go on only with more input."""
        ...

    @property
    def rest(self) -> bytes:
        """Input after the end of this member."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._z = isal_zlib.decompressobj(wbits=31)
        self.hungry = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        output = self._z.decompress(data, _OUTPUT)
        self.hungry = len(output) < _OUTPUT  # it holds back what did not fit
        return output, b"" if self._z.eof else self._z.unconsumed_tail

    @property
    def done(self) -> bool:
        return self._z.eof

    @property
    def rest(self) -> bytes:
        return self._z.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._z = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        self.hungry = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        output = self._z.decompress(data[:_ZSTD_SLICE])
        return output, data[_ZSTD_SLICE:]

    @property
    def done(self) -> bool:
        return self._z.eof

    @property
    def rest(self) -> bytes:
        return self._z.unused_data


class _Buffered:
    """lzma and bz2 decompressors keep unread input themselves."""

    def __init__(self, z: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> None:
        self._z = z

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return self._z.decompress(data, _OUTPUT), b""

    @property
    def done(self) -> bool:
        return self._z.eof

    @property
    def rest(self) -> bytes:
        return self._z.unused_data

    @property
    def hungry(self) -> bool:
        return self._z.needs_input


_MAGIC: tuple[tuple[bytes, str, Callable[[], _Codec]], ...] = (
    (b"\x1f\x8b\x08", "gzip", _Gzip),
    (b"\x28\xb5\x2f\xfd", "zstd", _Zstd),
    (
        b"\xfd7zXZ\0",
        "xz",
        lambda: _Buffered(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW)),
    ),
    (b"BZh", "bzip2", lambda: _Buffered(bz2.BZ2Decompressor())),
)
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)  # its stub calls the class an instance
_FAULTS = (_ISAL_ERROR, zstandard.ZstdError, lzma.LZMAError, OSError, ValueError, EOFError)


class Inflater:
    """Reads the uncompressed bytes of ``raw``, whatever its compression.

    ``limit``: bytes of output after which Invalid (``archive.too-large``) is raised.
    ``on_output`` sees every byte in order (a hash). ``compression``: ``gzip``, ``zstd``, ``xz``,
    ``bzip2`` or ``""``.
    """

    def __init__(
        self, raw: Readable, *, limit: int, on_output: Callable[[bytes], object] | None = None
    ) -> None:
        self._raw = raw
        self._limit = limit
        self._on_output = on_output
        self._pending = self._head()
        self._ready = b""
        self._at = 0
        self.total = 0
        self.compression = ""
        self._make: Callable[[], _Codec] | None = None
        for magic, name, make in _MAGIC:
            if self._pending.startswith(magic):
                self.compression, self._make = name, make
        self._magic = self._pending[:3]
        self._codec = self._make() if self._make else None

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, empty at the end. Raises Invalid for damage and bombs."""
        if self._at >= len(self._ready):
            self._ready, self._at = self._more(), 0
            self.total += len(self._ready)
            if self.total > self._limit:
                raise Invalid(
                    f"the archive unpacks to more than {self._limit} bytes",
                    hint="it may be a decompression bomb; raise the limit if you trust it",
                    code="archive.too-large",
                )
            if self._on_output is not None:
                self._on_output(self._ready)
        data = self._ready[self._at : self._at + size]
        self._at += len(data)
        return data

    def drain(self) -> None:
        """Read on to the end, so that checksums are verified and the hash sees everything."""
        while self.read(_OUTPUT):
            pass

    def _head(self) -> bytes:
        head = b""
        while len(head) < 6 and (more := self._raw.read(_CHUNK)):
            head += more
        return head

    def _more(self) -> bytes:
        if self._codec is None:
            data, self._pending = self._pending, b""
            return data or self._raw.read(_CHUNK)
        try:
            return self._inflate(self._codec)
        except MemoryError as error:
            raise malformed(f"its {self.compression} stream asks for too much memory") from error
        except _FAULTS as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # reading failed, not decoding
            raise malformed(f"its {self.compression} stream is broken ({error})") from error

    def _inflate(self, codec: _Codec) -> bytes:
        while True:
            if codec.done:
                following = self._following(codec.rest + self._pending)
                if following is None:
                    return b""
                codec = self._codec = following
            if not self._pending and codec.hungry:
                self._pending = self._raw.read(_CHUNK)
                if not self._pending:
                    raise malformed(f"its {self.compression} stream is cut short")
            output, self._pending = codec.feed(self._pending)
            if output:
                return output

    def _following(self, rest: bytes) -> _Codec | None:
        """The next member of a stream of several, None at its end; zero padding is allowed."""
        while len(rest) < 3 and (more := self._raw.read(_CHUNK)):
            rest += more
        if rest.startswith(self._magic) and self._make is not None:
            self._pending = rest
            return self._make()
        while True:
            if rest.strip(b"\0"):
                raise malformed(f"there are foreign bytes after its {self.compression} stream")
            rest = self._raw.read(_CHUNK)
            if not rest:
                self._pending = b""
                return None
