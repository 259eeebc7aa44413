"""The registry beside Debian's docker-registry: the same questions, and where answers differ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from certificates import self_signed, signed
from needs import needs
from registrylab import Answer, Client, Lab, digest_of, image, index, lab
from wirt.image.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

CONFIG, LAYER, DATA = b'{"os":"linux"}', b"layer", bytes(range(256)) * 20
GOOD = image(CONFIG, [LAYER])
OTHER = image(CONFIG, [DATA])
NAME = "same/app"
BLOBS, MANIFESTS = f"/v2/{NAME}/blobs", f"/v2/{NAME}/manifests"
COMPARED = (
    "Content-Type",
    "Docker-Content-Digest",
    "Content-Range",
    "Docker-Distribution-Api-Version",
)


@dataclass(frozen=True)
class Same:
    """What must be the same of two answers."""

    status: int
    code: str
    headers: tuple[str, ...]
    body: bytes


def essence(answer: Answer, verb: str) -> Same:
    """The essence of an answer; an error's words are everybody's own."""
    failed = answer.status >= 400
    try:
        code = answer.code if failed and answer.body else ""
    except (ValueError, KeyError):
        code = ""
    headers = tuple(answer.headers.get(name, "").partition(";")[0] for name in COMPARED)
    if verb in {"POST", "PATCH", "PUT", "DELETE"}:  # without a body the type says nothing
        headers = headers[1:]
    body = answer.body
    if answer.headers.get("Content-Type", "").startswith("application/json") and not failed:
        node = answer.json
        tags = {"tags": sorted(node["tags"])} if "tags" in node else {}
        body = json.dumps({**node, **tags}).encode()
    return Same(answer.status, code, () if failed else headers, b"" if failed else body)


@contextlib.asynccontextmanager
async def both(tmp_path: Path) -> AsyncIterator[tuple[Lab, Client, Client]]:
    """Ours and Debian's, both empty."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(tmp_path / "theirs")},
            "delete": {"enabled": True},
        },
        "http": {"addr": address},
    }
    (tmp_path / "config.yml").write_text(json.dumps(settings))
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        ["docker-registry", "serve", str(tmp_path / "config.yml")], stderr=subprocess.DEVNULL
    )
    try:
        async with lab(tmp_path / "ours") as own:
            theirs = Client(own.http, f"http://{address}")
            for _ in range(200):
                with contextlib.suppress(OSError):
                    if (await theirs("GET", "/v2/")).status == 200:
                        break
                await asyncio.sleep(0.05)
            yield own, await own.serve(), theirs
    finally:
        process.kill()
        process.wait()


async def conversation(ask: Client) -> dict[str, Same]:
    """One long talk; each answer by what was asked."""
    heard: dict[str, Same] = {}

    async def say(what: str, verb: str, path: str, body: bytes | None = None, **h: str) -> Answer:
        answer = await ask(verb, path, body, **h)
        heard[what] = essence(answer, verb)
        return answer

    async def put(what: str, reference: str, data: bytes, kind: str = OCI_MANIFEST) -> None:
        await say(what, "PUT", f"{MANIFESTS}/{reference}", data, Content_Type=kind)

    async def begin() -> str:
        place = (await ask("POST", f"{BLOBS}/uploads/")).place
        return place[place.index("/v2/") :]

    def finish(place: str, digest: str) -> str:
        return f"{place}{'&' if '?' in place else '?'}digest={digest}"

    await say("base", "GET", "/v2/")
    await say("tags of nothing", "GET", f"/v2/{NAME}/tags/list")
    await say("blob of nothing", "GET", f"{BLOBS}/{digest_of(b'x')}")
    await say("manifest of nothing", "GET", f"{MANIFESTS}/latest")
    await say("catalogue of nothing", "GET", "/v2/_catalog")
    for data in (CONFIG, LAYER, DATA):
        await say(f"push {len(data)}", "PUT", finish(await begin(), digest_of(data)), data)
        await say(f"head {len(data)}", "HEAD", f"{BLOBS}/{digest_of(data)}")
    place = await begin()
    patched = await say("patch", "PATCH", place, DATA, Content_Type="application/octet-stream")
    place = patched.place[patched.place.index("/v2/") :]
    await say("status", "GET", place)
    await say("finish", "PUT", finish(place, digest_of(DATA)))
    await say("wrong digest", "PUT", finish(await begin(), digest_of(b"other")), b"data")
    await say("malformed digest", "PUT", finish(await begin(), "sha256:x"), b"data")
    place = await begin()
    await say("cancel", "DELETE", place)
    await say("cancelled", "GET", place)
    other = f"/v2/other/app/blobs/uploads/?mount={digest_of(LAYER)}&from={NAME}"
    await say("mount", "POST", other)
    await say("mount of nothing", "POST", other.replace(digest_of(LAYER), digest_of(b"no")))
    for wish in ("0-9", "100-", "-100", "5000-9999"):  # its 416 lies about its length
        await say(f"range {wish}", "GET", f"{BLOBS}/{digest_of(DATA)}", Range=f"bytes={wish}")
    await put("manifest by tag", "v1", GOOD)
    await put("manifest by digest", digest_of(OTHER), OTHER)
    await put("manifest without its blobs", "v2", image(b"{}", [LAYER]))
    await put("manifest that is none", "v2", b"{")
    await put("manifest under another digest", digest_of(b"other"), GOOD)
    await put("two in one", "v2", json.dumps({**json.loads(GOOD), "manifests": []}).encode())
    await put("index", "all", index(GOOD, OTHER), OCI_INDEX)
    await put("index of what is absent", "few", index(image(b"absent")), OCI_INDEX)
    docker = GOOD.replace(OCI_MANIFEST.encode(), DOCKER_MANIFEST.encode())
    await put("docker's", "docker", docker, DOCKER_MANIFEST)
    for verb in ("GET", "HEAD"):
        for reference in ("v1", digest_of(GOOD), "all", "docker", "none", digest_of(b"none")):
            await say(
                f"{verb} {reference}", verb, f"{MANIFESTS}/{reference}",
                Accept=", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST)),
            )  # fmt: skip
    await say("tags", "GET", f"/v2/{NAME}/tags/list")
    await say("two tags", "GET", f"/v2/{NAME}/tags/list?n=2")
    await say("catalogue", "GET", "/v2/_catalog")
    await say("one of the catalogue", "GET", "/v2/_catalog?n=1")
    await say("no number", "GET", "/v2/_catalog?n=x")
    await say("negative number", "GET", "/v2/_catalog?n=-1")
    await say("delete a manifest", "DELETE", f"{MANIFESTS}/{digest_of(GOOD)}")
    await say("deleted", "GET", f"{MANIFESTS}/{digest_of(GOOD)}")
    await say("its tag", "GET", f"{MANIFESTS}/v1", Accept=OCI_MANIFEST)
    await say("delete it again", "DELETE", f"{MANIFESTS}/{digest_of(GOOD)}")
    await say("delete a blob of nobody", "DELETE", f"{BLOBS}/{digest_of(b'nobody')}")
    await say("delete a used blob", "DELETE", f"{BLOBS}/{digest_of(DATA)}")
    await say("upper case", "GET", "/v2/UPPER/tags/list")
    await say("method", "PUT", f"/v2/{NAME}/tags/list")
    return heard


DIFFER = {
    "delete a used blob": "a manifest that is there can be pulled: delete it first",
    "index of what is absent": "a sparse index is allowed (distribution 1.1)",
    "manifest without its blobs": "404, as the specification lists it for this request",
    "method": "every error has a body with a code",
    "negative number": "nonsense is told, not ignored",
    "no number": "nonsense is told, not ignored",
    "two tags": "it does not know pages of tags, and has them in no order",
    "tags": "it has not taken the sparse index in",
    "upper case": "the name is told to be invalid",
}
"""Where the answers differ, and why ours is as it is."""


@needs("docker-registry")
def test_both_registries_say_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path) as (_, ours, theirs):
            mine, other = await conversation(ours), await conversation(theirs)
        assert len(mine) >= 55
        differ = {what for what in mine if mine[what] != other[what]}
        told = {what: (mine[what], other[what]) for what in differ - set(DIFFER)}
        assert told == {}
        assert differ == set(DIFFER)

    asyncio.run(story())


@needs("openssl")
def test_blobs_come_whole_over_tls(tmp_path: Path) -> None:
    """There is no sendfile there, and so another way that the bytes go."""
    authority = self_signed(tmp_path, "authority")
    pair = signed(tmp_path, "server", authority)
    data = bytes(range(256)) * 20_000

    async def story() -> None:
        async with lab(tmp_path / "ours") as own:
            ask = await own.serve(
                certificate=pair.cert.read_text(), key=pair.key.read_text(), anonymous="all"
            )
            trusted = ssl.create_default_context(cafile=str(authority.cert))
            digest = digest_of(data)
            base = f"{ask.base}/v2/a/blobs"
            async with own.http.post(
                f"{base}/uploads/?digest={digest}", data=_pieces(data), ssl=trusted
            ) as done:
                assert done.status == 201
            for wish, wanted in (("bytes=0-", data), ("bytes=1000-4000000", data[1000:4000001])):
                headers = {"Range": wish}
                async with own.http.get(f"{base}/{digest}", headers=headers, ssl=trusted) as found:
                    assert await found.read() == wanted

    asyncio.run(story())


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]
