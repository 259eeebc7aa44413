"""The registry's repositories: which blobs, manifests and tags each of them has.

A namespace of its own over the same blobs as the images. A tag points at a manifest of its
repository, and a manifest was added when its needed parts were there: each change is one
transaction, and foreign keys hold it together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wirt.model.registry import RepositorySummary
from wirt.state.db import Database
from wirt.state.manifests import ManifestRow, add_rows, get_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why a manifest was not added. Exactly one is set: a ``part`` that is not there, or a ``tag``
    that exists and may not be moved."""

    part: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A manifest on its way into a repository. ``needed``: digests of blobs that the repository
    must have. ``move``: whether its tags may exist with another digest. ``now``: Unix
    nanoseconds."""

    repository: str
    document: ManifestRow
    needed: tuple[str, ...]
    tags: tuple[str, ...]
    move: bool
    now: int


class RepositoryTable:
    """Repositories with their blobs, manifests and tags."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # --- blobs ------------------------------------------------------------------------------

    async def add_blobs(
        self, repository: str, sizes: Sequence[tuple[str, int]], *, now: int
    ) -> None:
        """Blobs (digest, bytes) that the repository may serve from now on."""
        await self._db.call(lambda sql: _add_blobs(sql, repository, sizes, now))

    async def blob(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob of the repository, None when it has no such blob."""

        def work(sql: sqlite3.Connection) -> int | None:
            row = sql.execute(
                "SELECT size FROM repository_blobs WHERE repository = ? AND digest = ?",
                (repository, digest),
            ).fetchone()
            return None if row is None else int(row["size"])

        return await self._db.call(work)

    async def keep_blob(self, repository: str, digest: str, *, now: int) -> int | None:
        """As :meth:`blob`; and it counts as added now: somebody is about to name it."""

        def work(sql: sqlite3.Connection) -> int | None:
            row = sql.execute(
                "UPDATE repository_blobs SET added_at = ? WHERE repository = ? AND digest = ? "
                "RETURNING size",
                (now, repository, digest),
            ).fetchall()
            return int(row[0]["size"]) if row else None

        return await self._db.call(work)

    async def with_blob(self, digest: str, *, most: int) -> list[str]:
        """Names of repositories that have a blob."""

        def work(sql: sqlite3.Connection) -> list[str]:
            rows = sql.execute(
                "SELECT repository FROM repository_blobs WHERE digest = ? LIMIT ?", (digest, most)
            )
            return [row["repository"] for row in rows]

        return await self._db.call(work)

    async def remove_blob(self, repository: str, digest: str) -> str | None:
        """Let a blob go unless a manifest of the repository names it: then that one's digest.
        None when there is no such blob; "" when it is gone."""

        def work(sql: sqlite3.Connection) -> str | None:
            key = (repository, digest)
            row = sql.execute(
                f"SELECT manifest {_USERS_OF_BLOB} LIMIT 1",
                key,
            ).fetchone()
            if row is not None:
                return str(row["manifest"])
            gone = sql.execute(
                "DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", key
            )
            return "" if gone.rowcount else None

        return await self._db.call(work)

    # --- manifests --------------------------------------------------------------------------

    async def add_manifest(self, addition: Addition) -> Obstacle | None:
        """Add a manifest and set its tags, or nothing of it when there is an obstacle."""
        return await self._db.call(lambda sql: _add_manifest(sql, addition))

    async def adopt(
        self, additions: Sequence[Addition], sizes: Sequence[tuple[str, int]]
    ) -> Obstacle | None:
        """Blobs and manifests, parts first, in one transaction; all or nothing."""

        def work(sql: sqlite3.Connection) -> Obstacle | None:
            first = additions[0]
            sql.execute("SAVEPOINT adopt")
            _add_blobs(sql, first.repository, sizes, first.now)
            for addition in additions:
                obstacle = _add_manifest(sql, addition)
                if obstacle is not None:
                    sql.execute("ROLLBACK TO adopt")
                    return obstacle
            return None

        return await self._db.call(work)

    async def manifest(self, repository: str, reference: str) -> ManifestRow | None:
        """A manifest by its digest (with a colon) or a tag."""

        def work(sql: sqlite3.Connection) -> ManifestRow | None:
            if ":" in reference:
                query = (
                    "SELECT digest FROM repository_manifests WHERE repository = ? AND digest = ?"
                )
            else:
                query = "SELECT digest FROM repository_tags WHERE repository = ? AND tag = ?"
            row = sql.execute(query, (repository, reference)).fetchone()
            return None if row is None else get_row(sql, row["digest"])

        return await self._db.call(work)

    async def remove_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest and the tags that point at it; whether it was there. Blobs that only
        it named have no grace any more, unless somebody asked for them since it was pushed."""

        def work(sql: sqlite3.Connection) -> bool:
            rows = sql.execute(
                "DELETE FROM repository_manifests WHERE repository = ? AND digest = ? "
                "RETURNING pushed_at",
                (repository, digest),
            ).fetchall()
            for row in rows:
                sql.execute(
                    "UPDATE repository_blobs SET added_at = 0 "  # noqa: S608
                    "WHERE repository = ? AND added_at <= ? "
                    "AND digest IN (SELECT digest FROM manifest_parts WHERE manifest = ?) "
                    f"AND {_UNNAMED}",
                    (repository, row["pushed_at"], digest),
                )
            return bool(rows)

        return await self._db.call(work)

    async def referrers(
        self, repository: str, subject: str, *, artifact_type: str, after: str, most: int
    ) -> list[ManifestRow]:
        """Manifests about ``subject``, by digest; ``artifact_type`` "" for all types."""

        def work(sql: sqlite3.Connection) -> list[ManifestRow]:
            rows = sql.execute(
                "SELECT digest FROM repository_manifests JOIN manifests USING (digest) "
                "WHERE repository = ? AND subject = ? AND subject != '' AND digest > ? "
                "AND (? = '' OR artifact_type = ?) ORDER BY digest LIMIT ?",
                (repository, subject, after, artifact_type, artifact_type, most),
            ).fetchall()
            found = (get_row(sql, row["digest"]) for row in rows)
            return [row for row in found if row is not None]

        return await self._db.call(work)

    # --- names ------------------------------------------------------------------------------

    async def tags(self, repository: str, *, after: str, most: int) -> list[str] | None:
        """Tags in the order of their bytes; None when there is no such repository."""

        def work(sql: sqlite3.Connection) -> list[str] | None:
            if not _exists(sql, repository):
                return None
            rows = sql.execute(
                "SELECT tag FROM repository_tags WHERE repository = ? AND tag > ? "
                "ORDER BY tag LIMIT ?",
                (repository, after, most),
            )
            return [row["tag"] for row in rows]

        return await self._db.call(work)

    async def remove_tag(self, repository: str, tag: str) -> bool:
        """Take a tag away; whether it was there."""

        def work(sql: sqlite3.Connection) -> bool:
            gone = sql.execute(
                "DELETE FROM repository_tags WHERE repository = ? AND tag = ?", (repository, tag)
            )
            return bool(gone.rowcount)

        return await self._db.call(work)

    async def names(self, *, after: str, most: int) -> list[str]:
        """Repositories in the order of their bytes."""

        def work(sql: sqlite3.Connection) -> list[str]:
            rows = sql.execute(
                "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?", (after, most)
            )
            return [row["name"] for row in rows]

        return await self._db.call(work)

    async def remove(self, repository: str) -> bool:
        """Delete a repository with all it has; whether it was there."""

        def work(sql: sqlite3.Connection) -> bool:
            gone = sql.execute("DELETE FROM repositories WHERE name = ?", (repository,))
            return bool(gone.rowcount)

        return await self._db.call(work)

    async def summaries(self) -> list[RepositorySummary]:
        """Every repository with its tags and sizes."""
        return await self._db.call(_summaries)

    # --- collection -------------------------------------------------------------------------

    async def expire(self, before: int) -> int:
        """Let blobs go that were added before (Unix nanoseconds) and that no manifest of their
        repository names, and empty repositories; how many blobs."""
        return await self._db.call(lambda sql: _expire(sql, before))

    async def wanted(self, before: int) -> frozenset[str]:
        """Digests of all blobs and manifests that some repository has, once the old ones expired:
        in one transaction, so that what is not named here is in no repository any more."""

        def work(sql: sqlite3.Connection) -> frozenset[str]:
            _expire(sql, before)
            rows = sql.execute(
                "SELECT digest FROM repository_blobs UNION SELECT digest FROM repository_manifests"
            )
            return frozenset(row["digest"] for row in rows)

        return await self._db.call(work)


_UNNAMED = (
    "NOT EXISTS (SELECT 1 FROM manifest_parts AS part JOIN repository_manifests AS own "
    "ON own.digest = part.manifest AND own.repository = repository_blobs.repository "
    "WHERE part.digest = repository_blobs.digest)"
)
"""That no manifest of its repository names a blob."""


def _expire(sql: sqlite3.Connection, before: int) -> int:
    gone = sql.execute(
        f"DELETE FROM repository_blobs WHERE added_at < ? AND {_UNNAMED}",  # noqa: S608
        (before,),
    )
    sql.execute(
        "DELETE FROM repositories WHERE created_at < ? "
        "AND name NOT IN (SELECT repository FROM repository_blobs) "
        "AND name NOT IN (SELECT repository FROM repository_manifests)",
        (before,),
    )
    return gone.rowcount


def _exists(sql: sqlite3.Connection, repository: str) -> bool:
    row = sql.execute("SELECT 1 FROM repositories WHERE name = ?", (repository,)).fetchone()
    return row is not None


_USERS_OF_BLOB = (
    "FROM repository_manifests AS own JOIN manifest_parts AS part ON part.manifest = own.digest "
    "WHERE own.repository = ? AND part.digest = ?"
)


def _ensure(sql: sqlite3.Connection, repository: str, now: int) -> None:
    sql.execute(
        "INSERT OR IGNORE INTO repositories (name, created_at) VALUES (?, ?)", (repository, now)
    )


def _add_blobs(
    sql: sqlite3.Connection, repository: str, sizes: Iterable[tuple[str, int]], now: int
) -> None:
    _ensure(sql, repository, now)
    sql.executemany(
        "INSERT INTO repository_blobs (repository, digest, size, added_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (repository, digest) DO UPDATE SET added_at = excluded.added_at",
        [(repository, digest, size, now) for digest, size in sizes],
    )


def _add_manifest(sql: sqlite3.Connection, addition: Addition) -> Obstacle | None:
    repository, document = addition.repository, addition.document
    for digest in addition.needed:
        if not _has_blob(sql, repository, digest):
            return Obstacle(part=digest)
    if not addition.move:
        for tag in addition.tags:
            row = sql.execute(
                "SELECT digest FROM repository_tags WHERE repository = ? AND tag = ?",
                (repository, tag),
            ).fetchone()
            if row is not None and row["digest"] != document.digest:
                return Obstacle(tag=tag)
    _ensure(sql, repository, addition.now)
    add_rows(sql, [document])
    sql.execute(
        "INSERT INTO repository_manifests (repository, digest, pushed_at) VALUES (?, ?, ?) "
        "ON CONFLICT (repository, digest) DO UPDATE SET pushed_at = excluded.pushed_at",
        (repository, document.digest, addition.now),
    )
    sql.executemany(
        "INSERT OR REPLACE INTO repository_tags (repository, tag, digest, updated_at) "
        "VALUES (?, ?, ?, ?)",
        [(repository, tag, document.digest, addition.now) for tag in addition.tags],
    )
    return None


def _has_blob(sql: sqlite3.Connection, repository: str, digest: str) -> bool:
    row = sql.execute(
        "SELECT 1 FROM repository_blobs WHERE repository = ? AND digest = ?", (repository, digest)
    ).fetchone()
    return row is not None


def _summaries(sql: sqlite3.Connection) -> list[RepositorySummary]:
    tags: dict[str, list[str]] = {}
    for row in sql.execute("SELECT repository, tag FROM repository_tags ORDER BY repository, tag"):
        tags.setdefault(row["repository"], []).append(row["tag"])
    rows = sql.execute(
        "SELECT name, "
        "(SELECT count(*) FROM repository_blobs WHERE repository = name) AS blobs, "
        "(SELECT total(size) FROM repository_blobs WHERE repository = name) AS bytes, "
        "(SELECT count(*) FROM repository_manifests WHERE repository = name) AS manifests, "
        "(SELECT total(size) FROM repository_manifests JOIN manifests USING (digest) "
        "WHERE repository = name) AS documents "
        "FROM repositories ORDER BY name"
    )
    return [
        RepositorySummary(
            name=row["name"],
            tags=tuple(tags.get(row["name"], ())),
            manifests=row["manifests"],
            blobs=row["blobs"],
            size=int(row["bytes"] + row["documents"]),
        )
        for row in rows
    ]
