"""A registry that lies never gets its way: images.md cases 15, 17, 18, 37."""

from __future__ import annotations

import pytest

from liar import (
    DATA,
    IMPATIENT,
    MANIFEST,
    QUICK,
    Answer,
    Liar,
    digest_of,
    got,
    refused,
    source_of,
    tell_story,
)
from wirt.errors import Invalid, NotFound, Timeout, Unavailable, Upstream
from wirt.image import catalog, manifest

# --- bodies -----------------------------------------------------------------------------------


def test_an_honest_blob_comes_whole() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        async with source_of(liar) as source:
            assert await got(source, wanted) == DATA

    tell_story(story)


@pytest.mark.parametrize("length", [None, -1])
def test_a_body_without_end_is_cut_at_the_announced_size(length: int | None) -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie_at("/blobs/", Answer(pieces=[DATA] * 50, length=length))
        async with source_of(liar) as source:
            assert await refused(source, wanted) == "registry.size"

    tell_story(story)


def test_a_body_that_stalls_is_given_up() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        slow = [Answer(pieces=[DATA[:100], 1.0], length=len(DATA)) for _ in range(10)]
        liar.lie_at("/blobs/", *slow)
        async with source_of(liar, patience=IMPATIENT) as source:
            assert await refused(source, wanted, Timeout) == "registry.slow"
        assert len(liar.asked("/blobs/")) == QUICK.tries

    tell_story(story)


def test_a_byte_now_and_then_is_a_stall_too() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        drip: list[bytes | float] = [b"x", 0.1] * 20
        liar.lie_at("/blobs/", *[Answer(pieces=drip, length=len(DATA)) for _ in range(10)])
        async with source_of(liar, patience=IMPATIENT) as source:
            assert await refused(source, wanted, Timeout) == "registry.slow"

    tell_story(story)


def test_what_broke_off_is_resumed_where_it_broke() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie_at("/blobs/", Answer(body=DATA[:300_000], length=len(DATA), cut=True))
        async with source_of(liar) as source:
            assert await got(source, wanted) == DATA
        first, second = liar.asked("/blobs/")
        assert "range" not in first.headers
        assert second.headers["range"].startswith("bytes=")

    tell_story(story)


@pytest.mark.parametrize(
    "part",
    ["bytes 0-1048575/1048576", "bytes 5-9/10", "nonsense", "bytes 299999-2000000/2000001", ""],
)
def test_another_part_than_the_asked_one_is_not_taken(part: str) -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie_at(
            "/blobs/",
            Answer(body=DATA[:300_000], length=len(DATA), cut=True),
            Answer(status=206, headers={"Content-Range": part}, body=DATA[7:]),
        )
        async with source_of(liar) as source:
            assert await got(source, wanted) == DATA
        assert "range" not in liar.asked("/blobs/")[-1].headers

    tell_story(story)


def test_a_registry_that_ignores_ranges_is_read_from_the_start() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie_at(
            "/blobs/",
            Answer(body=DATA[:300_000], length=len(DATA), cut=True),
            Answer(body=DATA),
        )
        async with source_of(liar) as source:
            assert await got(source, wanted) == DATA

    tell_story(story)


def test_a_server_that_dribbles_and_hangs_up_is_not_asked_for_ever() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        liar.lie(
            lambda r: Answer(body=b"x", length=len(DATA), cut=True) if "/blobs/" in r.path else None
        )
        async with source_of(liar) as source:
            with pytest.raises((Unavailable, Upstream)):
                await got(source, wanted)
        assert len(liar.asked("/blobs/")) <= QUICK.tries + 2

    tell_story(story)


# --- statuses ---------------------------------------------------------------------------------


def test_failures_that_pass_are_waited_for() -> None:
    async def story(liar: Liar) -> None:
        wanted = liar.add_blob(DATA)
        busy = Answer(status=429, headers={"Retry-After": "0"})
        liar.lie_at("/blobs/", Answer(status=503), busy)
        async with source_of(liar) as source:
            assert await got(source, wanted) == DATA

    tell_story(story)


def test_a_rate_limit_is_told_and_not_hammered_on() -> None:
    async def story(liar: Liar) -> None:
        liar.lie_at("/manifests/", *[Answer(status=429, headers={"Retry-After": "3600"})] * 9)
        async with source_of(liar) as source:
            with pytest.raises(Upstream, match="too many requests") as failure:
                await source.manifest("1")
        assert failure.value.code == "registry.rate-limited"
        assert "3600 seconds" in failure.value.notes[0]
        assert len(liar.asked("/manifests/")) == 1

    tell_story(story)


def test_five_hundreds_end_after_some_tries() -> None:
    async def story(liar: Liar) -> None:
        liar.lie(lambda r: Answer(status=500) if "/manifests/" in r.path else None)
        async with source_of(liar) as source:
            with pytest.raises(Upstream, match="status 500"):
                await source.manifest("1")
        assert len(liar.asked("/manifests/")) == QUICK.tries

    tell_story(story)


# --- documents --------------------------------------------------------------------------------


def test_a_manifest_that_is_another_one_is_refused() -> None:
    async def story(liar: Liar) -> None:
        made = liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        other = Answer(headers={"Content-Type": manifest.OCI_MANIFEST}, body=MANIFEST + b" ")
        liar.lie_at("/manifests/", other)
        async with source_of(liar) as source:
            with pytest.raises(Upstream) as failure:
                await source.manifest(str(made.digest))
            assert failure.value.code == "registry.digest"
            assert (await source.manifest("1")).digest == made.digest
            with pytest.raises(NotFound, match="team/app:2"):
                await source.manifest("2")

    tell_story(story)


def test_the_digest_in_a_header_must_fit_the_body() -> None:
    async def story(liar: Liar) -> None:
        told = {
            "Content-Type": manifest.OCI_MANIFEST,
            "Docker-Content-Digest": str(digest_of(b"other")),
        }
        liar.lie_at("/manifests/", Answer(headers=told, body=MANIFEST))
        async with source_of(liar) as source:
            with pytest.raises(Upstream):
                await source.manifest("1")

    tell_story(story)


@pytest.mark.parametrize(
    "text", ["sha256:ABC", "sha256:../../x", "md5:00", "", "sha256:" + "a" * 63]
)
def test_a_digest_that_is_none_is_an_error(text: str) -> None:
    async def story(liar: Liar) -> None:
        told = {"Content-Type": manifest.OCI_MANIFEST, "Docker-Content-Digest": text}
        liar.lie_at("/manifests/", Answer(headers=told, body=MANIFEST))
        async with source_of(liar) as source:
            if text:
                with pytest.raises(Invalid):
                    await source.manifest("1")
            else:
                assert (await source.manifest("1")).digest == digest_of(MANIFEST)

    tell_story(story)


@pytest.mark.parametrize("kind", ["", "application/json", "text/plain; charset=utf-8"])
def test_a_document_of_no_known_type_is_refused(kind: str) -> None:
    async def story(liar: Liar) -> None:
        nameless = b'{"schemaVersion":2,"config":{},"layers":[]}'
        liar.lie_at("/manifests/", Answer(headers={"Content-Type": kind}, body=nameless))
        async with source_of(liar) as source:
            with pytest.raises(Invalid, match="of what type"):
                await source.manifest("1")

    tell_story(story)


def test_a_type_that_contradicts_the_announced_one_is_refused() -> None:
    async def story(liar: Liar) -> None:
        liar.lie_at(
            "/manifests/", Answer(headers={"Content-Type": manifest.OCI_INDEX}, body=MANIFEST)
        )
        async with source_of(liar) as source:
            found = await source.manifest("1")
            with pytest.raises(Invalid):
                catalog.read(found.data, found.digest, found.media_type)

    tell_story(story)


def test_a_manifest_without_end_is_refused() -> None:
    async def story(liar: Liar) -> None:
        liar.lie_at("/manifests/", Answer(pieces=[b" " * 1_000_000] * 50))
        async with source_of(liar) as source:
            with pytest.raises(Upstream) as failure:
                await source.manifest("1")
            assert failure.value.code == "registry.too-large"

    tell_story(story)
