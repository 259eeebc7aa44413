"""The OCI distribution specification, walked as its conformance suite does: an empty repository,
then each kind of document pushed, listed, read, referred to, deleted. Blobs have a file of their
own.

Every check counts for one of the four categories; the counts are printed with ``pytest -s``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from registrychecks import (
    BLOBS,
    DISCOVERY,
    MANAGEMENT,
    MANIFESTS,
    OTHER,
    PULL,
    PUSH,
    REPOSITORY,
    Checks,
    stream,
    walk,
)
from registrylab import EMPTY, EMPTY_TYPE, Client, descriptor, digest_of, image, index
from wirt.image.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST


def test_an_empty_registry(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        for path in ("/v2/", "/v2"):
            checks.status(PULL, await ask("GET", path), 200)
        nothing = digest_of(b"nothing")
        for verb in ("GET", "HEAD"):
            checks.status(PULL, await ask(verb, f"{MANIFESTS}/latest"), 404)
            checks.status(PULL, await ask(verb, f"{MANIFESTS}/{nothing}"), 404)
            checks.status(PULL, await ask(verb, f"{MANIFESTS}/.INVALID_NAME"), 404)
            checks.status(PULL, await ask(verb, f"{MANIFESTS}/sha256:baddigeststring"), 400)
            checks.status(PULL, await ask(verb, f"{BLOBS}/{nothing}"), 404)
        checks.code(DISCOVERY, await ask("GET", f"/v2/{REPOSITORY}/tags/list"), 404, "NAME_UNKNOWN")
        found = checks.status(
            DISCOVERY, await ask("GET", f"/v2/{REPOSITORY}/referrers/{nothing}"), 200
        )
        checks.same(DISCOVERY, found.json["manifests"], [])
        checks.same(DISCOVERY, found.headers["Content-Type"], OCI_INDEX)
        bad = await ask("GET", f"/v2/{REPOSITORY}/referrers/sha256:x")
        checks.code(DISCOVERY, bad, 400, "DIGEST_INVALID")
        for reference in ("latest", nothing):
            gone = await ask("DELETE", f"{MANIFESTS}/{reference}")
            checks.code(MANAGEMENT, gone, 404, "MANIFEST_UNKNOWN")
        checks.code(MANAGEMENT, await ask("DELETE", f"{BLOBS}/{nothing}"), 404, "BLOB_UNKNOWN")

    assert walk(tmp_path, story).total() == 25


@dataclass(frozen=True)
class Document:
    """A document of a data set, with the blobs that it needs."""

    data: bytes
    media_type: str = OCI_MANIFEST
    blobs: Sequence[bytes] = ()
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    algorithm: str = "sha256"


CONFIG = b'{"architecture":"amd64","os":"linux"}'
IMAGE = Document(image(CONFIG, [b"layer"]), blobs=(CONFIG, b"layer"))
ARM = Document(image(CONFIG, [b"arm"]), blobs=(CONFIG, b"arm"))
INDEX = Document(index(IMAGE.data, ARM.data), OCI_INDEX)
SUBJECT = descriptor(IMAGE.data, OCI_MANIFEST)
ABSENT = descriptor(b"absent", OCI_MANIFEST)


def artifact(number: int, **more: Any) -> Document:
    """An artifact about the image."""
    notes = {"org.example.n": str(number)}
    kind = f"application/vnd.example.{number % 2}"
    data = image(EMPTY, [EMPTY], EMPTY_TYPE, artifactType=kind, annotations=notes, **more)
    subject = more.get("subject", {}).get("digest", "")
    return Document(data, OCI_MANIFEST, (EMPTY,), subject, kind, notes)


EXTERNAL = {
    "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "digest": digest_of(b"elsewhere"), "size": 9, "urls": ["https://example.invalid/layer"],
}  # fmt: skip
SETS: dict[str, tuple[Document, ...]] = {
    "image": (IMAGE,),
    "index": (IMAGE, ARM, INDEX),
    "nested index": (IMAGE, ARM, INDEX, Document(index(INDEX.data), OCI_INDEX)),
    "artifact": (artifact(1),),
    "subject": (IMAGE, artifact(2, subject=SUBJECT)),
    "subject missing": (artifact(3, subject=ABSENT),),
    "artifact list": (artifact(1), artifact(2), Document(
        index(artifact(1).data, artifact(2).data, artifactType="application/x"), OCI_INDEX,
        artifact_type="application/x",
    )),
    "subject list": (IMAGE, *(artifact(n, subject=SUBJECT) for n in range(4, 8)), Document(
        index(subject=SUBJECT, annotations={"a": "b"}), OCI_INDEX,
        subject=SUBJECT["digest"], annotations={"a": "b"},
    )),
    "data field": (Document(
        image(EMPTY, [], EMPTY_TYPE, config=descriptor(EMPTY, EMPTY_TYPE, data="e30=")),
        blobs=(EMPTY,),
    ),),
    "non-distributable": (Document(image(CONFIG, layers=[EXTERNAL]), blobs=(CONFIG,)),),
    "custom fields": (Document(
        image(CONFIG, [b"layer"], **{"org.example": {"x": [1, None, 1.5]}}),
        blobs=(CONFIG, b"layer"),
    ),),
    "no layers": (Document(image(CONFIG), blobs=(CONFIG,)),),
    "empty blob": (Document(image(CONFIG, [b""]), blobs=(CONFIG, b"")),),
    "sha512": (Document(
        image(CONFIG, config=descriptor(CONFIG, OCI_CONFIG, algorithm="sha512"),
              layers=[descriptor(b"layer", OCI_LAYER, algorithm="sha512")]),
        blobs=(CONFIG, b"layer"), algorithm="sha512",
    ),),
    "sparse": (IMAGE, INDEX),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_documents(tmp_path: Path, name: str) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        documents = SETS[name]
        for number, one in enumerate(documents):
            await push(ask, checks, one, f"tag{number}")
        wanted = [f"tag{number}" for number in range(len(documents))]
        found = checks.status(DISCOVERY, await ask("GET", f"/v2/{REPOSITORY}/tags/list"), 200)
        checks.same(DISCOVERY, found.json, {"name": REPOSITORY, "tags": wanted})
        for number, one in enumerate(documents):
            for reference in (f"tag{number}", digest_of(one.data, one.algorithm)):
                await read(ask, checks, one, reference)
        for subject in {one.subject for one in documents if one.subject}:
            await refer(ask, checks, documents, subject)
        for number, one in reversed(list(enumerate(documents))):
            await delete(ask, checks, one, f"tag{number}")
        blobs = {digest_of(b, one.algorithm) for one in documents for b in one.blobs}
        for digest in blobs:
            checks.status(MANAGEMENT, await ask("DELETE", f"{BLOBS}/{digest}"), 202)
            checks.status(MANAGEMENT, await ask("GET", f"{BLOBS}/{digest}"), 404)

    walk(tmp_path, story)


async def push(ask: Client, checks: Checks, one: Document, tag: str) -> None:
    """With a tag; or under its digest with the tag as a parameter."""
    if one.blobs:
        early = await ask.manifest(OTHER, tag, one.data, one.media_type)
        checks.code(PUSH, early, 404, "MANIFEST_BLOB_UNKNOWN")
    for data in one.blobs:
        await ask.blob(REPOSITORY, data, one.algorithm)
    digest = digest_of(one.data, one.algorithm)
    reference = tag if one.algorithm == "sha256" else f"{digest}?tag={tag}"
    done = await ask.manifest(REPOSITORY, reference, one.data, one.media_type)
    checks.status(PUSH, done, 201)
    checks.same(PUSH, done.headers["Docker-Content-Digest"], digest)
    checks.same(PUSH, done.place, f"{MANIFESTS}/{digest}")
    checks.same(PUSH, done.headers.get("OCI-Subject", ""), one.subject)


async def read(ask: Client, checks: Checks, one: Document, reference: str) -> None:
    """The very bytes and the type that were pushed."""
    head = checks.status(PULL, await ask("HEAD", f"{MANIFESTS}/{reference}"), 200)
    found = checks.status(PULL, await ask("GET", f"{MANIFESTS}/{reference}"), 200)
    checks.same(PULL, found.body, one.data)
    for answer in (head, found):
        checks.same(PULL, answer.headers["Content-Type"], one.media_type)
        checks.same(PULL, answer.headers["Content-Length"], str(len(one.data)))
        digest = answer.headers["Docker-Content-Digest"]
        checks.same(PULL, digest, digest_of(one.data, one.algorithm))


async def refer(ask: Client, checks: Checks, every: Sequence[Document], subject: str) -> None:
    """The list of referrers, whole and filtered."""
    path = f"/v2/{REPOSITORY}/referrers/{subject}"
    about = [one for one in every if one.subject == subject]
    found = checks.status(DISCOVERY, await ask("GET", path), 200)
    checks.same(DISCOVERY, found.headers["Content-Type"], OCI_INDEX)
    checks.same(DISCOVERY, "OCI-Filters-Applied" in found.headers, False)
    wanted = {}
    for one in about:
        node = {**descriptor(one.data, one.media_type), "artifactType": one.artifact_type,
                "annotations": one.annotations}  # fmt: skip
        wanted[node["digest"]] = {key: value for key, value in node.items() if value}
    checks.same(DISCOVERY, {n["digest"]: n for n in found.json["manifests"]}, wanted)
    for kind in {one.artifact_type for one in about if one.artifact_type}:
        found = await ask("GET", f"{path}?artifactType={kind}")
        checks.same(DISCOVERY, found.headers["OCI-Filters-Applied"], "artifactType")
        digests = {node["digest"] for node in found.json["manifests"]}
        same = {digest_of(one.data) for one in about if one.artifact_type == kind}
        checks.same(DISCOVERY, digests, same)


async def delete(ask: Client, checks: Checks, one: Document, tag: str) -> None:
    """The tag alone, then the manifest; what is about it goes out of the lists."""
    digest = digest_of(one.data, one.algorithm)
    if one.blobs:
        used = await ask("DELETE", f"{BLOBS}/{digest_of(one.blobs[0], one.algorithm)}")
        checks.status(MANAGEMENT, used, 405)
    checks.status(MANAGEMENT, await ask("DELETE", f"{MANIFESTS}/{tag}"), 202)
    checks.status(MANAGEMENT, await ask("GET", f"{MANIFESTS}/{tag}"), 404)
    checks.status(MANAGEMENT, await ask("HEAD", f"{MANIFESTS}/{digest}"), 200)
    again = await ask.manifest(REPOSITORY, f"{digest}?tag={tag}", one.data, one.media_type)
    checks.same(PUSH, again.headers["OCI-Tag"], tag)
    checks.status(MANAGEMENT, await ask("DELETE", f"{MANIFESTS}/{digest}"), 202)
    for reference in (tag, digest):
        gone = await ask("GET", f"{MANIFESTS}/{reference}")
        checks.code(MANAGEMENT, gone, 404, "MANIFEST_UNKNOWN")
    checks.status(MANAGEMENT, await ask("DELETE", f"{MANIFESTS}/{digest}"), 404)
    if one.subject:
        found = await ask("GET", f"/v2/{REPOSITORY}/referrers/{one.subject}")
        left = {node["digest"] for node in found.json["manifests"]}
        checks.same(MANAGEMENT, digest in left, False)


def test_an_old_artifact_is_listed_by_its_configuration(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        await ask.blob(REPOSITORY, EMPTY)
        data = image(EMPTY, [], "application/vnd.old", subject=ABSENT)
        checks.status(PUSH, await ask.manifest(REPOSITORY, "t", data), 201)
        found = await ask("GET", f"/v2/{REPOSITORY}/referrers/{ABSENT['digest']}")
        checks.same(DISCOVERY, found.json["manifests"][0]["artifactType"], "application/vnd.old")

    walk(tmp_path, story)


def test_tags_are_listed_in_pages(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        tags = sorted(["v10", "v9", "V1", "_x", "a", "latest", *(f"t{n:02}" for n in range(9))])
        data = await ask.image(REPOSITORY, "a", b"layer")
        digest = digest_of(data)
        query = "&".join(f"tag={tag}" for tag in reversed(tags))
        done = await ask.manifest(REPOSITORY, f"{digest}?{query}", data)
        checks.status(PUSH, done, 201)
        checks.same(PUSH, sorted(done.headers.getall("OCI-Tag")), tags)
        path = f"/v2/{REPOSITORY}/tags/list"
        checks.same(DISCOVERY, (await ask("GET", path)).json["tags"], tags)
        seen: list[str] = []
        link = f"{path}?n=4"
        while link:
            page = checks.status(DISCOVERY, await ask("GET", link), 200)
            seen += page.json["tags"]
            target, _, rest = page.headers.get("Link", "").partition(">")
            checks.same(DISCOVERY, rest in {"", '; rel="next"'}, True)
            link = target[1:]
        checks.same(DISCOVERY, seen, tags)
        none = await ask("GET", f"{path}?n=0")
        checks.same(DISCOVERY, (none.json["tags"], "Link" in none.headers), ([], False))
        after = await ask("GET", f"{path}?last=t05")
        checks.same(DISCOVERY, after.json["tags"], [t for t in tags if t > "t05"])
        exact = await ask("GET", f"{path}?n={len(tags)}")
        checks.same(DISCOVERY, "Link" in exact.headers, False)

    walk(tmp_path, story)


def test_bad_manifests(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        good = await ask.image(REPOSITORY, "good", b"layer")
        node = json.loads(good)
        both = json.dumps({**node, "manifests": []}).encode()
        cases: list[tuple[bytes, str]] = [
            (both, OCI_MANIFEST), (both, OCI_INDEX), (good, OCI_INDEX), (b"{", OCI_MANIFEST),
            (b"[]", OCI_MANIFEST), (good, "text/plain"), (b"[" * 100_000, OCI_MANIFEST),
            (b'{"schemaVersion":2,"schemaVersion":2}', OCI_MANIFEST),
            (json.dumps({**node, "schemaVersion": 1}).encode(), OCI_MANIFEST),
            (json.dumps({**node, "x": float("nan")}).encode(), OCI_MANIFEST),
            (index(*([good] * 3), x=[{}]).replace(b"sha256:", b"md5:"), OCI_INDEX),
        ]  # fmt: skip
        for data, media_type in cases:
            bad = await ask.manifest(REPOSITORY, "bad", data, media_type)
            checks.code(PUSH, bad, 400, "MANIFEST_INVALID")
        wrong = await ask.manifest(REPOSITORY, digest_of(b"other"), good)
        checks.code(PUSH, wrong, 400, "DIGEST_INVALID")
        bad = await ask.manifest(REPOSITORY, "sha256:baddigeststring", good)
        checks.code(PUSH, bad, 400, "DIGEST_INVALID")
        for tag in (".x", "-x", "x" * 129, "a%2fb", "a b"):
            checks.code(PUSH, await ask.manifest(REPOSITORY, tag, good), 400, "MANIFEST_INVALID")
        many = "&".join(f"tag=t{n}" for n in range(101))
        late = await ask.manifest(REPOSITORY, f"{digest_of(good)}?{many}", good)
        checks.status(PUSH, late, 414)
        checks.same(DISCOVERY, (await ask("GET", f"/v2/{REPOSITORY}/tags/list")).json["tags"],
                    ["good"])  # fmt: skip

    walk(tmp_path, story)


def test_large_manifests(tmp_path: Path) -> None:
    async def story(ask: Client, checks: Checks) -> None:
        await ask.blob(REPOSITORY, CONFIG)
        for size, wanted in ((4_000_000, 201), (4 * 1024**2, 201), (4 * 1024**2 + 1, 413)):
            padding = size - len(image(CONFIG, annotations={"a": ""}))
            data = image(CONFIG, annotations={"a": "x" * padding})
            done = checks.status(PUSH, await ask.manifest(REPOSITORY, "large", data), wanted)
            if done.status == 201:
                checks.same(PULL, (await ask("GET", f"{MANIFESTS}/large")).body, data)
        endless = await ask.manifest(REPOSITORY, "large", stream(b"x" * 5_000_000))
        checks.status(PUSH, endless, 413)

    walk(tmp_path, story)
