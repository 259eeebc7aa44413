"""Results of build steps: which inputs gave which layer, and when it was last of use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from wirt.state.db import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedStep:
    """A step's result. ``diff_id`` and ``blob`` are digests, ``""`` for a step that changed
    nothing; what was fetched has no ``chain_id``. ``size``: bytes of files, ``blob_size``: of the
    blob. ``inputs``: JSON, for people.
    """

    key: str
    site: str
    inputs: str
    chain_id: str
    diff_id: str
    blob: str
    size: int
    blob_size: int


_COLUMNS = "key, site, inputs, chain_id, diff_id, blob, size, blob_size"


class BuildCacheTable:
    """The cache's index."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, key: str) -> CachedStep | None:
        """The result for these inputs."""

        def work(sql: sqlite3.Connection) -> CachedStep | None:
            row = sql.execute(
                f"SELECT {_COLUMNS} FROM build_cache WHERE key = ?",  # noqa: S608
                (key,),
            ).fetchone()
            return None if row is None else CachedStep(**dict(row))

        return await self._db.call(work)

    async def all(self) -> list[tuple[CachedStep, int]]:
        """Every result, and when it was last of use (Unix nanoseconds)."""

        def work(sql: sqlite3.Connection) -> list[tuple[CachedStep, int]]:
            rows = sql.execute(f"SELECT {_COLUMNS}, used_at FROM build_cache")  # noqa: S608
            return [
                (CachedStep(**{key: row[key] for key in row.keys() if key != "used_at"}), row[-1])  # noqa: SIM118 - sqlite3.Row iterates over values
                for row in rows
            ]

        return await self._db.call(work)

    async def recent(self, site: str) -> list[CachedStep]:
        """The last results of the same step of the same build, newest first."""
        query = (
            f"SELECT {_COLUMNS} FROM build_cache WHERE site = ? "  # noqa: S608
            "ORDER BY used_at DESC LIMIT 8"
        )

        def work(sql: sqlite3.Connection) -> list[CachedStep]:
            return [CachedStep(**dict(row)) for row in sql.execute(query, (site,))]

        return await self._db.call(work)

    async def put(self, step: CachedStep, *, now: int) -> None:
        """Remember a result. ``now``: Unix nanoseconds."""
        row = (
            step.key, step.site, step.inputs, step.chain_id, step.diff_id, step.blob, step.size,
            step.blob_size, now, now,
        )  # fmt: skip

        def work(sql: sqlite3.Connection) -> None:
            sql.execute(
                f"INSERT OR REPLACE INTO build_cache ({_COLUMNS}, made_at, used_at) "  # noqa: S608
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

        await self._db.call(work)

    async def touch(self, keys: Iterable[str], *, now: int) -> None:
        """Note that these results were of use. ``now``: Unix nanoseconds."""
        rows = [(now, key) for key in keys]

        def work(sql: sqlite3.Connection) -> None:
            sql.executemany("UPDATE build_cache SET used_at = ? WHERE key = ?", rows)

        if rows:
            await self._db.call(work)

    async def forget(self, keys: Iterable[str]) -> None:
        """Remove results, as when their layers are lost."""
        rows = [(key,) for key in keys]

        def work(sql: sqlite3.Connection) -> None:
            sql.executemany("DELETE FROM build_cache WHERE key = ?", rows)

        await self._db.call(work)

    async def belongings(self) -> tuple[frozenset[str], frozenset[str]]:
        """Chain ids and blobs of all results."""

        def work(sql: sqlite3.Connection) -> tuple[frozenset[str], frozenset[str]]:
            rows = sql.execute("SELECT chain_id, blob FROM build_cache WHERE blob != ''").fetchall()
            chain_ids = frozenset(r["chain_id"] for r in rows) - {""}
            return chain_ids, frozenset(r["blob"] for r in rows)

        return await self._db.call(work)
