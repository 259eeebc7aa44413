"""Stored events: a ring of the newest :data:`KEEP`."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.model.event import Event
from wirt.state.db import Database

KEEP = 10_000


class EventTable:
    """Adds and reads events."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def last(self) -> int:
        """The highest sequence number ever stored, 0 when there is none."""

        def work(sql: sqlite3.Connection) -> int:
            row = sql.execute("SELECT max(sequence) FROM events").fetchone()
            return int(row[0] or 0)

        return await self._db.call(work)

    async def add(self, events: list[Event]) -> None:
        """Store events and forget those beyond the ring's size."""

        def work(sql: sqlite3.Connection) -> None:
            sql.executemany(
                "INSERT INTO events (sequence, time, body) VALUES (?, ?, ?)",
                [(e.sequence, e.time, msgspec.json.encode(e)) for e in events],
            )
            sql.execute("DELETE FROM events WHERE sequence <= ?", (events[-1].sequence - KEEP,))

        await self._db.call(work)

    async def between(self, since: int, until: int) -> list[Event]:
        """Events with ``since <= time < until`` in Unix nanoseconds, oldest first."""

        def work(sql: sqlite3.Connection) -> list[Event]:
            rows = sql.execute(
                "SELECT body FROM events WHERE time >= ? AND time < ? ORDER BY sequence",
                (since, until),
            )
            return [msgspec.json.decode(row["body"], type=Event) for row in rows]

        return await self._db.call(work)
