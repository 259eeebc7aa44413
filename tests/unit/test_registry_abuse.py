"""The registry and those who mean it ill: names, numbers, slow and many connections, smuggling."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certificates import self_signed
from registrychecks import stream
from registrylab import Client, Lab, digest_of, image, lab
from wirt.api.registry import server, visit
from wirt.errors import Exhausted, WirtError
from wirt.host.pipe import Pipes
from wirt.host.registry.uploads import UploadLimits, Uploads
from wirt.image.budget import Budget
from wirt.image.store import BlobStore
from wirt.state.repositories import RepositoryTable


async def raw(ask: Client, request: bytes, *, patience: float = 10) -> bytes:
    """What the server answers to these very bytes until it closes the connection."""
    host, _, port = ask.base.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(patience):
            return await reader.read()
    finally:
        writer.close()


async def written(own: Lab, place: str) -> None:
    """Wait until a request writes to this upload."""
    session = own.parts.uploads.find(place.rpartition("/")[2], "a", "")
    while not session.busy:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


def story_of(tmp_path: Path, story: object) -> None:
    async def tell() -> None:
        async with lab(tmp_path) as own:
            await story(own, await own.serve())  # type: ignore[operator]

    asyncio.run(tell())


@pytest.mark.parametrize(
    "name",
    ["..", "a/../b", "A", "x" * 300, "%2e%2e", "a%2Fb", "a%00", "library//x", "-a", "a-", "a/",
     "a..b", "a___b", "ä", "a b", ".a", "a:b", "_a", "a/-b"],
)  # fmt: skip
def test_bad_names(tmp_path: Path, name: str) -> None:
    async def story(own: Lab, ask: Client) -> None:
        for verb, rest in (
            ("GET", "tags/list"),
            ("POST", "blobs/uploads/"),
            ("PUT", "manifests/x"),
        ):
            head = f"{verb} /v2/{name}/{rest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            answer = await raw(ask, f"{head}Content-Length: 0\r\n\r\n".encode())
            status = int(answer.split()[1])
            assert status == 400 or (status == 404 and b"NAME_UNKNOWN" in answer), answer
        assert (await ask("GET", "/v2/_catalog")).json["repositories"] == []

    story_of(tmp_path, story)


def test_numbers_of_lists(tmp_path: Path) -> None:
    """CVE-2023-2253: a number is no reason to make room for so many."""

    async def story(own: Lab, ask: Client) -> None:
        await ask.image("a", "t", b"layer")
        for path in ("/v2/_catalog", "/v2/a/tags/list"):
            assert (await ask("GET", f"{path}?n=1000000000000")).status == 200
            for bad in ("n=-1", "n=abc", "n=1e3", "n=", "n=99999999999999999999", "last=%00",
                        "last=" + "x" * 400):  # fmt: skip
                assert (await ask("GET", f"{path}?{bad}")).status == 400, bad

    story_of(tmp_path, story)


def test_two_chunks_at_once(tmp_path: Path) -> None:
    """One of them is told 416, and what the other one wrote is whole."""

    async def story(own: Lab, ask: Client) -> None:
        place = (await ask("POST", "/v2/a/blobs/uploads/")).place
        begun = asyncio.Event()
        go_on = asyncio.Event()

        async def slow() -> object:
            yield b"first "
            begun.set()
            await go_on.wait()
            yield b"second"

        first = asyncio.ensure_future(ask("PATCH", place, slow()))
        await begun.wait()
        await written(own, place)
        for verb in ("PATCH", "PUT"):
            other = await ask(verb, f"{place}?digest={digest_of(b'x')}", b"x", Content_Range="6-6")
            assert other.status == 416
        assert (await ask("DELETE", place)).status == 416
        go_on.set()
        assert (await first).headers["Range"] == "0-11"
        done = await ask("PUT", f"{place}?digest={digest_of(b'first second')}")
        assert done.status == 201

    story_of(tmp_path, story)


def test_a_body_that_breaks_off_can_go_on(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        place = (await ask("POST", "/v2/a/blobs/uploads/")).place
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        host, _, port = ask.base.removeprefix("http://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + b"x" * 400)
        await writer.drain()
        await written(own, place)
        writer.close()
        for _ in range(100):
            known = await ask("GET", place)
            if known.headers["Range"] == "0-399":
                break
            await asyncio.sleep(0.05)
        assert (await ask("PATCH", place, b"y" * 10, Content_Range="400-409")).status == 202
        digest = digest_of(b"x" * 400 + b"y" * 10)
        assert (await ask("PUT", f"{place}?digest={digest}")).status == 201

    story_of(tmp_path, story)


def test_open_uploads_are_limited_and_expire(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        now = [0.0]
        pipes = Pipes()
        uploads = Uploads(
            store=own.store, pipes=pipes, table=RepositoryTable(own.db),
            limits=UploadLimits(everyones=5, users=3, idle=10), clock=lambda: now[0],
        )  # fmt: skip
        for _ in range(3):
            await uploads.begin("a", "greedy")
        await uploads.begin("a", "other")
        await uploads.begin("a", "third")
        for user in ("greedy", "fourth"):
            with pytest.raises(Exhausted, match="too many open uploads"):
                await uploads.begin("a", user)
        assert len(list((tmp_path / "uploads").iterdir())) == 5
        now[0] = 11.0
        await uploads.begin("a", "greedy")
        assert len(list((tmp_path / "uploads").iterdir())) == 1
        now[0] = 20.0
        await uploads.expire()
        assert len(uploads) == 1
        now[0] = 22.0
        await uploads.expire()
        assert list((tmp_path / "uploads").iterdir()) == []
        await uploads.close()
        pipes.close()
        for _ in range(200):
            assert (await ask("POST", "/v2/a/blobs/uploads/")).status == 202
        refused = await ask("POST", "/v2/a/blobs/uploads/")
        assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await ask("GET", "/v2/")).status == 200

    story_of(tmp_path, story)


def test_a_blob_beyond_the_limits_ends_its_upload(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        for limits, code in (
            (UploadLimits(size=2000), "archive.too-large"), (UploadLimits(), "store.over-budget"),
        ):  # fmt: skip
            pipes = Pipes()
            budget = Budget(0 if code == "archive.too-large" else 2000)
            store = BlobStore(tmp_path / code, tmp_path / f"{code}-up", budget=budget)
            store.open_store()
            uploads = Uploads(
                store=store, pipes=pipes, table=RepositoryTable(own.db), limits=limits
            )
            session = await uploads.begin("a", "")

            async def body() -> AsyncIterator[bytes]:
                yield b"x" * 9000

            with pytest.raises(WirtError) as caught:
                await uploads.append(session, body(), at=None, length=None)
            assert caught.value.code == code
            assert len(uploads) == 0
            assert list((tmp_path / f"{code}-up").iterdir()) == []
            pipes.close()

    story_of(tmp_path, story)


def test_slow_clients_are_put_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(server, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(visit, "WINDOW_SECONDS", 1.0)

    async def story(own: Lab, ask: Client) -> None:
        for begun in (b"", b"GET /v2/ HTT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: y"):
            assert await raw(ask, begun) == b""
        place = (await ask("POST", "/v2/a/blobs/uploads/")).place
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        answer = await raw(ask, head.encode() + b"drip")
        assert b" 408 " in answer.split(b"\r\n")[0]
        kept = await raw(ask, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\nGET /v2")
        assert kept.startswith(b"HTTP/1.1 200")
        assert (await ask("GET", place)).headers["Range"] == "0-3"

    story_of(tmp_path, story)


def test_connections_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 5)

    async def story(own: Lab, ask: Client) -> None:
        host, _, port = ask.base.removeprefix("http://").rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
        assert await raw(ask, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        for _, writer in held:
            writer.close()
        while await raw(ask, b"GET /v2/ HTTP/1.0\r\n\r\n") == b"":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)

    story_of(tmp_path, story)


def test_a_handshake_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as a connection meanwhile, so that nobody takes all descriptors with it."""
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 5.0)
    authority = self_signed(tmp_path, "authority")

    async def story(own: Lab, plain: Client) -> None:
        del plain
        ask = await own.serve(certificate=authority.cert.read_text(), key=authority.key.read_text())
        host, _, port = ask.base.removeprefix("https://").rpartition(":")
        mute = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        begun = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - begun < 4
        for other, _ in mute:
            assert await other.read() == b""
        async with own.http.get(ask.base + "/v2/", ssl=False) as found:
            assert found.status == 200
        for _, opened in [*mute, (reader, writer)]:
            opened.close()

    story_of(tmp_path, story)


def test_smuggling_and_packed_bodies(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        await ask.blob("a", b"{}")
        manifest = image(b"{}")
        both = (
            b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        twice = (
            b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Content-Length: 6\r\n\r\nhello!"
        )
        odd = (
            b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n"
            b"0\r\n\r\n"
        )
        for request in (both, twice, odd, b"\x16\x03\x01\x02\x00\x01\x00\x01", b"NONSENSE\r\n\r\n"):
            answer = await raw(ask, request)
            assert answer.split()[1] == b"400", (request, answer)
            assert answer.count(b"HTTP/1.") == 1
        packed = gzip.compress(manifest)
        for encoding in ("gzip", "deflate", "br", "zstd"):
            refused = await ask(
                "PUT", "/v2/a/manifests/t", packed, Content_Encoding=encoding,
                Content_Type="application/vnd.oci.image.manifest.v1+json",
            )  # fmt: skip
            assert (refused.status, refused.code) == (415, "UNSUPPORTED")
        browser = await ask("POST", "/v2/a/blobs/uploads/", Origin="https://evil.example")
        assert (browser.status, browser.code) == (403, "DENIED")
        assert (await ask("TRACE", "/v2/")).status == 405
        assert (await ask("POST", "/v2/a/tags/list")).headers["Allow"] == "GET, HEAD"
        for path in ("/", "/v1/guests", "/v2/a/b", "/v3/", "/v2/a/blobs"):
            assert (await ask("GET", path)).status in {400, 404}

    story_of(tmp_path, story)


def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    async def story(own: Lab, ask: Client) -> None:
        place = (await ask("POST", "/v2/a/blobs/uploads/")).place
        done = await ask("PATCH", place, stream(b"x" * 1000), Expect="100-continue")
        assert done.status == 202
        refused = await raw(
            ask,
            b"PATCH /v2/a/blobs/uploads/0 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\nContent-Length: 99999999\r\n\r\n",
        )
        assert refused.startswith(b"HTTP/1.1 404")

    story_of(tmp_path, story)
