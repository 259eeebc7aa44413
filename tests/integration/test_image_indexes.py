"""Indexes, artifacts and what speaks about images: kept whole, given back as they came."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from filebench import (
    OCI_INDEX,
    OCI_MANIFEST,
    Bench,
    OciLayout,
    config_json,
    describe,
    digest,
    docker_archive,
    file,
    run,
    tar,
)  # fmt: skip
from hostile import refused
from needs import needs
from wirt.errors import NotFound

pytestmark = needs("root", "overlay")

MINE, FOREIGN = tar(file("a", b"mine")), tar(file("a", b"foreign"))
NAMED = {"io.containerd.image.name": "docker.io/library/multi:1"}
NOTE = b"a note"


def document(blobs: dict[str, bytes], node: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Put a document among the blobs; its descriptor."""
    data = json.dumps(node).encode()
    blobs[digest(data)] = data
    return describe(data, node.get("mediaType", OCI_INDEX), **more)


def artifact(blobs: dict[str, bytes], subject: dict[str, Any], note: bytes = NOTE) -> Any:
    """Something that speaks about another document."""
    blobs[digest(b"{}")], blobs[digest(note)] = b"{}", note
    plain = {k: subject[k] for k in ("mediaType", "digest", "size")}
    return document(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/x.note",
            "config": describe(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [describe(note, "text/plain")],
            "subject": plain,
            "annotations": {"by": "me"},
        },
    )


def members(archive: bytes) -> dict[str, bytes]:
    """The files of an archive by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {m.name: opened.extractfile(m) for m in opened.getmembers() if m.isfile()}
        return {name: found.read() for name, found in files.items() if found is not None}


def multi(*, architectures: tuple[str, ...] = ("s390x", "amd64"), absent: str = "") -> OciLayout:
    """A layout of one index; the platform ``absent`` is only named."""
    whole = OciLayout(layers=[MINE])
    whole.blobs.clear()
    entries = []
    for architecture in architectures:
        layers = [MINE if architecture == "amd64" else FOREIGN]
        one = OciLayout(layers=layers, config=config_json(layers, architecture=architecture))
        place = {"os": "linux", "architecture": architecture}
        blobs = {} if architecture == absent else whole.blobs
        blobs |= one.blobs
        entries.append(document(blobs, one.manifest, platform=place))
    index = {"schemaVersion": 2, "manifests": entries, "annotations": {"made": "by hand"}}
    whole.index = {"manifests": [document(whole.blobs, index, annotations=NAMED)]}
    return whole


def target(layout: OciLayout) -> str:
    return str(layout.index["manifests"][0]["digest"])


def test_an_index_is_kept_whole_and_given_back(tmp_path: Path) -> None:
    layout = multi()

    async def story(b: Bench) -> None:
        (image,) = await b.load(layout.tar())
        assert image.architecture == "amd64"
        assert image.targets == {"docker.io/library/multi:1": target(layout)}
        assert image.digests == (f"multi@{target(layout)}",)
        assert await b.images.find(f"multi@{target(layout)}") == image
        assert {name[7:] for name in layout.blobs} == b.on_disk()["blobs"]
        row = await b.manifests.get(target(layout))
        assert row is not None
        assert [part.platform for part in row.parts] == ["linux/s390x", "linux/amd64"]
        assert row.annotations == {"made": "by hand"}
        for form in ("oci", "docker"):
            saved = members(await b.save("multi:1", form=form))
            assert saved[f"blobs/sha256/{target(layout)[7:]}"] == layout.blobs[target(layout)]
            assert {f"blobs/{n.replace(':', '/')}" for n in layout.blobs} <= saved.keys()
            (entry,) = json.loads(saved["index.json"])["manifests"]
            assert (entry["digest"], entry["mediaType"]) == (target(layout), OCI_INDEX)
        again = await b.save("multi:1")
        await b.images.remove("multi:1")
        assert b.on_disk()["blobs"] == set()
        assert await b.manifests.all() == []
        assert await b.load(again) == (image,)

    run(tmp_path, story)


def test_a_sparse_index_keeps_what_there_is(tmp_path: Path) -> None:
    layout = multi(absent="s390x")

    async def story(b: Bench) -> None:
        (image,) = await b.load(layout.tar())
        saved = members(await b.save("multi:1", form="oci"))
        assert saved[f"blobs/sha256/{target(layout)[7:]}"] == layout.blobs[target(layout)]
        (tmp_path / "again").write_bytes(await b.save("multi:1"))
        assert await b.load(tmp_path / "again") == (image,)

    run(tmp_path, story)


def test_an_index_without_an_image_for_this_host(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(NotFound, match="has nothing for linux/amd64") as failure:
            await b.load(multi(architectures=("s390x", "ppc64le")).tar())
        assert failure.value.hint == "it offers: linux/ppc64le, linux/s390x"
        assert all(not names for names in b.on_disk().values())

    run(tmp_path, story)


def test_what_speaks_about_an_image_comes_and_goes_with_it(tmp_path: Path) -> None:
    layout = multi()
    index = layout.index["manifests"][0]
    note = artifact(layout.blobs, index)
    about_note = artifact(layout.blobs, note, b"a note about a note")
    layout.index["manifests"] += [about_note, note]

    async def story(b: Bench) -> None:
        (image,) = await b.load(layout.tar())
        (found,) = await b.manifests.of_subject(target(layout))
        assert (found.digest, found.artifact_type) == (note["digest"], "application/x.note")
        assert found.annotations == {"by": "me"}
        assert len(await b.manifests.of_subject(note["digest"])) == 1
        assert await b.images.sweep_blobs() == 0
        await b.images.tag("multi:1", "kept:1")
        await b.images.remove("multi:1")
        assert digest(NOTE)[7:] in b.on_disk()["blobs"]
        assert await b.images.find("kept:1@" + target(layout))
        await b.images.remove("kept:1")
        assert b.on_disk()["blobs"] == set()
        assert await b.manifests.all() == []
        assert image.id

    run(tmp_path, story)


def test_an_artifact_alone_is_no_image(tmp_path: Path, canary: Path) -> None:
    layout = multi()
    layout.index["manifests"] = [artifact(layout.blobs, layout.index["manifests"][0])]
    refused(tmp_path, layout.tar(), code="image.media-type", match="no image to run")


def test_a_name_that_leaves_an_index_lets_the_other_platforms_go(tmp_path: Path) -> None:
    layout = multi()

    async def story(b: Bench) -> None:
        (image,) = await b.load(layout.tar())
        await b.images.tag(image.id, "plain:1")  # an id means the image itself
        plain = (await b.images.find("plain:1")).targets["docker.io/library/plain:1"]
        assert plain == image.manifest
        await b.images.remove("multi:1")
        left = await b.manifests.all()
        assert [row.digest for row in left] == [image.manifest]
        assert target(layout)[7:] not in b.on_disk()["blobs"]
        assert len(b.on_disk()["blobs"]) == 3
        with pytest.raises(NotFound):
            await b.images.find(f"multi@{target(layout)}")

    run(tmp_path, story)


def test_loading_another_image_under_the_name_lets_the_old_index_go(tmp_path: Path) -> None:
    layout = multi()

    async def story(b: Bench) -> None:
        await b.load(layout.tar())
        await b.load(docker_archive(tar(file("new")), tags=["multi:1"]))
        assert target(layout)[7:] not in b.on_disk()["blobs"]
        assert {row.artifact_type for row in await b.manifests.all()} == {
            "application/vnd.oci.image.config.v1+json"
        }
        assert len(await b.images.all()) == 2, "the old image is there without a name"

    run(tmp_path, story)


def test_a_document_announced_as_two_types(tmp_path: Path, canary: Path) -> None:
    layout = OciLayout(layers=[MINE])
    del layout.manifest["mediaType"]
    data = json.dumps(layout.manifest).encode()
    layout.blobs[digest(data)] = data
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    both = [describe(data, OCI_MANIFEST), describe(data, docker)]
    index = document(layout.blobs, {"schemaVersion": 2, "manifests": both}, annotations=NAMED)
    layout.index = {"manifests": [index]}
    refused(tmp_path, layout.tar(), code="image.malformed", match="two different types")
