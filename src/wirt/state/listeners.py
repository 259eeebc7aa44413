"""Where the registry should listen, kept across restarts."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.model.registry import Listener
from wirt.state.db import Database


class ListenerTable:
    """Listeners by their address."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Listener]:
        """All of them, by address."""

        def work(sql: sqlite3.Connection) -> list[Listener]:
            rows = sql.execute("SELECT body FROM registry_listeners ORDER BY address")
            return [msgspec.json.decode(row["body"], type=Listener) for row in rows]

        return await self._db.call(work)

    async def put(self, listener: Listener) -> None:
        """Store one, in place of another with its address."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute(
                "INSERT OR REPLACE INTO registry_listeners (address, body) VALUES (?, ?)",
                (listener.address, msgspec.json.encode(listener)),
            )

        await self._db.call(work)

    async def remove(self, address: str) -> bool:
        """Forget one; whether it was there."""

        def work(sql: sqlite3.Connection) -> bool:
            gone = sql.execute("DELETE FROM registry_listeners WHERE address = ?", (address,))
            return bool(gone.rowcount)

        return await self._db.call(work)
