"""Bearer tokens: got by GET or POST, renewed, widened, and asked for once however many want one."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest

from liar import (
    DATA,
    MANIFEST,
    USER,
    Answer,
    Liar,
    Request,
    got,
    repository_of,
    source_of,
    tell_story,
)
from wirt.errors import Forbidden
from wirt.image import manifest
from wirt.image.remote.auth import Credentials


class Tokens:
    """A registry that wants tokens of its own server, which it is itself."""

    def __init__(self, liar: Liar) -> None:
        self.liar = liar
        self.good: set[str] = set()
        self.life = 300
        self.get = True
        liar.lies.insert(0, self.answer)

    def answer(self, request: Request) -> Answer | None:
        if request.path == "/token":
            return self.grant(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.good:
            return None
        scope = "repository:team/app:pull"
        realm = f'realm="http://{self.liar.host}/token",service="s",scope="{scope}"'
        return Answer(status=401, headers={"WWW-Authenticate": f"Bearer {realm}"})

    def grant(self, request: Request) -> Answer:
        if request.method == "GET" and not self.get:
            return Answer(status=404)
        name = f"t{len(self.good)}"
        self.good.add(name)
        return Answer(body=json.dumps({"token": name, "expires_in": self.life}).encode())

    @property
    def asked(self) -> list[Request]:
        return [one for one in self.liar.seen if one.path == "/token"]


def test_a_token_serves_many_requests() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        wanted = liar.add_blob(DATA)
        async with source_of(liar) as source:
            for _ in range(3):
                assert await got(source, wanted) == DATA
            await asyncio.gather(*[got(source, wanted) for _ in range(5)])
        assert len(tokens.asked) == 1
        assert tokens.asked[0].query["scope"] == "repository:team/app:pull"

    tell_story(story)


def test_a_token_that_runs_out_is_renewed() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        async with source_of(liar) as source:
            await source.manifest("1")
            tokens.good.clear()  # it was taken back before its time
            tokens.good.add("x")
            await source.manifest("1")
            assert len(tokens.asked) == 2
        tokens.life = 1
        async with source_of(liar) as source:
            await source.manifest("1")
            await asyncio.sleep(1.0)
            await source.manifest("1")
            assert len(tokens.asked) >= 4

    tell_story(story)


def test_more_rights_are_asked_for_when_they_are_needed() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        async with repository_of(liar) as repository:
            await repository.manifest("1")
            blob = liar.add_blob(DATA)
            assert await repository.has_blob(blob.digest)
        assert [one.query["scope"] for one in tokens.asked] == [
            "repository:team/app:pull",
            "repository:team/app:pull,push",
        ]

    tell_story(story)


def test_an_identity_token_is_posted_and_nothing_else_is() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        own = Credentials(username="me", password="s3cret", identity_token="refresh")
        async with source_of(liar, credentials=own) as source:
            await source.manifest("1")
        (asked,) = tokens.asked
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        assert (asked.method, form["grant_type"]) == ("POST", "refresh_token")
        assert (form["refresh_token"], form["service"]) == ("refresh", "s")
        assert "s3cret" not in asked.body.decode() + str(asked.headers)

    tell_story(story)


def test_a_server_that_knows_only_post_gets_a_post() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        tokens.get = False
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        async with source_of(liar, credentials=USER) as source:
            await source.manifest("1")
        assert [one.method for one in tokens.asked] == ["GET", "POST"]
        assert "grant_type=password" in tokens.asked[1].body.decode()

    tell_story(story)


def test_a_ready_token_is_used_as_it_is() -> None:
    async def story(liar: Liar) -> None:
        tokens = Tokens(liar)
        tokens.good.add("mine")
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        async with source_of(liar, credentials=Credentials(registry_token="mine")) as source:
            await source.manifest("1")
        assert tokens.asked == []

    tell_story(story)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_says_no(status: int) -> None:
    async def story(liar: Liar) -> None:
        Tokens(liar)
        liar.lies.insert(0, lambda r: Answer(status=status) if r.path == "/token" else None)
        async with source_of(liar, credentials=USER) as source:
            with pytest.raises(Forbidden, match="does not accept") as failure:
                await source.manifest("1")
        assert "s3cret" not in str(failure.value)
        secret = base64.b64encode(b"me:s3cret").decode()
        assert secret not in str(failure.value)

    tell_story(story)
