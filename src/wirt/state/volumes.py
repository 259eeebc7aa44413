"""Which volumes exist, and which guests use them."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.model.volume import Volume
from wirt.state.db import Database


class VolumeTable:
    """Volumes by name."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, volume: Volume) -> bool:
        """Store a volume; False when the name is taken (nothing is changed then)."""

        def work(sql: sqlite3.Connection) -> bool:
            done = sql.execute(
                "INSERT OR IGNORE INTO volumes (name, created_at, body) VALUES (?, ?, ?)",
                (volume.name, volume.created_at, msgspec.json.encode(volume)),
            )
            return done.rowcount == 1

        return await self._db.call(work)

    async def get(self, name: str) -> Volume | None:
        """A volume by its name."""

        def work(sql: sqlite3.Connection) -> Volume | None:
            row = sql.execute("SELECT body FROM volumes WHERE name = ?", (name,)).fetchone()
            return None if row is None else msgspec.json.decode(row["body"], type=Volume)

        return await self._db.call(work)

    async def all(self) -> list[Volume]:
        """All volumes, by name."""

        def work(sql: sqlite3.Connection) -> list[Volume]:
            rows = sql.execute("SELECT body FROM volumes ORDER BY name")
            return [msgspec.json.decode(row["body"], type=Volume) for row in rows]

        return await self._db.call(work)

    async def users(self) -> dict[str, list[str]]:
        """Ids of the guests that use a volume, by its name. Unused ones are absent."""

        def work(sql: sqlite3.Connection) -> dict[str, list[str]]:
            rows = sql.execute(
                "SELECT guests.id AS guest, used.value AS volume FROM guests, "
                "json_each(CAST(guests.body AS TEXT), '$.volumes') AS used ORDER BY guests.id"
            )
            found: dict[str, list[str]] = {}
            for row in rows:
                found.setdefault(str(row["volume"]), []).append(row["guest"])
            return found

        return await self._db.call(work)

    async def used_by(self, name: str) -> list[str]:
        """Names of the guests that use a volume."""
        return await self._db.call(lambda sql: _users(sql, name, but=""))

    async def remove(self, name: str, *, but: str = "") -> list[str] | None:
        """Forget a volume that no guest (``but`` this one) uses: its users' names, then it stays;
        or None when it is gone.

        Looked up and removed in one transaction, so a guest made meanwhile keeps its volume.
        """

        def work(sql: sqlite3.Connection) -> list[str] | None:
            if users := _users(sql, name, but=but):
                return users
            sql.execute("DELETE FROM volumes WHERE name = ?", (name,))
            return None

        return await self._db.call(work)


def _users(sql: sqlite3.Connection, name: str, *, but: str) -> list[str]:
    rows = sql.execute(
        "SELECT guests.name FROM guests, "
        "json_each(CAST(guests.body AS TEXT), '$.volumes') AS used "
        "WHERE used.value = ? AND guests.id != ? ORDER BY guests.name",
        (name, but),
    )
    return [row[0] for row in rows]
