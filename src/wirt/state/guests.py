"""Stored guests: identity, intent and what was last seen of them."""

from __future__ import annotations

import sqlite3

import msgspec

from wirt.errors import Conflict
from wirt.model.guest import Guest
from wirt.state.db import Database


class GuestTable:
    """Adds, changes, lists and removes guests. Each call is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Guest]:
        """Every guest, oldest first."""

        def work(sql: sqlite3.Connection) -> list[Guest]:
            rows = sql.execute("SELECT body FROM guests ORDER BY created_at, id")
            return [msgspec.json.decode(row["body"], type=Guest) for row in rows]

        return await self._db.call(work)

    async def add(self, guest: Guest) -> None:
        """Store a new guest. Raises Conflict when its name is taken."""

        def work(sql: sqlite3.Connection) -> None:
            taken = sql.execute("SELECT id FROM guests WHERE name = ?", (guest.name,)).fetchone()
            if taken is not None:
                raise name_taken(guest.name, taken["id"])
            sql.execute(
                "INSERT INTO guests (id, name, created_at, image_id, body) VALUES (?, ?, ?, ?, ?)",
                (
                    guest.id,
                    guest.name,
                    guest.created_at,
                    guest.image_id,
                    msgspec.json.encode(guest),
                ),
            )

        await self._db.call(work)

    async def save(self, guest: Guest) -> None:
        """Replace a stored guest. Raises Conflict when its new name is taken."""

        def work(sql: sqlite3.Connection) -> None:
            taken = sql.execute(
                "SELECT id FROM guests WHERE name = ? AND id != ?", (guest.name, guest.id)
            ).fetchone()
            if taken is not None:
                raise name_taken(guest.name, taken["id"])
            sql.execute(
                "UPDATE guests SET name = ?, image_id = ?, body = ? WHERE id = ?",
                (guest.name, guest.image_id, msgspec.json.encode(guest), guest.id),
            )

        await self._db.call(work)

    async def remove(self, guest_id: str) -> None:
        """Forget a guest; nothing happens when there is none."""

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM guests WHERE id = ?", (guest_id,))

        await self._db.call(work)


def name_taken(name: str, owner: str) -> Conflict:
    """The error for a guest name that is in use, in docker's words."""
    return Conflict(
        f"the guest name {name!r} is already in use by guest {owner[:12]}",
        hint="remove or rename that guest, or choose another name",
        code="guest.name-taken",
        name=name,
        guest=owner,
    )
