"""``--output`` of ``wirt build``: where the bytes go that follow the daemon's lines."""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import STDOUT, write
from wirt.client.wire import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("image", "oci", "docker", "tar", "local", "none")
_FLAGS = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC


class Output:
    """``kind`` as the daemon knows it; ``destination``: a path, ``-`` for standard output."""

    __slots__ = ("destination", "kind", "unpack")

    def __init__(self, kind: str, destination: str) -> None:
        self.unpack = kind == "local"
        self.kind = "tar" if self.unpack else kind
        self.destination = destination

    def take(self, first: bytes, chunks: Iterator[bytes], path: str) -> None:
        """Store the bytes. ``path``: the daemon's, for errors."""
        if self.kind in {"image", "none"}:
            for _ in chunks:
                pass
            return
        from wirt.client.daemon import unreachable

        try:
            if self.unpack:
                self._unpack(first, chunks)
            else:
                self._file(first, chunks)
        except Lost as error:
            raise unreachable(path, error) from error

    def _file(self, first: bytes, chunks: Iterator[bytes]) -> None:
        if self.destination == "-":
            for chunk in _all(first, chunks):
                write(STDOUT, chunk)
            return
        try:
            fd = posix.open(self.destination, _FLAGS, 0o666)
        except OSError as error:
            raise misuse(
                f"cannot write {self.destination}: {error.strerror}", hint="may you write it?"
            ) from error
        try:
            for chunk in _all(first, chunks):
                write(fd, chunk)
        finally:
            posix.close(fd)

    def _unpack(self, first: bytes, chunks: Iterator[bytes]) -> None:
        import os

        from wirt.cli.untar import Unpacker

        os.makedirs(self.destination, exist_ok=True)  # noqa: PTH103 - a path of the user's
        unpacker = Unpacker(self.destination, top="", rename="", keep_owner=posix.geteuid() == 0)
        unpacker.unpack(_all(first, chunks))


def _all(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks


def output_of(text: str) -> Output:
    """``DIR``, ``-``, or ``type=TYPE[,dest=PATH]``. Raises Invalid."""
    if not text:
        return Output("image", "")
    if "=" not in text:
        return Output("tar", "-") if text == "-" else Output("local", text)
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    kind = fields.get("type", "local")
    destination = fields.get("dest", "")
    if kind not in KINDS or set(fields) - {"type", "dest"}:
        raise misuse(
            f"invalid --output {text!r}",
            hint=f"types are {', '.join(KINDS)}, as type=oci,dest=FILE",
        )
    if kind == "local" and not destination:
        raise misuse(f"--output {text!r} needs a directory", hint="add dest=DIR")
    if kind in {"oci", "docker", "tar"} and not destination:
        destination = "-"
    if destination == "-" and posix.isatty(1):
        raise misuse("standard output is a terminal", hint="redirect it, or add dest=FILE")
    return Output(kind, destination)
