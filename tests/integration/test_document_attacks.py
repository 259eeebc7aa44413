"""Hostile manifests, indexes and configurations (cases 15-22)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from filebench import (
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
from wirt.errors import Unsupported
from wirt.host.fitting import check_runs_here
from wirt.image import platform
from wirt.image.platform import Platform
from wirt.model.guest import Isolation

pytestmark = needs("root", "overlay")

PLAIN = tar(file("a", os.urandom(100_000)))


def test_15_content_that_is_not_what_its_name_says(tmp_path: Path, canary: Path) -> None:
    layout = OciLayout(layers=[PLAIN])
    layer = layout.manifest["layers"][0]["digest"]
    layout.blobs[layer] = layout.blobs[layer][:-1] + b"x"
    refused(tmp_path, layout.tar(), code="blob.digest")
    layout.blobs[layer] += b"more"
    refused(tmp_path, layout.tar(), code="blob.size")
    del layout.blobs[layer]
    refused(tmp_path, layout.tar(), code="archive.incomplete")


def test_16_a_layer_that_is_not_its_diff_id(tmp_path: Path, canary: Path) -> None:
    archive = docker_archive(PLAIN, config=config_json([b"another"]))
    refused(tmp_path, archive, code="layer.diff-id")


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "ABC" * 21 + "D",
        "sha256:../../x",
        "sha256:" + "a" * 63,
        "md5:" + "a" * 32,
        "",
        "x",
    ],
)
def test_17_bad_digests(tmp_path: Path, canary: Path, text: str) -> None:
    layout = OciLayout(layers=[PLAIN])
    layout.manifest["config"]["digest"] = text
    code = "invalid" if text else "image.malformed"
    refused(tmp_path, layout.tar(), code=code)
    config = config_json([PLAIN], rootfs={"type": "layers", "diff_ids": [text]})
    refused(tmp_path, docker_archive(PLAIN, config=config), code="invalid")


def _forge_manifest(**changes: Any) -> bytes:
    layout = OciLayout(layers=[PLAIN])
    layout.manifest |= changes
    return layout.tar()


def test_18_documents_that_two_readers_take_differently(tmp_path: Path, canary: Path) -> None:
    refused(tmp_path, _forge_manifest(manifests=[]), code="image.malformed", match="manifests")
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    refused(tmp_path, _forge_manifest(mediaType=docker), code="image.malformed", match="announced")
    refused(tmp_path, _forge_manifest(schemaVersion=1), code="image.malformed")
    layout = OciLayout(layers=[PLAIN])
    layout.index = {"layers": []}
    refused(tmp_path, layout.tar(), code="image.malformed", match="layers")
    layout.index = {"manifests": [{"digest": digest(b""), "size": 0}]}
    refused(tmp_path, layout.tar(), code="image.malformed", match="mediaType")


def _nested(depth: int) -> bytes:
    layout = OciLayout(layers=[PLAIN])
    inner = describe(json.dumps(layout.manifest).encode(), layout.manifest["mediaType"])
    layout.blobs[inner["digest"]] = json.dumps(layout.manifest).encode()
    for _ in range(depth):
        index = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
        layout.blobs[digest(index)] = index
        inner = describe(index, "application/vnd.oci.image.index.v1+json")
    layout.index = {"manifests": [inner]}
    return layout.tar()


def test_19_indexes_without_end(tmp_path: Path, canary: Path) -> None:
    refused(tmp_path, _nested(50), code="image.malformed", match="nested deeper")
    layout = OciLayout(layers=[PLAIN])
    layout.index = {"manifests": [describe(b"x", "text/plain")] * 20_000}
    refused(tmp_path, layout.tar(), code="image.malformed", match="20000 entries")

    async def story(b: Bench) -> None:
        assert len(await b.load(_nested(5))) == 1

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a":1,"a":2}', "a key occurs twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":' + b"9" * 10_000 + b"}", "configuration"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "no JSON"),
        (b" " * (5 * 1024 * 1024), "5242880 bytes"),
        (b"{}", "rootfs"),
    ],
)
def test_20_bad_json(tmp_path: Path, canary: Path, document: bytes, match: str) -> None:
    refused(tmp_path, docker_archive(PLAIN, config=document), code="image.malformed", match=match)


def test_21_layer_counts(tmp_path: Path, canary: Path) -> None:
    config = config_json([PLAIN, PLAIN])
    refused(tmp_path, docker_archive(PLAIN, config=config), code="image.layer-count")
    many = OciLayout(layers=[PLAIN])
    many.manifest["layers"] *= 2_000
    refused(tmp_path, many.tar(), code="image.malformed", match="2000 layers")


def test_21_many_layers_work(tmp_path: Path, canary: Path) -> None:
    layers = [tar(file(f"{n}")) for n in range(70)]

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(*layers))
        await b.images.disk(image)
        assert len(b.on_disk()["disks"]) == 1

    run(tmp_path, story)


def test_22_foreign_platforms_warn_and_do_not_run(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Platform(os="linux", architecture="amd64")
    monkeypatch.setattr(platform, "host", lambda: machine)
    config = config_json([PLAIN], architecture="s390x")

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(PLAIN, config=config))
        assert any("linux/s390x" in str(line.get("status")) for line in b.told)
        with pytest.raises(Unsupported, match=r"linux/s390x.*linux/amd64"):
            check_runs_here(image, Isolation.MICROVM)

    run(tmp_path, story)
