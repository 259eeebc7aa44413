"""The store as a whole: its layers, what of it may go, and whether its rows are sound."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from wirt.state.db import Database
from wirt.state.images import Orphans, decode, erase


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerView:
    """A layer with the one below it ("" for a base) and the images that have it. ``size``: bytes
    of its files."""

    chain_id: str
    parent: str
    size: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnamed:
    """An image that nothing means any more. ``size``: bytes of its unpacked layers."""

    id: str
    stored_at: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLayer:
    """A layer that a build keeps, and its blob."""

    chain_id: str
    diff_id: str
    blob: str


_UNNAMED = (
    "id NOT IN (SELECT image_id FROM image_references) AND id NOT IN (SELECT image_id FROM guests)"
)


class StoreTable:
    """Queries across images."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def layer_views(self) -> list[LayerView]:
        """All layers, bases before what is on them."""

        def work(sql: sqlite3.Connection) -> list[LayerView]:
            found: dict[str, LayerView] = {}
            rows = sql.execute(
                "SELECT own.chain_id, own.size, own.position, own.image_id, "
                "coalesce(below.chain_id, '') AS parent FROM image_layers AS own "
                "LEFT JOIN image_layers AS below "
                "ON below.image_id = own.image_id AND below.position = own.position - 1 "
                "JOIN images ON id = own.image_id AND forgotten = 0 "
                "ORDER BY own.position, own.chain_id, own.image_id"
            )
            for row in rows:
                known = found.get(row["chain_id"])
                images = (*(known.images if known else ()), row["image_id"])
                found[row["chain_id"]] = LayerView(
                    chain_id=row["chain_id"], parent=row["parent"], size=row["size"], images=images
                )
            return list(found.values())

        return await self._db.call(work)

    async def layer_sizes(self) -> dict[str, int]:
        """Bytes of the files of every layer of images, by chain id."""

        def work(sql: sqlite3.Connection) -> dict[str, int]:
            rows = sql.execute(
                "SELECT chain_id, max(size) AS size FROM image_layers GROUP BY chain_id"
            )
            return {row["chain_id"]: row["size"] for row in rows}

        return await self._db.call(work)

    async def cached_layers(self) -> list[CachedLayer]:
        """The layers of the build cache, each once."""

        def work(sql: sqlite3.Connection) -> list[CachedLayer]:
            rows = sql.execute(
                "SELECT chain_id, diff_id, min(blob) AS blob FROM build_cache WHERE blob != '' "
                "GROUP BY chain_id, diff_id ORDER BY chain_id"
            )
            return [CachedLayer(**dict(row)) for row in rows]

        return await self._db.call(work)

    async def integrity(self) -> list[str]:
        """What SQLite finds wrong with the database, one line each; none when it is whole."""

        def work(sql: sqlite3.Connection) -> list[str]:
            lines = [str(row[0]) for row in sql.execute("PRAGMA integrity_check")]
            broken = sql.execute("PRAGMA foreign_key_check").fetchall()
            lines += [f"a row of {row[0]} names what is not there" for row in broken]
            return [line for line in lines if line != "ok"]

        return await self._db.call(work)

    async def made(self) -> dict[str, tuple[int, int]]:
        """When the newest image with a layer was stored, and how many layers are below it, by
        chain id; and when each image was stored, by its id."""

        def work(sql: sqlite3.Connection) -> dict[str, tuple[int, int]]:
            rows = sql.execute(
                "SELECT chain_id AS name, MAX(stored_at) AS moment, position FROM image_layers "
                "JOIN images ON id = image_id GROUP BY chain_id "
                "UNION ALL SELECT id, stored_at, 0 FROM images"
            )
            return {row["name"]: (row["moment"], row["position"]) for row in rows}

        return await self._db.call(work)

    async def unnamed(self) -> list[Unnamed]:
        """Images without a name and without guests."""

        def work(sql: sqlite3.Connection) -> list[Unnamed]:
            rows = sql.execute(f"SELECT id, stored_at, body FROM images WHERE {_UNNAMED}")  # noqa: S608
            return [
                Unnamed(id=r["id"], stored_at=r["stored_at"], size=decode(r["body"], {}).size)
                for r in rows
            ]

        return await self._db.call(work)

    async def delete_unnamed(self, image_id: str) -> Orphans:
        """Remove an image if it still has no name and no guests; nothing otherwise."""

        def work(sql: sqlite3.Connection) -> Orphans:
            row = sql.execute(
                f"SELECT 1 FROM images WHERE id = ? AND {_UNNAMED}",  # noqa: S608
                (image_id,),
            ).fetchone()
            return Orphans() if row is None else erase(sql, [image_id])

        return await self._db.call(work)
