"""Images in and out: loading, importing, saving, naming, removing, as users do it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filebench import (
    Bench,
    OciLayout,
    config_json,
    digest,
    directory,
    docker_archive,
    file,
    hard_link,
    run,
    tar,
)  # fmt: skip
from needs import needs
from wirt.errors import Conflict, Exhausted, Invalid, NotFound
from wirt.host.import_image import ImportWish
from wirt.image import space

pytestmark = needs("root", "overlay")


def test_an_archive_becomes_an_image_with_layers_and_names(tmp_path: Path) -> None:
    base = tar(directory("etc"), file("etc/a", b"a"), file("etc/b", b"b"))
    top = tar(file("etc/.wh.a"), hard_link("etc/c", "etc/b"), file("new", b"n"))

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(base, top, tags=["one:1", "two"]))
        assert image.references == ("docker.io/library/one:1", "docker.io/library/two:latest")
        assert image.diff_ids == (digest(base), digest(top))
        assert (b.diff(image, 0) / "etc/a").read_bytes() == b"a"
        assert (b.diff(image) / "etc/a").is_char_device()
        assert (b.diff(image) / "etc/c").stat().st_nlink == 2
        for name in (
            "one:1",
            "two",
            "two:latest",
            image.id,
            image.id[7:15],
            "docker.io/library/two",
        ):
            assert (await b.images.find(name)).id == image.id
        assert {"loaded": "one:1"} in b.told

    run(tmp_path, story)


def test_loading_twice_changes_nothing(tmp_path: Path) -> None:
    archive = docker_archive(tar(file("a", b"a")))

    async def story(b: Bench) -> None:
        first = await b.load(archive)
        before = b.on_disk()
        assert await b.load(gzip.compress(archive)) == first
        assert b.on_disk() == before
        assert before["uploads"] == set()

    run(tmp_path, story)


def test_import_save_load_keep_everything(tmp_path: Path) -> None:
    root = tar(directory("bin"), file("bin/sh", b"#!", mode=0o4755), file("plain"))

    async def story(b: Bench) -> None:
        image = await b.take(
            gzip.compress(root),
            "made:v1",
            changes=['CMD ["sh", "-c", "x"]', "ENV A=1 B='2 3'", "VOLUME /data"],
            message="by hand",
        )
        assert image.config.cmd == ("sh", "-c", "x")
        assert image.config.env == ("A=1", "B=2 3")
        assert image.diff_ids == (digest(root),)
        for form in ("docker", "oci"):
            saved = await b.save("made:v1", form=form)
            assert await b.save("made:v1", form=form) == saved, "the same bytes again"
            await b.images.remove("made:v1")
            assert b.on_disk()["layers"] == b.on_disk()["blobs"] == set()
            (again,) = await b.load(saved)
            assert again == image
        lines = await b.images.history("made:v1")
        assert [line.comment for line in lines] == ["by hand"]
        assert lines[0].size == 2

    run(tmp_path, story)


def test_a_name_moves_and_the_old_image_stays_without_one(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (old,) = await b.load(docker_archive(tar(file("a"))))
        (new,) = await b.load(docker_archive(tar(file("b"))))
        assert (await b.images.find("made")).id == new.id
        assert [i.id for i in await b.images.all({"dangling": ["true"]})] == [old.id]
        assert (await b.images.find(old.id)).references == ()
        assert any("has no name now" in str(line.get("status")) for line in b.told)

    run(tmp_path, story)


def test_removing_by_dockers_rules(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(tar(file("a")), tags=["a:1", "b:1"]))
        with pytest.raises(Conflict) as several:
            await b.images.remove(image.id)
        assert several.value.code == "image.several-names"
        done = await b.images.remove("a:1")
        assert [r.untagged for r in done] == ["a:1"]
        with pytest.raises(NotFound, match="No such image: a:1"):
            await b.images.find("a:1")
        done = await b.images.remove(image.id[7:19])
        assert [r.untagged or r.deleted for r in done] == ["b:1", image.id]
        left = b.on_disk()
        assert left["layers"] == left["blobs"] == set()

    run(tmp_path, story)


def test_layers_that_another_image_has_stay(tmp_path: Path) -> None:
    base, one, two = tar(file("base")), tar(file("1")), tar(file("2"))

    async def story(b: Bench) -> None:
        (first,) = await b.load(docker_archive(base, one, tags=["one"]))
        (second,) = await b.load(docker_archive(base, two, tags=["two"]))
        assert len(b.on_disk()["layers"]) == 3
        await b.images.remove("one")
        names = {chain.removeprefix("sha256:") for chain in second.chain_ids}
        assert b.on_disk()["layers"] == names
        assert digest(base)[7:] in b.on_disk()["blobs"]
        assert digest(one)[7:] not in b.on_disk()["blobs"]
        assert first.chain_ids[0] == second.chain_ids[0]

    run(tmp_path, story)


def test_an_index_gives_the_image_for_this_machine(tmp_path: Path) -> None:
    layer = tar(file("a"))
    mine = OciLayout(layers=[layer])
    other = OciLayout(layers=[layer], config=config_json([layer], architecture="s390x"))
    manifests = []
    for layout, architecture in ((other, "s390x"), (mine, "amd64")):
        data = json.dumps(layout.manifest).encode()
        mine.blobs |= {**layout.blobs, digest(data): data}
        manifests.append(
            {
                "mediaType": layout.manifest["mediaType"],
                "digest": digest(data),
                "size": len(data),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    mine.blobs[digest(index)] = index
    entry = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": digest(index),
        "size": len(index),
        "annotations": {"io.containerd.image.name": "docker.io/library/multi:1"},
    }
    mine.index = {"manifests": [entry]}

    async def story(b: Bench) -> None:
        (image,) = await b.load(mine.tar())
        assert (image.architecture, image.references) == ("amd64", ("docker.io/library/multi:1",))

    run(tmp_path, story)


def test_a_broken_upload_leaves_nothing(tmp_path: Path) -> None:
    archive = docker_archive(tar(file("a", bytes(300_000))))

    class Gone(Exception):
        pass

    async def breaks() -> AsyncIterator[bytes]:
        yield archive[:200_000]
        raise Gone

    async def story(b: Bench) -> None:
        with pytest.raises(Gone):
            await b.load_images.load(breaks(), b.tell)
        with pytest.raises(Invalid, match="damaged archive"):
            await b.load(archive[:200_000])
        assert all(not names for names in b.on_disk().values())
        assert await b.images.all() == []

    run(tmp_path, story)


def test_a_full_disk_is_said_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is taken to have nothing left beyond its reserve."""
    monkeypatch.setattr(space, "room", lambda path: 0)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    async def story(b: Bench) -> None:
        with pytest.raises(Exhausted) as failure:
            await b.import_image.run(endless(), ImportWish(), b.tell)
        assert failure.value.code == "store.full"
        squeezed = gzip.compress(tar(file("zeros", bytes(150 * 1024**2))), 1)
        with pytest.raises(Exhausted, match="no space left"):
            await b.take(squeezed)
        assert all(not names for names in b.on_disk().values())
        with pytest.raises(Invalid, match="empty"):
            await b.take(b"")

    run(tmp_path, story)


def test_the_saved_archive_has_both_forms(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        await b.load(docker_archive(tar(file("a")), tags=["one:1", "one:2"]))
        await b.load(docker_archive(tar(file("b")), tags=["two"]))
        saved = await b.save("one", "two")
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            names = archive.getnames()
            listing = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
            repositories = json.load(archive.extractfile("repositories"))  # type: ignore[arg-type]
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        assert "oci-layout" in names
        assert len(names) == len(set(names))
        assert [e["RepoTags"] for e in listing] == [["one:1", "one:2"], ["two:latest"]]
        assert set(repositories) == {"one", "two"}
        assert set(repositories["one"]) == {"1", "2"}
        assert len(index["manifests"]) == 3
        assert all(path in names for e in listing for path in (e["Config"], *e["Layers"]))

    run(tmp_path, story)
