"""The daemon's own registry: known by a mark, and given what the store has without a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from registrylab import Client, Lab, digest_of, image, index, lab
from wirt.errors import Invalid
from wirt.host.registry.mark import ANSWER, Mark
from wirt.image.manifest import OCI_INDEX


def tell(tmp_path: Path, story: Callable[[Lab, Client], Awaitable[None]]) -> None:
    async def work() -> None:
        async with lab(tmp_path) as own:
            await story(own, await own.serve())

    asyncio.run(work())


def test_a_mark_proves_the_very_connection(tmp_path: Path) -> None:
    """Relayed by somebody else, it proves nothing: their connection has another address."""
    mark = Mark()
    challenge = mark.challenge()
    answer = mark.answer(challenge, ("127.0.0.1", 4000))
    assert mark.proves(challenge, answer, ("127.0.0.1", 4000))
    assert not mark.proves(challenge, answer, ("127.0.0.1", 4001))
    assert not mark.proves(mark.challenge(), answer, ("127.0.0.1", 4000))
    assert not Mark().proves(challenge, answer, ("127.0.0.1", 4000))
    assert not mark.proves(challenge, "é", ("127.0.0.1", 4000))

    async def story(own: Lab, ask: Client) -> None:
        port = int(ask.base.rpartition(":")[2])
        mine = own.parts.mark
        assert await mine.leads_here("127.0.0.1", port)
        assert not await Mark().leads_here("127.0.0.1", port)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(await reader.read(4096))
            writer.write(await there.read())
            back.close()
            writer.close()

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with server:
            assert not await mine.leads_here("127.0.0.1", server.sockets[0].getsockname()[1])
        assert not await mine.leads_here("127.0.0.1", 1)
        assert ANSWER not in (await ask("GET", "/v2/")).headers

    tell(tmp_path, story)


def test_adopting_what_the_store_has_copies_nothing(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        config, layer = b'{"os":"linux"}', b"layer" * 1000
        here, absent = image(config, [layer]), image(config, [b"of another platform"])
        half = image(config, [b"known, but its layer is not here"])
        listed = index(here, absent, half)
        with own.store.lease() as lease:
            for data in (config, layer, here, half, listed):
                own.store.put(data, lease)
            before = own.files()
            digest = own.store.put(listed, lease)
            done = await own.parts.adopt.adopt("own/app", digest, tags=["v1", "latest"])
        assert [d.digest for d in done] == [digest_of(here), digest_of(listed)]
        assert own.files() == before
        found = await ask("GET", "/v2/own/app/manifests/latest")
        assert (found.body, found.headers["Content-Type"]) == (listed, OCI_INDEX)
        assert (await ask("GET", f"/v2/own/app/manifests/{digest_of(here)}")).body == here
        assert (await ask("GET", f"/v2/own/app/blobs/{digest_of(layer)}")).body == layer
        assert (await ask("GET", f"/v2/own/app/manifests/{digest_of(absent)}")).status == 404
        assert (await ask("GET", f"/v2/own/app/manifests/{digest_of(half)}")).status == 404
        assert await own.sweep() == 1  # the half one
        await own.parts.manifests.remove_repository("own/app")
        assert await own.sweep() == len(before) - 1
        with pytest.raises(Invalid):
            await own.parts.adopt.adopt("Own", digest, tags=[])

    tell(tmp_path, story)
