"""Blobs of the registry as the conformance suite of the OCI distribution specification walks them:
every way to upload, with both algorithms, what goes wrong with it, mounting, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registrychecks import BLOBS, DATA, OTHER, PULL, PUSH, REPOSITORY, UPLOADS, Checks, stream, walk
from registrylab import Answer, Client, digest_of


@dataclass(frozen=True)
class Way:
    """A way to upload: chunks sent by PATCH, and the last one with the PUT."""

    name: str
    patches: Sequence[tuple[int, int]] = ()
    last: tuple[int, int] | None = None
    ranges: bool = True


WAYS = (
    Way("post and put", last=(0, 4000), ranges=False),
    Way("one chunk", patches=((0, 4000),)),
    Way("chunks", patches=((0, 1000), (1000, 2500), (2500, 4000))),
    Way("chunks, the last with the put", patches=((0, 1500),), last=(1500, 4000)),
    Way("a stream", patches=((0, 4000),), ranges=False),
    Way("streams", patches=((0, 10), (10, 4000)), ranges=False),
)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_pushing_blobs(tmp_path: Path, algorithm: str, announced: bool) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        query = f"?digest-algorithm={algorithm}" if announced else ""
        for number, way in enumerate(WAYS):
            data = bytes([number]) + DATA[1:]
            digest = digest_of(data, algorithm)
            place = checks.status(PUSH, await ask("POST", UPLOADS + query), 202).place
            for first, end in way.patches:
                headers = {"Content_Range": f"{first}-{end - 1}"} if way.ranges else {}
                body: Any = data[first:end] if way.ranges else stream(data[first:end])
                done = await ask("PATCH", place, body, **headers)
                place = checks.status(PUSH, done, 202).place
                checks.same(PUSH, done.headers["Range"], f"0-{end - 1}")
                known = checks.status(PUSH, await ask("GET", place), 204)
                checks.same(PUSH, known.headers["Range"], f"0-{end - 1}")
            rest = data[slice(*way.last)] if way.last else None
            headers = (
                {"Content_Range": f"{way.last[0]}-{way.last[1] - 1}"}
                if way.last and way.ranges
                else {}
            )
            done = await ask("PUT", f"{place}?digest={digest}", rest, **headers)
            await stored(ask, checks, done, data, digest)
            checks.code(PUSH, await ask("GET", place), 404, "BLOB_UPLOAD_UNKNOWN")
        for data in (b"", b"{}", b"once"):
            digest = digest_of(data, algorithm)
            await stored(ask, checks, await ask("POST", f"{UPLOADS}?digest={digest}", data), data,
                         digest)  # fmt: skip

    walk(tmp_path, story)


async def stored(ask: Client, checks: Checks, done: Answer, data: bytes, digest: str) -> None:
    """A push was answered rightly, and the blob can be read."""
    checks.status(PUSH, done, 201)
    checks.same(PUSH, done.headers["Docker-Content-Digest"], digest)
    head = checks.status(PULL, await ask("HEAD", done.place), 200)
    checks.same(PULL, head.headers["Content-Length"], str(len(data)))
    checks.same(PULL, head.headers["Docker-Content-Digest"], digest)
    found = checks.status(PULL, await ask("GET", done.place), 200)
    checks.same(PULL, found.body, data)
    checks.same(PULL, found.headers["Docker-Content-Digest"], digest)


def test_uploads_that_go_wrong(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        place = (await ask("POST", UPLOADS)).place
        wrong = await ask("PATCH", place, DATA[10:20], Content_Range="10-19")
        checks.code(PUSH, wrong, 416, "BLOB_UPLOAD_INVALID")
        done = checks.status(PUSH, await ask("PATCH", place, DATA[:10], Content_Range="0-9"), 202)
        again = await ask("PATCH", place, DATA[:10], Content_Range="0-9")
        checks.status(PUSH, again, 416)
        checks.same(PUSH, (again.place, again.headers["Range"]), (place, "0-9"))
        wrong = await ask("PUT", f"{place}?digest={digest_of(DATA)}", b"x", Content_Range="99-99")
        checks.status(PUSH, wrong, 416)
        for said in ("10-9", "x", "10-", "10-12"):
            wrong = await ask("PATCH", place, b"ab", Content_Range=said)
            checks.status(PUSH, wrong, 400)
        rest = await ask("PATCH", done.place, DATA[10:], Content_Range="10-3999")
        checks.status(PUSH, rest, 202)
        wrong = await ask("PUT", place)
        checks.code(PUSH, wrong, 400, "DIGEST_INVALID")
        digest = digest_of(DATA)
        checks.status(PUSH, await ask("PUT", f"{place}?digest={digest}"), 201)
        for verb in ("PATCH", "PUT", "GET", "DELETE"):
            late = await ask(verb, f"{place}?digest={digest}")
            checks.code(PUSH, late, 404, "BLOB_UPLOAD_UNKNOWN")
        place = (await ask("POST", UPLOADS)).place
        checks.status(PUSH, await ask("DELETE", place), 204)
        checks.status(PUSH, await ask("GET", place), 404)
        for bad in ("sha256:ABC", "sha256:../../x", f"sha256:{'0' * 63}", "md5:0", "",
                    digest_of(b"other")):  # fmt: skip
            wrong = await ask("POST", f"{UPLOADS}?digest={bad}", b"data")
            checks.code(PUSH, wrong, 400, "DIGEST_INVALID")
            place = (await ask("POST", UPLOADS)).place
            wrong = await ask("PUT", f"{place}?digest={bad}", b"data")
            checks.code(PUSH, wrong, 400, "DIGEST_INVALID")
            await ask("DELETE", place)
        checks.code(
            PUSH, await ask("POST", f"{UPLOADS}?digest-algorithm=md5"), 400, "DIGEST_INVALID"
        )
        checks.code(PULL, await ask("GET", f"{BLOBS}/{digest_of(b'data')}"), 404, "BLOB_UNKNOWN")

    walk(tmp_path, story)


def test_mounting(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        digest = await ask.blob(REPOSITORY, DATA)
        other = f"/v2/{OTHER}/blobs"
        checks.code(PULL, await ask("GET", f"{other}/{digest}"), 404, "BLOB_UNKNOWN")
        for number, query in enumerate((f"mount={digest}&from={REPOSITORY}", f"mount={digest}")):
            target = f"{OTHER}{number}"
            done = await ask("POST", f"/v2/{target}/blobs/uploads/?{query}")
            checks.status(PUSH, done, 201)
            checks.same(PUSH, done.place, f"/v2/{target}/blobs/{digest}")
            checks.same(PULL, (await ask("GET", done.place)).body, DATA)
        for query in (f"mount={digest_of(b'x')}&from={REPOSITORY}", f"mount={digest}&from=no/such",
                      f"mount={digest_of(b'x')}"):  # fmt: skip
            done = checks.status(
                PUSH, await ask("POST", f"/v2/{OTHER}/blobs/uploads/?{query}"), 202
            )
            checks.status(PUSH, await ask("DELETE", done.place), 204)
        bad = await ask("POST", f"/v2/{OTHER}/blobs/uploads/?mount=sha256:x&from={REPOSITORY}")
        checks.code(PUSH, bad, 400, "DIGEST_INVALID")

    walk(tmp_path, story)


def test_ranges(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        path = f"{BLOBS}/{await ask.blob(REPOSITORY, DATA)}"
        for wish, first, end in (
            ("500-1499", 500, 1500), ("500-", 500, 4000), ("-500", 3500, 4000),
            ("3000-9999", 3000, 4000), ("-9999", 0, 4000), ("0-0", 0, 1), ("3999-3999", 3999, 4000),
        ):  # fmt: skip
            found = checks.status(PULL, await ask("GET", path, Range=f"bytes={wish}"), 206)
            checks.same(PULL, found.body, DATA[first:end])
            checks.same(PULL, found.headers["Content-Range"], f"bytes {first}-{end - 1}/4000")
        for wish in ("500-0", "4000-", "9999-99999", "-0", "-", "x-1"):
            found = checks.status(PULL, await ask("GET", path, Range=f"bytes={wish}"), 416)
            checks.same(PULL, found.headers["Content-Range"], "bytes */4000")
        for wish in ("bytes=0-1,5-6", "lines=1-2"):
            checks.same(PULL, (await ask("GET", path, Range=wish)).body, DATA)
        tag = (await ask("HEAD", path)).headers["ETag"]
        for said, wanted in ((tag, 206), ('"other"', 200)):
            found = await ask("GET", path, Range="bytes=0-9", If_Range=said)
            checks.status(PULL, found, wanted)
        checks.status(PULL, await ask("GET", path, If_None_Match=tag), 304)
        checks.same(PULL, (await ask("HEAD", path)).headers["Accept-Ranges"], "bytes")
        empty = f"{BLOBS}/{await ask.blob(REPOSITORY, b'')}"
        checks.status(PULL, await ask("GET", empty, Range="bytes=0-"), 416)

    walk(tmp_path, story)
