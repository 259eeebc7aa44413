"""Which manifests, indexes and artifacts the store holds, and what each of them names.

A row says that the document's bytes are a blob of the store. What it names may be missing (an
index of which only some platforms were taken in, layers that may not be distributed).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from wirt.state.db import Database


class Role(StrEnum):
    """What a part is to the document that names it."""

    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that a document names. ``size``: bytes, as the document says. ``platform``:
    ``os/architecture[/variant]`` or ""."""

    digest: str
    role: Role
    media_type: str
    size: int
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """A document. ``artifact_type``: what a list of its subject's referrers says of it.

    ``subject``: digest of the document that it speaks about, "" for most. ``stored_at``: Unix
    nanoseconds. ``parts``: in the document's order.
    """

    digest: str
    media_type: str
    size: int
    stored_at: int
    artifact_type: str = ""
    subject: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()


_REACHABLE = """
WITH RECURSIVE reached (digest) AS (
    SELECT value FROM json_each(?)
    UNION
    SELECT p.digest FROM reached JOIN manifest_parts AS p ON p.manifest = reached.digest
    {referrers}
) SELECT digest FROM reached
"""
_REFERRERS = """
    UNION
    SELECT m.digest FROM reached JOIN manifests AS m
    ON m.subject = reached.digest AND m.subject != ''
"""


class ManifestTable:
    """The documents of the store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, *rows: ManifestRow) -> None:
        """Note documents whose bytes are in the store. Idempotent."""
        await self._db.call(lambda sql: add_rows(sql, rows))

    async def get(self, digest: str) -> ManifestRow | None:
        """A document, or None when it is not known."""

        return await self._db.call(lambda sql: get_row(sql, digest))

    async def of_subject(self, digest: str) -> list[ManifestRow]:
        """The documents that speak about another, oldest first."""

        def work(sql: sqlite3.Connection) -> list[ManifestRow]:
            rows = sql.execute(
                "SELECT * FROM manifests WHERE subject = ? AND subject != '' "
                "ORDER BY stored_at, digest",
                (digest,),
            ).fetchall()
            return [_row(sql, row) for row in rows]

        return await self._db.call(work)

    async def all(self) -> list[ManifestRow]:
        """Every document, by digest."""

        def work(sql: sqlite3.Connection) -> list[ManifestRow]:
            rows = sql.execute("SELECT * FROM manifests ORDER BY digest").fetchall()
            return [_row(sql, row) for row in rows]

        return await self._db.call(work)

    async def reachable(self, digests: Iterable[str], *, referrers: bool = False) -> frozenset[str]:
        """These digests and all that documents among them name, at any depth; with ``referrers``
        also the documents that speak about any of them, with what those name."""
        roots = list(digests)
        return await self._db.call(lambda sql: reach(sql, roots, referrers=referrers))

    async def forget(self, digests: Iterable[str]) -> None:
        """Drop the rows of documents, whose bytes are about to go. Idempotent."""
        keys = [(digest,) for digest in digests]
        await self._db.call(
            lambda sql: sql.executemany("DELETE FROM manifests WHERE digest = ?", keys)
        )


def add_rows(sql: sqlite3.Connection, rows: Iterable[ManifestRow]) -> None:
    """As :meth:`ManifestTable.add`, within the transaction of a caller."""
    for row in rows:
        done = sql.execute(
            "INSERT OR IGNORE INTO manifests "
            "(digest, media_type, artifact_type, subject, annotations, size, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                row.digest, row.media_type, row.artifact_type, row.subject,
                msgspec.json.encode(row.annotations).decode(), row.size, row.stored_at,
            ),
        )  # fmt: skip
        if done.rowcount:
            sql.executemany(
                "INSERT INTO manifest_parts "
                "(manifest, position, digest, role, media_type, size, platform) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (row.digest, n, p.digest, p.role, p.media_type, p.size, p.platform)
                    for n, p in enumerate(row.parts)
                ],
            )


def get_row(sql: sqlite3.Connection, digest: str) -> ManifestRow | None:
    """As :meth:`ManifestTable.get`, within the transaction of a caller."""
    row = sql.execute("SELECT * FROM manifests WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else _row(sql, row)


def reach(sql: sqlite3.Connection, roots: list[str], *, referrers: bool) -> frozenset[str]:
    """As :meth:`ManifestTable.reachable`, within the transaction of a caller."""
    query = _REACHABLE.format(referrers=_REFERRERS if referrers else "")
    return frozenset(row[0] for row in sql.execute(query, (msgspec.json.encode(roots).decode(),)))


def _row(sql: sqlite3.Connection, row: sqlite3.Row) -> ManifestRow:
    parts = sql.execute(
        "SELECT * FROM manifest_parts WHERE manifest = ? ORDER BY position", (row["digest"],)
    )
    return ManifestRow(
        digest=row["digest"],
        media_type=row["media_type"],
        size=row["size"],
        stored_at=row["stored_at"],
        artifact_type=row["artifact_type"],
        subject=row["subject"],
        annotations=msgspec.json.decode(row["annotations"], type=dict[str, str]),
        parts=tuple(
            Part(
                digest=p["digest"],
                role=Role(p["role"]),
                media_type=p["media_type"],
                size=p["size"],
                platform=p["platform"],
            )
            for p in parts
        ),
    )
