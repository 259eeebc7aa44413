"""Which images exist, what they are called, and what of the store belongs to them.

A name points at an image that is there, or is not there: names and images change in one
transaction, and foreign keys hold them together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from wirt.model.image import Image
from wirt.state.db import Database
from wirt.state.manifests import ManifestRow, add_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One unpacked layer of an image. ``size``: bytes of its files."""

    chain_id: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What images do not use any more after a change. ``images``: ids whose disks may go.
    ``documents``: what names have meant; ``blobs`` and all that these lead to may go unless
    somebody else wants it."""

    images: tuple[str, ...] = ()
    chain_ids: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What belongs to images. ``documents``: manifests, and indexes that names mean. ``used``:
    images and chain ids that guests were made from."""

    images: frozenset[str]
    chain_ids: frozenset[str]
    blobs: frozenset[str]
    documents: frozenset[str]
    used: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A guest that was made from an image."""

    id: str
    name: str
    running: bool


@dataclass(frozen=True, slots=True)
class Name:
    """What a name means: an image of this host, and a document (manifest or index) with it."""

    image_id: str
    target: str


class ImageTable:
    """Images, their references, layers and blobs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(
        self,
        image: Image,
        *,
        layers: Sequence[LayerRow],
        blobs: Iterable[str],
        documents: Iterable[ManifestRow],
        names: Mapping[str, str],
        stored_at: int,
    ) -> dict[str, Name]:
        """Store an image (again) with the documents that came with it, and give it names.

        ``names``: normalised name to the digest of the document that it means. The answer says
        what each name that was there before and changed has meant.
        """

        def work(sql: sqlite3.Connection) -> dict[str, Name]:
            add_rows(sql, documents)
            sql.execute(
                "INSERT INTO images (id, manifest, stored_at, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET forgotten = 0",
                (image.id, image.manifest, stored_at, _encode(image)),
            )
            sql.executemany(
                "INSERT OR REPLACE INTO image_layers (image_id, position, chain_id, blob, size) "
                "VALUES (?, ?, ?, ?, ?)",
                [(image.id, n, row.chain_id, row.blob, row.size) for n, row in enumerate(layers)],
            )
            sql.executemany(
                "INSERT OR IGNORE INTO image_blobs (image_id, digest) VALUES (?, ?)",
                [(image.id, digest) for digest in blobs],
            )
            wanted = {name: Name(image.id, target) for name, target in names.items()}
            before = {name: _point(sql, name, to) for name, to in wanted.items()}
            return {name: old for name, old in before.items() if old and old != wanted[name]}

        return await self._db.call(work)

    async def tag(self, reference: str, image_id: str, target: str) -> Name | None:
        """Point a name at an image and at the document ``target``; what it meant before."""
        return await self._db.call(lambda sql: _point(sql, reference, Name(image_id, target)))

    async def all(self) -> list[Image]:
        """All images that were not removed, newest first."""

        def work(sql: sqlite3.Connection) -> list[Image]:
            rows = sql.execute(
                "SELECT id, body FROM images WHERE forgotten = 0 ORDER BY stored_at DESC, id"
            ).fetchall()
            names: dict[str, dict[str, str]] = {}
            for row in sql.execute(
                "SELECT image_id, reference, target FROM image_references ORDER BY reference"
            ):
                names.setdefault(row["image_id"], {})[row["reference"]] = row["target"]
            return [decode(row["body"], names.get(row["id"], {})) for row in rows]

        return await self._db.call(work)

    async def get(self, image_id: str) -> Image | None:
        """An image by its full id; also one that was removed while guests use it."""

        def work(sql: sqlite3.Connection) -> Image | None:
            row = sql.execute("SELECT body FROM images WHERE id = ?", (image_id,)).fetchone()
            return None if row is None else decode(row["body"], _names(sql, image_id))

        return await self._db.call(work)

    async def named(self, reference: str) -> str | None:
        """The id of the image that has this name."""

        def work(sql: sqlite3.Connection) -> str | None:
            row = sql.execute(
                "SELECT image_id FROM image_references WHERE reference = ?", (reference,)
            ).fetchone()
            return None if row is None else str(row["image_id"])

        return await self._db.call(work)

    async def starting_with(self, prefix: str) -> list[str]:
        """Ids of at most two images that start with ``prefix`` (``sha256:`` and hex digits)."""

        def work(sql: sqlite3.Connection) -> list[str]:
            rows = sql.execute(
                "SELECT id FROM images WHERE forgotten = 0 AND substr(id, 1, ?) = ? LIMIT 2",
                (len(prefix), prefix),
            )
            return [row["id"] for row in rows]

        return await self._db.call(work)

    async def with_manifest(self, digest: str, repository: str) -> str | None:
        """The id of the image whose manifest or index this is, with a name in ``repository``."""

        def work(sql: sqlite3.Connection) -> str | None:
            row = sql.execute(
                "SELECT id FROM images JOIN image_references ON image_id = id "
                "WHERE (manifest = ? OR target = ?) "
                "AND substr(reference, 1, ?) IN (?, ?) LIMIT 1",
                (digest, digest, len(repository) + 1, repository + ":", repository + "@"),
            ).fetchone()
            return None if row is None else str(row["id"])

        return await self._db.call(work)

    async def layers(self, image_id: str) -> list[LayerRow]:
        """The layers of an image, base first."""

        def work(sql: sqlite3.Connection) -> list[LayerRow]:
            rows = sql.execute(
                "SELECT chain_id, blob, size FROM image_layers WHERE image_id = ? "
                "ORDER BY position",
                (image_id,),
            )
            return [LayerRow(chain_id=r["chain_id"], blob=r["blob"], size=r["size"]) for r in rows]

        return await self._db.call(work)

    async def names_with(self, blob: str) -> list[str]:
        """The names of images that have this blob."""

        def work(sql: sqlite3.Connection) -> list[str]:
            rows = sql.execute(
                "SELECT reference FROM image_references JOIN image_blobs USING (image_id) "
                "WHERE digest = ? ORDER BY reference",
                (blob,),
            )
            return [row[0] for row in rows]

        return await self._db.call(work)

    async def users(self, image_id: str) -> list[User]:
        """The guests that were made from an image."""
        return await self._db.call(lambda sql: _users(sql, image_id))

    async def untag(self, reference: str) -> Orphans:
        """Take a name away; the document that it meant may go."""

        def work(sql: sqlite3.Connection) -> Orphans:
            rows = sql.execute(
                "DELETE FROM image_references WHERE reference = ? RETURNING target", (reference,)
            ).fetchall()
            return Orphans(documents=tuple(row[0] for row in rows))

        return await self._db.call(work)

    async def delete(self, image_id: str) -> Orphans:
        """Remove an image and its names. While guests use it, it stays, out of sight."""

        def work(sql: sqlite3.Connection) -> Orphans:
            if not _users(sql, image_id):
                return erase(sql, [image_id])
            rows = sql.execute(
                "DELETE FROM image_references WHERE image_id = ? RETURNING target", (image_id,)
            ).fetchall()
            sql.execute("UPDATE images SET forgotten = 1 WHERE id = ?", (image_id,))
            return Orphans(documents=tuple(row[0] for row in rows))

        return await self._db.call(work)

    async def collect(self, keep: Iterable[str], *, but: str = "") -> Orphans:
        """Remove images that were removed by force and have no guests now (``but`` this one).

        ``keep``: ids that are about to be used.
        """
        kept = set(keep)

        def work(sql: sqlite3.Connection) -> Orphans:
            rows = sql.execute(
                "SELECT id FROM images WHERE forgotten = 1 AND id NOT IN "
                "(SELECT image_id FROM guests WHERE id != ?)",
                (but,),
            ).fetchall()
            return erase(sql, [row["id"] for row in rows if row["id"] not in kept])

        return await self._db.call(work)

    async def belongings(self) -> Belongings:
        """Everything that belongs to some image: what a sweep must leave alone."""

        def work(sql: sqlite3.Connection) -> Belongings:
            def column(query: str) -> frozenset[str]:
                return frozenset(row[0] for row in sql.execute(query))

            return Belongings(
                images=column("SELECT id FROM images"),
                chain_ids=column("SELECT DISTINCT chain_id FROM image_layers"),
                blobs=column("SELECT DISTINCT digest FROM image_blobs"),
                documents=column(
                    "SELECT manifest FROM images UNION SELECT target FROM image_references"
                ),
                used=column(
                    "SELECT image_id FROM guests UNION SELECT chain_id FROM image_layers "
                    "WHERE image_id IN (SELECT image_id FROM guests)"
                ),
            )

        return await self._db.call(work)


def _encode(image: Image) -> bytes:
    return msgspec.json.encode(replace(image, references=(), targets={}))


def decode(body: bytes, targets: dict[str, str]) -> Image:
    image = msgspec.json.decode(body, type=Image)
    return replace(image, references=tuple(targets), targets=targets)


def _names(sql: sqlite3.Connection, image_id: str) -> dict[str, str]:
    rows = sql.execute(
        "SELECT reference, target FROM image_references WHERE image_id = ? ORDER BY reference",
        (image_id,),
    )
    return {row["reference"]: row["target"] for row in rows}


def _point(sql: sqlite3.Connection, reference: str, to: Name) -> Name | None:
    row = sql.execute(
        "SELECT image_id, target FROM image_references WHERE reference = ?", (reference,)
    ).fetchone()
    sql.execute(
        "INSERT OR REPLACE INTO image_references (reference, image_id, target) VALUES (?, ?, ?)",
        (reference, to.image_id, to.target),
    )
    return None if row is None else Name(row["image_id"], row["target"])


def _users(sql: sqlite3.Connection, image_id: str) -> list[User]:
    rows = sql.execute(
        "SELECT id, name, json_extract(CAST(body AS TEXT), '$.status.state') AS state "
        "FROM guests WHERE image_id = ? ORDER BY name",
        (image_id,),
    )
    running = {"running", "paused", "restarting"}
    return [User(id=r["id"], name=r["name"], running=r["state"] in running) for r in rows]


def erase(sql: sqlite3.Connection, image_ids: Sequence[str]) -> Orphans:
    chains: list[str] = []
    blobs: list[str] = []
    documents: list[str] = []
    for image_id in image_ids:
        one = (image_id,)
        rows = sql.execute("SELECT chain_id FROM image_layers WHERE image_id = ?", one)
        chains += [row[0] for row in rows]
        rows = sql.execute("SELECT digest FROM image_blobs WHERE image_id = ?", one)
        blobs += [row[0] for row in rows]
        rows = sql.execute("SELECT target FROM image_references WHERE image_id = ?", one)
        documents += [row[0] for row in rows]
        rows = sql.execute("SELECT manifest FROM images WHERE id = ?", one)
        documents += [row[0] for row in rows]
        for table in ("image_references", "image_layers", "image_blobs"):
            sql.execute(f"DELETE FROM {table} WHERE image_id = ?", (image_id,))  # noqa: S608
        sql.execute("DELETE FROM images WHERE id = ?", (image_id,))
    return Orphans(
        images=tuple(image_ids),
        chain_ids=_without(sql, "SELECT 1 FROM image_layers WHERE chain_id = ?", chains),
        blobs=_without(sql, "SELECT 1 FROM image_blobs WHERE digest = ?", blobs),
        documents=tuple(dict.fromkeys(documents)),
    )


def _without(sql: sqlite3.Connection, query: str, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        key for key in dict.fromkeys(keys) if sql.execute(query, (key,)).fetchone() is None
    )
