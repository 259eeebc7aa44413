"""Stored boosts and calendar entries."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.model.boost import Boost, Entry
from wirt.state.db import Database


class BoostTable:
    """Adds, lists and removes both. Each call is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> tuple[list[Boost], list[Entry]]:
        """Every boost, and every entry in the order of their ids."""

        def work(sql: sqlite3.Connection) -> tuple[list[Boost], list[Entry]]:
            boosts = sql.execute("SELECT body FROM boosts ORDER BY is_group, target").fetchall()
            entries = sql.execute("SELECT body FROM calendar ORDER BY id").fetchall()
            return (
                [msgspec.json.decode(row["body"], type=Boost) for row in boosts],
                [msgspec.json.decode(row["body"], type=Entry) for row in entries],
            )

        return await self._db.call(work)

    async def put(self, boost: Boost) -> None:
        """Store a boost instead of an earlier one of the same target."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute(
                "INSERT INTO boosts (target, is_group, until, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (target, is_group) DO UPDATE "
                "SET until = excluded.until, body = excluded.body",
                (boost.target, boost.group, boost.until, msgspec.json.encode(boost)),
            )

        await self._db.call(work)

    async def remove(self, target: str, *, group: bool) -> None:
        """Forget a boost; nothing happens when there is none."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM boosts WHERE target = ? AND is_group = ?", (target, group))

        await self._db.call(work)

    async def expire(self, now: int) -> None:
        """Forget what is over at ``now`` (Unix nanoseconds)."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM boosts WHERE until <= ?", (now,))

        await self._db.call(work)

    async def add(self, entry: Entry) -> None:
        """Store a calendar entry."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute(
                "INSERT INTO calendar (id, body) VALUES (?, ?)",
                (entry.id, msgspec.json.encode(entry)),
            )

        await self._db.call(work)

    async def strike(self, entry_id: str) -> None:
        """Forget a calendar entry; nothing happens when there is none."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM calendar WHERE id = ?", (entry_id,))

        await self._db.call(work)
