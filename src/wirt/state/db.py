"""The one door to SQL: a single connection on a single thread, one transaction per call.

WAL with ``synchronous=NORMAL``: after a crash of the daemon every committed transaction is there;
after a power cut the newest may be missing, but the database is whole (sqlite.org/pragma.html).
Migrations are ``migrations/NNNN_*.sql``, applied in order under ``PRAGMA user_version``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TypeVar

from wirt.errors import Exhausted, Internal

T = TypeVar("T")
ASIDE = 64
"""Pages of the database that are kept free for when the disk is full."""


class Database:
    """Runs functions that take the connection, each in its own transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Connect and bring the schema up to date. Raises Internal for one from the future."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction on the writer thread; roll back if it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _open(self) -> None:
        self._path.touch(mode=0o600)
        self._path.chmod(0o600)  # keys of registries are in it; its journals get its mode
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.row_factory = sqlite3.Row
        self._connection = connection
        migrate(connection)
        _set_aside(connection)

    def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        assert connection is not None, "the database is open"
        try:
            return _transact(connection, work)
        except sqlite3.OperationalError as error:
            if not _full(error):
                raise
        # What is in the log goes into the database, whose pages are there, and the log begins
        # anew in its own space: so what frees the disk, as a stop or a removal, needs none of it.
        try:
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            return _transact(connection, work)
        except sqlite3.OperationalError as error:
            if not _full(error):
                raise
            raise Exhausted(
                "the disk that holds wirt's state is full",
                hint=f"free some space below {self._path.parent}",
                code="state.disk-full",
            ) from error

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled it back already
            connection.execute("ROLLBACK")
        raise
    return result


def _set_aside(connection: sqlite3.Connection) -> None:
    """Have free pages in the database, and all known ones on disk, so that when it is full the log
    can be brought into the database, which need not grow for it. Where it is full now, nothing is
    set aside."""
    with contextlib.suppress(sqlite3.OperationalError):
        if connection.execute("PRAGMA freelist_count").fetchone()[0] < ASIDE // 2:
            _transact(connection, _grow)
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def _grow(connection: sqlite3.Connection) -> None:
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute("CREATE TABLE aside (x)")
    connection.execute("INSERT INTO aside VALUES (zeroblob(?))", (ASIDE * size,))
    connection.execute("DROP TABLE aside")


def _full(error: sqlite3.OperationalError) -> bool:
    return "full" in str(error)


def migrations() -> list[tuple[int, str]]:
    """Number and text of every migration, in order."""
    folder = resources.files("wirt.state") / "migrations"
    found = [
        (int(entry.name.split("_", 1)[0]), entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that this database lacks, each in its own transaction."""
    have = connection.execute("PRAGMA user_version").fetchone()[0]
    known = migrations()
    if known and have > known[-1][0]:
        raise Internal(
            f"the state was written by a newer wirt (schema {have}, this one knows {known[-1][0]})",
            hint="install that version again",
            code="state.from-the-future",
        )
    for number, text in known:
        if number > have:
            connection.executescript(f"BEGIN;\n{text}\nPRAGMA user_version={number};\nCOMMIT;")
