"""Uploads: in one request when all is well, the missing part when it was not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from liar import DATA, IMPATIENT, USER, Answer, Liar, Request, descriptor, repository_of, tell_story
from wirt.errors import Forbidden, Timeout, Upstream, WirtError
from wirt.image.manifest import Descriptor
from wirt.image.remote.repository import Repository
from wirt.image.remote.upload import Uploading

PLACE = "/v2/team/app/blobs/uploads/"


class Uploads:
    """The uploading side of a registry. ``keep``: bytes of a whole body that arrive before it
    fails, None when it does not fail."""

    def __init__(self, liar: Liar, *, keep: int | None = None, known: bool = True) -> None:
        self.liar = liar
        self.got = b""
        self.keep = keep
        self.known = known
        self.begun = 0
        self.done = b""
        liar.lies.append(self.answer)

    def answer(self, request: Request) -> Answer | None:
        if not request.path.startswith(PLACE):
            return None
        here = {"Location": f"{PLACE}u{self.begun}?state=1"}
        if request.method == "POST":
            self.begun += 1
            self.got = b""
            return Answer(status=202, headers={"Location": f"{PLACE}u{self.begun}?state=1"})
        if request.method == "GET":
            if not self.known:
                return Answer(status=404)
            return Answer(status=204, headers={**here, "Range": f"0-{len(self.got) - 1}"})
        if request.method == "PATCH":
            start = int(request.headers["content-range"].partition("-")[0])
            if start != len(self.got):
                return Answer(status=416)
            self.got += request.body
            return Answer(status=202, headers=here)
        if request.body and self.keep is not None:
            self.got, self.keep = request.body[: self.keep], None
            return Answer(status=500)
        self.done = self.got + request.body
        return Answer(status=201)


async def upload(repository: Repository, blob: Descriptor) -> None:
    async def source(start: int) -> AsyncIterator[bytes]:
        for at in range(start, len(DATA), 100_000):
            yield DATA[at : at + 100_000]

    place = await repository.begin_upload(blob.digest)
    assert place is not None
    await Uploading(repository, blob, source).run(place)


def methods(liar: Liar) -> list[str]:
    return [one.method for one in liar.seen if one.path.startswith(PLACE)]


def test_all_in_one_request() -> None:
    async def story(liar: Liar) -> None:
        uploads = Uploads(liar)
        async with repository_of(liar) as repository:
            await upload(repository, descriptor(DATA))
        assert uploads.done == DATA
        assert methods(liar) == ["POST", "PUT"]
        last = liar.seen[-1]
        assert last.query == {"state": "1", "digest": str(descriptor(DATA).digest)}
        assert last.headers["content-length"] == str(len(DATA))

    tell_story(story)


def test_after_an_interruption_only_the_rest_goes() -> None:
    async def story(liar: Liar) -> None:
        uploads = Uploads(liar, keep=400_000)
        async with repository_of(liar) as repository:
            await upload(repository, descriptor(DATA))
        assert uploads.done == DATA
        assert methods(liar) == ["POST", "PUT", "GET", "PATCH", "PUT"]
        (patch,) = liar.asked(PLACE, "PATCH")
        assert patch.headers["content-range"] == f"400000-{len(DATA) - 1}"
        assert len(patch.body) == len(DATA) - 400_000

    tell_story(story)


def test_an_upload_that_was_forgotten_begins_anew() -> None:
    async def story(liar: Liar) -> None:
        uploads = Uploads(liar, keep=400_000, known=False)
        async with repository_of(liar) as repository:
            await upload(repository, descriptor(DATA))
        assert uploads.done == DATA
        assert methods(liar) == ["POST", "PUT", "GET", "POST", "PUT"]

    tell_story(story)


def test_a_registry_that_never_takes_it_is_given_up() -> None:
    async def story(liar: Liar) -> None:
        Uploads(liar)
        liar.lies.insert(0, lambda r: Answer(status=503) if r.method == "PUT" else None)
        async with repository_of(liar) as repository:
            with pytest.raises(Upstream, match="status 503"):
                await upload(repository, descriptor(DATA))
        assert 2 <= len(liar.asked(PLACE, "PUT")) <= 5

    tell_story(story)


def test_a_refusal_is_final() -> None:
    async def story(liar: Liar) -> None:
        Uploads(liar)
        denied = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
        liar.lies.insert(
            0, lambda r: Answer(status=403, body=denied) if r.method == "PUT" else None
        )
        async with repository_of(liar) as repository:
            with pytest.raises(Forbidden, match="quota exceeded"):
                await upload(repository, descriptor(DATA))
        assert len(liar.asked(PLACE, "PUT")) == 1

    tell_story(story)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("", "registry.no-location"),
        ("http://169.254.169.254/x", "registry.redirect"),
        ("file:///x", "registry.redirect"),
    ],
)
def test_places_where_nothing_is_uploaded_to(location: str, code: str) -> None:
    async def story(liar: Liar) -> None:
        told = {"Location": location} if location else {}
        liar.lie_at(PLACE, Answer(status=202, headers=told), method="POST")
        async with repository_of(liar) as repository:
            with pytest.raises(WirtError) as failure:
                await repository.begin_upload(descriptor(DATA).digest)
            assert failure.value.code == code

    tell_story(story)


def test_a_place_elsewhere_gets_the_bytes_but_no_credentials() -> None:
    async def story(liar: Liar) -> None:
        async with Liar().serve() as other:
            liar.lie(
                lambda r: (
                    None
                    if "authorization" in r.headers
                    else Answer(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
                )
            )
            told = {"Location": f"http://{other.host}{PLACE}u1"}
            liar.lie_at(PLACE, Answer(status=202, headers=told), method="POST")
            uploads = Uploads(other)
            async with repository_of(liar, USER) as repository:
                await upload(repository, descriptor(DATA))
            assert uploads.done == DATA
            assert "authorization" in liar.asked(PLACE, "POST")[-1].headers
            assert all("authorization" not in one.headers for one in other.seen)

    tell_story(story)


def test_a_registry_that_stops_reading_is_given_up() -> None:
    async def story(liar: Liar) -> None:
        Uploads(liar)
        blob = Descriptor(media_type="x", digest=descriptor(DATA).digest, size=64 * len(DATA))

        async def source(start: int) -> AsyncIterator[bytes]:
            del start
            for _ in range(64):
                yield DATA

        async with repository_of(liar, patience=IMPATIENT) as repository:
            place = await repository.begin_upload(blob.digest)
            assert place is not None
            liar.deaf = True
            with pytest.raises(Timeout):
                await Uploading(repository, blob, source).run(place)

    tell_story(story)
