"""A machine's list of changes: a guest's word, and read as such."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from wirt.errors import Invalid
from wirt.host.changes import told_changes


def told(*chunks: bytes) -> list[dict[str, object]]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def all_of_it() -> bytes:
        return b"".join([part async for part in told_changes(stream())])

    return [json.loads(line) for line in asyncio.run(all_of_it()).splitlines()]


def test_records_come_in_any_pieces() -> None:
    data = b"A 3 0 a b\nc\0D 0 17 d/\xff\0C 1 2 e\0"
    wanted = [
        {"kind": "A", "path": "/a b\nc", "size": 3, "before": 0},
        {"kind": "D", "path": "/d/\udcff", "size": 0, "before": 17},
        {"kind": "C", "path": "/e", "size": 1, "before": 2},
    ]
    assert told(data) == wanted
    assert told(*(data[n : n + 1] for n in range(len(data)))) == wanted
    assert told() == []


@pytest.mark.parametrize(
    "data",
    [
        b"A 1 2 unended",
        b"X 1 2 kind\0",
        b"A -1 2 minus\0",
        b"A 1 2 \0",
        b"A 1\0",
        b"\0",
        b"A 99999999999999999999 0 long\0",
        b"A 1 2 " + b"x" * 5000 + b"\0",
        b"A 1 2 " + b"x" * 100_000,
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="makes no sense"):
        told(data)
