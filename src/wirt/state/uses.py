"""When unpacked layers and disks were used last; collection takes the oldest first.

A hint, not a promise: what has no row was never used since it was made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from wirt.state.db import Database

LAYER, DISK = "layer", "disk"
"""Kinds: any use of a layer (by chain id) or of a disk (by image id)."""
RUN, CAME = "run", "came"
"""Kinds: a guest ran on it; an image that somebody brought has it."""


class UseTable:
    """Moments of use by kind and name."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def touch(self, uses: Iterable[tuple[str, str]], moment: int) -> None:
        """Note that these (kind, name) are used at ``moment`` (Unix nanoseconds)."""
        rows = [(kind, name, moment) for kind, name in uses]
        await self._db.call(
            lambda sql: sql.executemany(
                "INSERT OR REPLACE INTO store_uses (kind, name, used_at) VALUES (?, ?, ?)", rows
            )
        )

    async def all(self) -> dict[tuple[str, str], int]:
        """Every moment by (kind, name)."""

        def work(sql: sqlite3.Connection) -> dict[tuple[str, str], int]:
            rows = sql.execute("SELECT kind, name, used_at FROM store_uses")
            return {(row["kind"], row["name"]): row["used_at"] for row in rows}

        return await self._db.call(work)

    async def forget(self, uses: Iterable[tuple[str, str]]) -> None:
        """Drop the rows of what is gone. Idempotent."""
        keys = list(uses)
        await self._db.call(
            lambda sql: sql.executemany("DELETE FROM store_uses WHERE kind = ? AND name = ?", keys)
        )
