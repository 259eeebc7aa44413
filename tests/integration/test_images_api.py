"""The routes of images, volumes and guests' files over HTTP, with clients that go away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from filebench import Bench, directory, docker_archive, file, pieces, run, tar
from needs import needs
from waiting import eventually
from wirt.api.http.app import application
from wirt.api.native.archive import ArchiveRoutes
from wirt.api.native.images import ImageRoutes
from wirt.api.native.volumes import VolumeRoutes
from wirt.errors import NotFound
from wirt.model.guest import Guest, GuestSpec

pytestmark = needs("root", "overlay")

GUEST = "34" * 32


@dataclass(kw_only=True)
class OneGuest:
    """Finds one guest by its name."""

    guest: Guest

    def find(self, text: str) -> Guest:
        if text != self.guest.name:
            raise NotFound(f"No such guest: {text}")
        return self.guest


@dataclass(kw_only=True)
class Client:
    """Speaks to the routes on a unix socket."""

    bench: Bench
    session: aiohttp.ClientSession
    socket: Path

    async def ask(
        self, method: str, target: str, data: Any = None, *, status: int = 200
    ) -> tuple[bytes, aiohttp.ClientResponse]:
        async with self.session.request(method, f"http://x{target}", data=data) as response:
            body = await response.read()
            assert response.status == status, (response.status, body)
            return body, response

    async def json(self, method: str, target: str, data: Any = None, *, status: int = 200) -> Any:
        body, _ = await self.ask(method, target, data, status=status)
        return json.loads(body)

    async def lines(self, target: str, data: Any) -> list[dict[str, Any]]:
        body, response = await self.ask("POST", target, data)
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) for line in body.splitlines()]


@contextlib.asynccontextmanager
async def served(b: Bench, guest: Guest) -> AsyncIterator[Client]:
    nouns = (
        ImageRoutes(
            images=b.images, load=b.load_images, save=b.save_images, importer=b.import_image
        ),
        VolumeRoutes(volumes=b.volumes),
        ArchiveRoutes(guests=OneGuest(guest=guest), archive=b.archive),
    )
    runner = web.AppRunner(application(nouns))
    await runner.setup()
    socket = b.layout.run / "api.sock"
    await web.UnixSite(runner, str(socket)).start()
    connector = aiohttp.UnixConnector(path=str(socket))
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Client(bench=b, session=session, socket=socket)
    finally:
        await runner.cleanup()


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def tell(base: Path, story: Callable[[Client], Awaitable[None]]) -> None:
    """Run a story with an image ``made`` and a stopped guest ``g`` of it."""

    async def whole(b: Bench) -> None:
        (image,) = await b.load(docker_archive(tar(directory("etc"), file("etc/a", b"a"))))
        guest = Guest(
            id=GUEST, name="g", spec=GuestSpec(image="made"), image_id=image.id, created_at=1
        )
        await b.add_guest(guest)
        (b.layout.state / "guests" / GUEST).mkdir(parents=True)
        async with served(b, guest) as client:
            await story(client)

    run(base, whole)


def test_images_by_http(tmp_path: Path) -> None:
    async def story(c: Client) -> None:
        archive = docker_archive(tar(file("x")), tags=["host.example:5000/deep/name:1"])
        lines = await c.lines("/v1/images/load", pieces(archive))
        assert lines[-1] == {"loaded": "host.example:5000/deep/name:1"}
        name = "/v1/images/host.example:5000/deep/name:1"
        found = await c.json("GET", f"{name}/json")
        assert found["config"]["cmd"] == ["sh"]
        assert found["raw"]["rootfs"]["type"] == "layers"
        assert [row["size"] for row in found["layers"]] == [0]
        assert len(await c.json("GET", "/v1/images")) == 2
        assert len(await c.json("GET", "/v1/images?filter=reference=made*")) == 1
        await c.ask("POST", f"{name}/tag?target=other", status=201)
        assert await c.json("DELETE", "/v1/images/other") == [{"untagged": "other:latest"}]
        saved, response = await c.ask("GET", "/v1/images/save?name=made&format=oci")
        assert response.content_type == "application/x-tar"
        assert names_in(saved)[-1] == "oci-layout"
        done = await c.json("DELETE", f"{name}?force=1")
        assert [set(entry) for entry in done] == [{"untagged"}, {"deleted"}]
        assert (await c.json("GET", "/v1/images/made/history"))[0]["references"] == ["made:latest"]

    tell(tmp_path, story)


def test_import_by_http(tmp_path: Path) -> None:
    async def story(c: Client) -> None:
        root = tar(file("bin/x", b"x"))
        lines = await c.lines("/v1/images/import?reference=new:1&change=CMD+x&message=m", root)
        found = await c.json("GET", "/v1/images/new:1/json")
        assert lines[-1] == {"id": found["id"]}
        problem = await c.json("POST", "/v1/images/import?change=RUN+x", root, status=400)
        assert problem["code"] == "image.change"
        lines = await c.lines("/v1/images/import", b"no tar" * 200)
        assert lines[-1]["problem"]["code"] == "archive.malformed"

    tell(tmp_path, story)


def test_errors_have_their_status_or_are_the_last_line(tmp_path: Path) -> None:
    async def story(c: Client) -> None:
        problem = await c.json("POST", "/v1/images/load", b"no archive" * 100, status=400)
        assert (problem["kind"], problem["code"]) == ("invalid", "archive.malformed")
        bad = docker_archive(tar(file("../x")))
        lines = await c.lines("/v1/images/load", bad)
        assert lines[0] == {"status": "archive read"}
        assert lines[-1]["problem"]["code"] == "archive.escapes"
        for method, target, status in (
            ("GET", "/v1/images/nope/json", 404), ("DELETE", "/v1/images/nope", 404),
            ("GET", "/v1/images/save", 400), ("GET", "/v1/images/save?name=nope", 404),
            ("GET", "/v1/images/save?name=made&format=zip", 400),
            ("POST", "/v1/images/made/tag", 400), ("POST", "/v1/images/made/tag?target=A", 400),
            ("GET", "/v1/images?filter=x", 400), ("GET", "/v1/images?filter=odd=1", 400),
            ("DELETE", "/v1/images/made", 409), ("DELETE", "/v1/images/made?force=maybe", 400),
            ("GET", "/v1/volumes/nope", 404), ("GET", "/v1/volumes?filter=odd=1", 400),
            ("GET", "/v1/guests/g/archive", 400), ("GET", "/v1/guests/x/archive?path=/", 404),
            ("GET", "/v1/guests/g/archive?path=/nope", 404),
            ("PUT", "/v1/guests/g/archive?path=/nope", 404),
        ):  # fmt: skip
            problem = await c.json(method, target, status=status)
            assert problem["message"]
        problem = await c.json("DELETE", "/v1/images/made", status=409)
        assert problem["code"] == "image.in-use"

    tell(tmp_path, story)


def test_volumes_by_http(tmp_path: Path) -> None:
    async def story(c: Client) -> None:
        wish = json.dumps({"name": "v", "labels": {"a": "b"}}).encode()
        made = await c.json("POST", "/v1/volumes", wish, status=201)
        assert (made["name"], made["labels"], made["guests"]) == ("v", {"a": "b"}, [])
        assert [v["name"] for v in await c.json("GET", "/v1/volumes?filter=label=a=b")] == ["v"]
        assert await c.json("GET", "/v1/volumes?filter=dangling=false") == []
        for wrong in (b"[]", b'{"name":1}', b'{"odd":1}', b"{"):
            await c.ask("POST", "/v1/volumes", wrong, status=400)
        await c.ask("POST", "/v1/volumes", b'{"options":{"type":"nfs"}}', status=501)
        assert (await c.json("POST", "/v1/volumes/prune"))["removed"] == []
        await c.ask("DELETE", "/v1/volumes/v", status=204)
        await c.ask("DELETE", "/v1/volumes/v", status=404)
        await c.ask("DELETE", "/v1/volumes/v?force=1", status=204)

    tell(tmp_path, story)


def test_files_by_http(tmp_path: Path) -> None:
    async def story(c: Client) -> None:
        target = "/v1/guests/g/archive?path=/etc"
        _, response = await c.ask("HEAD", target + "/a")
        stat = json.loads(base64.b64decode(response.headers["Wirt-Stat"]))
        assert (stat["name"], stat["size"], stat["link_target"]) == ("a", 1, "")
        body, _ = await c.ask("GET", target)
        assert names_in(body) == ["etc", "etc/a"]
        await c.ask("PUT", target, pieces(tar(file("b", bytes(200_000)))), status=204)
        body, _ = await c.ask("GET", target + "/b")
        assert len(body) > 200_000
        clash = tar(directory("a"))
        await c.ask("PUT", target + "&no_overwrite_dir_non_dir=1", clash, status=409)
        await c.ask("HEAD", target + "/nope", status=404)

    tell(tmp_path, story)


def test_clients_that_go_away_leave_nothing(tmp_path: Path) -> None:
    archive = docker_archive(tar(file("big", bytes(600_000))), tags=["big"])

    async def story(c: Client) -> None:
        before = c.bench.on_disk()
        for target in ("POST /v1/images/load", "POST /v1/images/import?reference=big",
                       "PUT /v1/guests/g/archive?path=/etc"):  # fmt: skip
            _, writer = await asyncio.open_unix_connection(c.socket)
            head = f"{target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(archive)}\r\n\r\n"
            writer.write(head.encode() + archive[: len(archive) - 1200])
            await writer.drain()
            if "images" in target:
                await eventually(lambda: c.bench.on_disk()["uploads"] != set(), "it has begun")
            writer.close()
            await eventually(lambda: c.bench.on_disk()["uploads"] == set(), "it was swept away")
        await c.ask("GET", "/v1/images/big/json", status=404)
        after = c.bench.on_disk()
        assert after["layers"] == before["layers"]
        assert after["uploads"] == set()
        async with c.session.get("http://x/v1/images/save?name=made") as response:
            await response.content.read(10)
        assert len(await c.json("GET", "/v1/images")) == 1

    tell(tmp_path, story)
