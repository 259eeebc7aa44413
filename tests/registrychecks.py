"""Counting what was checked of the OCI distribution specification, by its four categories."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from registrylab import Answer, Client, lab

REPOSITORY = "conformance/repo1"
OTHER = "conformance/repo2"
BLOBS = f"/v2/{REPOSITORY}/blobs"
UPLOADS = f"{BLOBS}/uploads/"
MANIFESTS = f"/v2/{REPOSITORY}/manifests"
DATA = bytes(n * 7 % 251 for n in range(4000))
PULL, PUSH, DISCOVERY, MANAGEMENT = "pull", "push", "content discovery", "content management"


class Checks:
    """Counts what was checked, by category."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def status(self, category: str, answer: Answer, *wanted: int) -> Answer:
        """The answer has one of these statuses."""
        self.counts[category] += 1
        assert answer.status in wanted, (answer.url, answer.status, answer.body, answer.headers)
        return answer

    def same(self, category: str, found: object, wanted: object) -> None:
        """Both are equal."""
        self.counts[category] += 1
        assert found == wanted

    def code(self, category: str, answer: Answer, status: int, code: str) -> None:
        """It is this error."""
        self.status(category, answer, status)
        self.same(category, answer.code, code)


def walk(tmp_path: Path, story: Callable[[Client, Checks], Awaitable[None]]) -> Counter[str]:
    """Tell the story to a fresh registry."""
    checks = Checks()

    async def tell() -> None:
        async with lab(tmp_path) as own:
            await story(await own.serve(), checks)
            assert len(own.parts.uploads) == 0

    asyncio.run(tell())
    print(dict(checks.counts))  # noqa: T201 - the counts are the report
    return checks.counts


async def stream(data: bytes) -> Any:
    """A body whose length nobody says."""
    yield data[:500]
    yield data[500:]
