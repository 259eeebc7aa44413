"""Stored networks, and who has which address on them.

What is chosen (a subnet, an address) is chosen inside the transaction that stores it, so two who
ask at once never get the same, and a crash leaves either all of it or nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence

import msgspec

from wirt.errors import Conflict
from wirt.model.network import Network
from wirt.state.db import Database

_BODY = msgspec.json.Decoder(Network)


class NetworkTable:
    """Adds, lists and removes networks and addresses. Each call is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Network]:
        """Every network, oldest first."""
        return await self._db.call(_networks)

    async def add(self, choose: Callable[[Sequence[Network]], Network]) -> Network:
        """Store the network that ``choose`` makes, given those that exist; it may raise.

        Raises Conflict when its name is taken.
        """

        def work(sql: sqlite3.Connection) -> Network:
            others = _networks(sql)
            network = choose(others)
            if any(other.name == network.name for other in others):
                raise Conflict(
                    f"network {network.name!r} exists already",
                    hint="choose another name",
                    code="network.exists",
                )
            sql.execute(
                "INSERT INTO networks (id, name, bridge, created_at, body) VALUES (?, ?, ?, ?, ?)",
                (
                    network.id,
                    network.name,
                    network.bridge,
                    network.created_at,
                    msgspec.json.encode(network),
                ),
            )
            return network

        return await self._db.call(work)

    async def remove(self, network_id: str) -> list[str]:
        """Forget a network unless guests have addresses there; their ids are the answer."""

        def work(sql: sqlite3.Connection) -> list[str]:
            users = _users(sql, network_id)
            if not users:
                sql.execute("DELETE FROM networks WHERE id = ?", (network_id,))
            return users

        return await self._db.call(work)

    async def claim(
        self, network_id: str, guest_id: str, choose: Callable[[Collection[str]], str]
    ) -> str:
        """The guest's address on a network: the one it has, or the one that ``choose`` picks,
        given those that are taken. Raises Conflict when the network is gone."""

        def work(sql: sqlite3.Connection) -> str:
            taken: dict[str, str] = {
                row["guest_id"]: row["address"]
                for row in sql.execute(
                    "SELECT guest_id, address FROM addresses WHERE network_id = ?", (network_id,)
                )
            }
            if guest_id in taken:
                return taken[guest_id]
            address = choose(set(taken.values()))
            try:
                sql.execute(
                    "INSERT INTO addresses (network_id, address, guest_id) VALUES (?, ?, ?)",
                    (network_id, address, guest_id),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict("the network was removed meanwhile", code="network.gone") from error
            return address

        return await self._db.call(work)

    async def release(self, guest_id: str, network_id: str | None = None) -> int:
        """Free a guest's address on one network, or on all; how many it had. Idempotent."""

        def work(sql: sqlite3.Connection) -> int:
            done = sql.execute(
                "DELETE FROM addresses WHERE guest_id = ? AND (? IS NULL OR network_id = ?)",
                (guest_id, network_id, network_id),
            )
            return done.rowcount

        return await self._db.call(work)

    async def reconcile(self, held: Collection[tuple[str, str]]) -> int:
        """Free every address but those of ``held`` (guest id, network id): a crash came between
        address and guest. Returns how many."""

        def work(sql: sqlite3.Connection) -> int:
            rows = sql.execute("SELECT guest_id, network_id FROM addresses").fetchall()
            lost = [pair for row in rows if (pair := (row[0], row[1])) not in held]
            sql.executemany("DELETE FROM addresses WHERE guest_id = ? AND network_id = ?", lost)
            return len(lost)

        return await self._db.call(work)


def _networks(sql: sqlite3.Connection) -> list[Network]:
    rows = sql.execute("SELECT body FROM networks ORDER BY created_at, id")
    return [_BODY.decode(row["body"]) for row in rows]


def _users(sql: sqlite3.Connection, network_id: str) -> list[str]:
    rows = sql.execute("SELECT guest_id FROM addresses WHERE network_id = ?", (network_id,))
    return [row["guest_id"] for row in rows]
