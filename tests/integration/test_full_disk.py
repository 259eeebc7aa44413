"""The database on a disk that is full: a real one, of memory."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from needs import needs
from wirt.errors import Exhausted
from wirt.state.db import Database

pytestmark = needs("root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def fill(disk: Path) -> None:
    file = os.open(disk / "fill", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(file, bytes(4096)):
            pass
    except OSError:
        pass
    finally:
        os.close(file)


def test_what_is_known_can_be_changed_and_removed_on_a_full_disk(disk: Path) -> None:
    """Else a guest that fills the disk could neither be stopped nor removed."""

    def add(sql: sqlite3.Connection, row: int, size: int = 300) -> None:
        sql.execute("INSERT INTO things VALUES (?, ?)", (row, "x" * size))

    def write(text: int) -> Callable[[sqlite3.Connection], object]:
        return lambda sql: sql.execute("UPDATE things SET x = ?", (text,))

    async def story() -> None:
        db = Database(disk / "wirt.db")
        await db.open()
        await db.call(lambda sql: sql.execute("CREATE TABLE things (id INTEGER, x TEXT)"))
        for row in range(20):
            await db.call(partial(add, row=row))
        fill(disk)
        for text in range(300):
            await db.call(write(text))
        with pytest.raises(Exhausted, match="is full"):
            await db.call(lambda sql: add(sql, 99, 8 << 20))
        assert await db.call(lambda sql: sql.execute("DELETE FROM things").rowcount) == 20
        await db.close()
        again = Database(disk / "wirt.db")
        await again.open()
        left = await again.call(
            lambda sql: sql.execute("SELECT count(*) FROM things").fetchone()[0]
        )
        assert left == 0
        await again.close()

    asyncio.run(story())
