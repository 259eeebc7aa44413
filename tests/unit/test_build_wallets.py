"""Credentials that a build asks its client for: of whom, how often, and where they go."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import pytest

from liar import (
    MANIFEST,
    QUICK,
    USER,
    Answer,
    Liar,
    Request,
    tell_story,
)
from wirt.errors import Forbidden, Invalid, NotFound
from wirt.host.build.bases import Bases
from wirt.host.build.progress import Progress
from wirt.host.build.wallets import Wallets
from wirt.host.build.wish import BuildWish
from wirt.host.images import Images
from wirt.host.layers import Tell
from wirt.host.pipe import Pipes
from wirt.host.pull import PullWish
from wirt.host.registries import Registries
from wirt.image import manifest
from wirt.image.build.graph import ImageRef
from wirt.image.remote.auth import ANONYMOUS, Credentials, Late
from wirt.image.remote.settings import Settings
from wirt.image.store import BlobStore
from wirt.model.image import Image, Reference

TOKEN = "0123456789abcdef" * 2


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(main())


def test_one_question_for_all_who_want_to_know() -> None:
    async def story() -> None:
        wallets = Wallets(patience=20)
        asked: list[str] = []

        async def ask(registry: str) -> None:
            asked.append(registry)
            if registry == "a.example":
                wallets.take(TOKEN, "a.example", USER)
            else:
                wallets.take(TOKEN, registry, ANONYMOUS)

        with wallets.open(TOKEN, {"given.example": USER}, ask) as wallet:
            several = [wallet.of("a.example") for _ in range(5)]
            assert await asyncio.gather(*several) == [USER] * 5
            assert await wallet.of("b.example") == ANONYMOUS
            assert await wallet.of("b.example") == ANONYMOUS
            assert await wallet.of("given.example") == USER
            assert (wallet.has("a.example"), wallet.has("b.example")) == (True, False)
        assert asked == ["a.example", "b.example"]
        with pytest.raises(NotFound):
            wallets.take(TOKEN, "a.example", USER)

    run(story)


def test_only_answers_to_questions_count() -> None:
    async def story() -> None:
        wallets = Wallets(patience=20)
        refused = []

        async def ask(registry: str) -> None:
            for token, name in ((TOKEN, "other.example"), ("f" * 32, registry)):
                with pytest.raises(NotFound) as failure:
                    wallets.take(token, name, USER)
                refused.append(failure.value.code)
            wallets.take(TOKEN, registry, USER)
            with pytest.raises(NotFound):  # a second answer
                wallets.take(TOKEN, registry, Credentials(username="eve", password="x"))

        with wallets.open(TOKEN, {}, ask) as wallet:
            with pytest.raises(Invalid), wallets.open(TOKEN, {}, ask):
                pass
            with pytest.raises(Invalid), wallets.open("short", {}, ask):
                pass
            assert await wallet.of("a.example") == USER
        assert refused == ["build.no-question"] * 2

    run(story)


def test_who_does_not_answer_is_waited_for_once() -> None:
    async def story() -> None:
        wallets = Wallets(patience=0.05)
        asked = []

        async def ask(registry: str) -> None:
            asked.append(registry)

        with wallets.open(TOKEN, {}, ask) as wallet:
            assert await wallet.of("a.example") == ANONYMOUS
            assert await wallet.of("a.example") == ANONYMOUS
            assert wallet.silent == {"a.example"}
            with pytest.raises(NotFound):
                wallets.take(TOKEN, "a.example", USER)
        assert asked == ["a.example"]
        with wallets.open("", {}, ask) as wallet:  # a client that answers no questions
            assert await wallet.of("a.example") == ANONYMOUS
            assert wallet.silent == set()
        assert asked == ["a.example"]

    run(story)


class Closed:
    """A registry that lets nobody in without a password; and no image is here."""

    async def inspect(self, name: str) -> None:
        raise NotFound(f"No such image: {name}")

    async def pull(
        self, wish: PullWish, tell: Tell, *, late: Late | None = None
    ) -> tuple[Image, ...]:
        assert late is not None
        assert await late() == ANONYMOUS
        raise Forbidden("access is denied", hint="log in", code="registry.denied")


@pytest.mark.parametrize("answers", [True, False])
def test_a_build_says_that_nobody_answered(answers: bool) -> None:
    async def story() -> None:
        wallets = Wallets(patience=20 if answers else 0.05)
        told = []

        async def tell(line: Mapping[str, object]) -> None:
            told.append(line)

        async def ask(registry: str) -> None:
            if answers:
                wallets.take(TOKEN, registry, ANONYMOUS)

        bases = Bases(
            pipes=cast(Pipes, None),
            store=cast(BlobStore, None),
            images=cast(Images, Closed()),
            puller=Closed(),
        )
        with wallets.open(TOKEN, {}, ask) as wallet, pytest.raises(Forbidden) as failure:
            await bases.find(
                ImageRef("a.example/b", ""),
                platform="linux/amd64",
                wish=BuildWish(),
                wallet=wallet,
                progress=Progress(tell),
            )
        assert failure.value.facts["registry"] == "a.example"
        silent = "the client was asked what it has for a.example, and did not answer"
        assert failure.value.hint == ("log in" if answers else silent)
        assert told[-1]["status"] == "failed"

    run(story)


def _guard(request: Request) -> Answer | None:
    given = request.headers.get("authorization", "")
    if given == f"Basic {base64.b64encode(b'me:s3cret').decode()}":
        return None
    return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})


def test_a_registry_is_asked_with_credentials_when_it_wants_some() -> None:
    """And not before: the first request has none."""

    async def story(liar: Liar) -> None:
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        asked = 0

        async def late() -> Credentials:
            nonlocal asked
            asked += 1
            return USER

        name = Reference.parse(f"{liar.host}/team/app:1")
        registries = Registries(Settings(), patience=QUICK)
        try:
            await registries.source(name, late).manifest("1")
            assert asked == 0
            liar.lie(_guard)
            source = registries.source(name, late)
            await asyncio.gather(*(source.manifest("1") for _ in range(4)))
            assert asked == 1
            before = [one for one in liar.seen if "authorization" not in one.headers]
            assert before[-1].path == "/v2/"
        finally:
            await registries.close()

    tell_story(story)


def test_a_wrong_password_is_called_so() -> None:
    async def story(liar: Liar) -> None:
        liar.add_document(MANIFEST, manifest.OCI_MANIFEST, "1")
        liar.lie(_guard)
        name = Reference.parse(f"{liar.host}/team/app:1")
        registries = Registries(Settings(), patience=QUICK)
        try:
            source = registries.source(name, Credentials(username="me", password="0ther"))
            with pytest.raises(Forbidden) as failure:
                await source.manifest("1")
            assert "does not accept the user name and password" in failure.value.message
            assert "0ther" not in repr(failure.value)
            assert failure.value.hint == f"log in again: wirt login {liar.host}"
        finally:
            await registries.close()

    tell_story(story)
