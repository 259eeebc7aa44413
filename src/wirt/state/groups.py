"""Stored groups of guests."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.model.group import GuestGroup
from wirt.state.db import Database


class GroupTable:
    """Adds, changes, lists and removes groups. Each call is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[GuestGroup]:
        """Every group, in the order of their paths."""

        def work(sql: sqlite3.Connection) -> list[GuestGroup]:
            rows = sql.execute("SELECT body FROM guest_groups ORDER BY path")
            return [msgspec.json.decode(row["body"], type=GuestGroup) for row in rows]

        return await self._db.call(work)

    async def put(self, group: GuestGroup) -> None:
        """Store a group, new or changed."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute(
                "INSERT INTO guest_groups (path, body) VALUES (?, ?) "
                "ON CONFLICT (path) DO UPDATE SET body = excluded.body",
                (group.path, msgspec.json.encode(group)),
            )

        await self._db.call(work)

    async def remove(self, path: str) -> None:
        """Forget a group; nothing happens when there is none."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM guest_groups WHERE path = ?", (path,))

        await self._db.call(work)
