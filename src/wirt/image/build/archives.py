"""Local archives, which ADD recognises by their content and unpacks."""

from __future__ import annotations

from wirt.errors import Invalid, NotFound
from wirt.image.build.tree import Amount, Tree, filling
from wirt.image.store import BlobStore
from wirt.model.ignore import is_wild
from wirt.tar import header
from wirt.tar.inflate import Inflater
from wirt.tar.member import BLOCK, Type

UNPACKED = Amount(entries=1_000_000, bytes=16 * 1024**3)
"""What a local archive may unpack to."""
MAX_RATIO = 250
FLOOR = 1024**3
"""An archive may always unpack to this many bytes, and to :data:`MAX_RATIO` times its size."""


def unpack(tree: Tree, pattern: str, store: BlobStore) -> Tree | None:
    """The content of the archive that a source names, or None when it names anything else.

    Raises Invalid for an archive that is damaged or unpacks to too much.
    """
    if is_wild(pattern):
        return None
    try:
        entry = tree.resolve(pattern)
    except (NotFound, Invalid):
        return None
    if entry.type is not Type.FILE or not entry.size:
        return None
    limit = min(UNPACKED.bytes, max(FLOOR, entry.size * MAX_RATIO))
    try:
        block = _first_block(Inflater(tree.source(entry), limit=limit))
        header.decode(block)
    except (Invalid, ValueError):
        return None  # a compressed file that is no archive stays a file
    with filling(store, Amount(entries=UNPACKED.entries, bytes=limit)) as made:
        stream = Inflater(tree.source(entry), limit=limit + 512 * 1024**2)
        made.take_archive(stream)
        stream.drain()
        return made.finish()


def _first_block(stream: Inflater) -> bytes:
    block = b""
    while len(block) < BLOCK and (data := stream.read(BLOCK - len(block))):
        block += data
    if len(block) < BLOCK:
        raise ValueError("too short for an archive")
    return block
