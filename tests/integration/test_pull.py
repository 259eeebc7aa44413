"""Pulling into the real store, with a registry that lies when told to: nothing that is wrong is
ever kept, and nothing that is right is fetched twice."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from filebench import config_json, file, tar
from liar import Answer, Request, digest_of
from needs import needs
from remotebench import Remote, run
from wirt.errors import Invalid, NotFound, Upstream, WirtError
from wirt.image import manifest
from wirt.image.manifest import Descriptor, Index, Manifest
from wirt.image.platform import Platform
from wirt.image.remote.settings import Settings
from wirt.model.image import Digest

pytestmark = needs("root", "overlay")

BASE = tar(file("a", b"a" * 300_000))
TOP = tar(file("b", b"b"))


def _empty(found: dict[str, set[str]]) -> bool:
    return not any(found[what] for what in ("blobs", "uploads", "layers"))


def test_an_image_comes_with_its_layers_and_its_name(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE, TOP)
        image = await r.pull()
        assert image.references == (f"{r.liar.host}/team/app:1",)
        assert (r.bench.diff(image, 0) / "a").read_bytes() == b"a" * 300_000
        assert (r.bench.diff(image) / "b").read_bytes() == b"b"
        assert len(r.bench.on_disk()["blobs"]) == 4
        assert r.bench.on_disk()["uploads"] == set()
        states = [line["state"] for line in r.bench.told if "state" in line]
        assert states.count("done") == 2
        assert r.bench.told[-1]["fresh"] == "True"
        asked = len(r.liar.seen)
        assert (await r.pull()).id == image.id
        assert r.bench.told[-1]["fresh"] == "False"
        assert [one.method for one in r.liar.seen[asked:]] == ["GET", "HEAD"]

    run(tmp_path, story)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE, tag="1")
        r.add_image(BASE, TOP, tag="2")
        await r.pull("1")
        image = await r.pull("2")
        base = r.liar.asked(str(Digest.parse(image.diff_ids[0])))
        assert len(base) == 1
        assert {"exists", "done"} <= {line.get("state") for line in r.bench.told}

    run(tmp_path, story)


def test_two_pulls_at_once_fetch_each_blob_once(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(gzip.compress(BASE), tag="1")
        r.add_image(BASE, TOP, tag="1")
        first, second = await asyncio.gather(r.pull(), r.pull())
        assert first.id == second.id
        assert len(r.liar.asked(first.diff_ids[0])) == 1

    run(tmp_path, story)


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_of_other_content_is_refused_and_fetched_anew_later(
    tmp_path: Path, which: int
) -> None:
    """Case 15, in the middle of the pipeline: the layer is being unpacked while it comes."""

    async def story(r: Remote) -> None:
        r.add_image(BASE, TOP)
        digest = (BASE, TOP)[which]
        forged = digest.replace(b"a" if which == 0 else b"b", b"x")
        name = next(d for d, data in r.liar.blobs.items() if data == digest)
        r.liar.lie_at(name, Answer(body=forged))
        with pytest.raises((Upstream, Invalid)):
            await r.pull()
        assert _empty(r.bench.on_disk())
        assert (await r.bench.images.all()) == []
        image = await r.pull()
        assert (r.bench.diff(image) / "b").read_bytes() == b"b"

    run(tmp_path, story)


def test_a_registry_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE, TOP)
        name = next(d for d, data in r.liar.blobs.items() if data == BASE)

        def cut(request: Request) -> Answer | None:
            if name in request.path:
                return Answer(body=BASE[:100_000], length=len(BASE), cut=True)
            return None

        r.liar.lie(cut)
        with pytest.raises(WirtError):
            await r.pull()
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_layers_that_are_not_what_the_configuration_says(tmp_path: Path) -> None:
    """Cases 16 and 21."""

    async def story(r: Remote) -> None:
        r.liar.add_image(json.loads(config_json([TOP])), BASE, tag="other")
        r.liar.add_image(json.loads(config_json([BASE])), BASE, TOP, tag="count")
        for tag, code in (("other", "layer.diff-id"), ("count", "image.layer-count")):
            with pytest.raises(Invalid) as failure:
                await r.pull(tag)
            assert failure.value.code == code
            assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_a_tag_that_moves_meanwhile_changes_nothing(tmp_path: Path) -> None:
    """Case 23: after the first answer everything goes by digest."""

    async def story(r: Remote) -> None:
        r.add_image(BASE, tag="1")
        before = dict(r.liar.manifests)
        r.add_image(TOP, tag="2")

        def move(request: Request) -> None:
            if "/blobs/" in request.path:
                r.liar.manifests["1"] = r.liar.manifests["2"]

        r.liar.lie(move)
        image = await r.pull("1")
        assert (r.bench.diff(image) / "a").exists()
        digest = image.targets[f"{r.liar.host}/team/app:1"]
        assert before[digest] == before["1"]
        again = await r.pull("1")
        assert again.id != image.id

    run(tmp_path, story)


def _platform(architecture: str) -> Platform:
    return Platform(os="linux", architecture=architecture)


def _add_index(r: Remote, tag: str = "1") -> dict[str, Descriptor]:
    """An index of two platforms with the tag."""
    made = {}
    for architecture, layer in (("amd64", BASE), ("s390x", TOP)):
        config = json.loads(config_json([layer], architecture=architecture))
        made[architecture] = r.liar.add_image(config, layer, tag=architecture)
    entries = tuple(
        Descriptor(
            media_type=d.media_type, digest=d.digest, size=d.size, platform=_platform(architecture)
        )
        for architecture, d in made.items()
    )
    data = manifest.encode_index(Index(manifests=entries))
    made["index"] = r.liar.add_document(data, manifest.OCI_INDEX, tag)
    return made


def test_an_index_keeps_its_own_digest(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        made = _add_index(r)
        image = await r.pull()
        assert image.architecture == "amd64"
        assert image.manifest == str(made["amd64"].digest)
        index = made["index"].digest
        assert image.digests == (f"{r.liar.host}/team/app@{index}",)
        assert not r.bench.store.path(made["s390x"].digest).exists()
        found = await r.bench.images.find(f"{r.liar.host}/team/app@{index}")
        assert found.id == image.id

    run(tmp_path, story)


def test_all_platforms_bring_everything_and_go_with_the_name(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        made = _add_index(r)
        await r.pull(all_platforms=True)
        assert r.bench.store.path(made["s390x"].digest).exists()
        assert len(r.bench.on_disk()["blobs"]) == 7
        assert len(r.bench.on_disk()["layers"]) == 1
        await r.bench.images.remove(f"{r.liar.host}/team/app:1")
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_another_platform_is_taken_only_when_asked_for(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        _add_index(r)
        image = await r.pull(platform="linux/s390x")
        assert image.architecture == "s390x"
        with pytest.raises(NotFound, match="linux/riscv64"):
            await r.pull(platform="linux/riscv64")

    run(tmp_path, story)


def test_a_lone_image_of_another_platform(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE)
        with pytest.raises(NotFound, match="linux/amd64, not for linux/s390x"):
            await r.pull(platform="linux/s390x")
        assert _empty(r.bench.on_disk())
        assert (await r.pull(platform="linux/amd64")).architecture == "amd64"

    run(tmp_path, story)


def test_a_registry_that_knows_no_head(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE)
        r.liar.lie(lambda q: Answer(status=405) if q.method == "HEAD" else None)
        image = await r.pull()
        assert (await r.pull()).id == image.id

    run(tmp_path, story)


@pytest.mark.parametrize("what", ["large", "announced", "twice", "nan", "deep"])
def test_configurations_that_nobody_should_read(tmp_path: Path, what: str) -> None:
    """Case 20, for what the manifest points at."""

    async def story(r: Remote) -> None:
        text = {
            "large": b" " * (5 * 1024 * 1024) + b"{}",
            "announced": b"{}",
            "twice": b'{"os":"linux","os":"windows"}',
            "nan": b'{"os":NaN}',
            "deep": b"[" * 100_000,
        }[what]
        config = r.liar.add_blob(text, manifest.OCI_CONFIG)
        if what == "announced":
            config = replace(config, size=50 * 1024 * 1024)
        data = manifest.encode_manifest(Manifest(config=config, layers=()))
        r.liar.add_document(data, manifest.OCI_MANIFEST, "1")
        with pytest.raises(Invalid):
            await r.pull()
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_a_digest_names_what_it_brings(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        made = _add_index(r)
        digest = str(made["amd64"].digest)
        image = await r.pull(digest)
        assert image.references == (f"{r.liar.host}/team/app@{digest}",)
        asked = len(r.liar.seen)
        await r.pull(digest)
        assert len(r.liar.seen) == asked

    run(tmp_path, story)


def test_indexes_that_lead_nowhere_or_for_ever(tmp_path: Path) -> None:
    """Case 19: depth is bounded; an index cannot contain itself but for a broken digest."""

    async def story(r: Remote) -> None:
        inner = r.liar.add_image(json.loads(config_json([BASE])), BASE, tag="deep")
        for _ in range(12):
            data = manifest.encode_index(Index(manifests=(inner,)))
            inner = r.liar.add_document(data, manifest.OCI_INDEX, "deep")
        with pytest.raises(Invalid, match="nested deeper"):
            await r.pull("deep")
        lying = Descriptor(media_type=manifest.OCI_MANIFEST, digest=inner.digest, size=inner.size)
        data = manifest.encode_index(Index(manifests=(lying,)))
        r.liar.add_document(data, manifest.OCI_INDEX, "type")
        with pytest.raises(Invalid):
            await r.pull("type")
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_what_is_no_image_is_not_pulled_as_one(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        config = r.liar.add_blob(b"{}", "application/vnd.oci.empty.v1+json")
        data = manifest.encode_manifest(Manifest(config=config, layers=(), artifact_type="x/y"))
        r.liar.add_document(data, manifest.OCI_MANIFEST, "1")
        with pytest.raises(Invalid, match="no image to run"):
            await r.pull()
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def test_all_tags(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE, tag="1")
        r.add_image(TOP, tag="2")
        from wirt.host.pull import PullWish

        wish = PullWish(reference=f"{r.liar.host}/team/app", all_tags=True)
        images = await r.pull_images.pull(wish, r.bench.tell)
        assert {name for image in images for name in image.references} == {
            f"{r.liar.host}/team/app:1",
            f"{r.liar.host}/team/app:2",
        }
        with pytest.raises(Invalid):
            await r.pull("1", all_tags=True)

    run(tmp_path, story, settings=Settings())


def test_a_cancelled_pull_leaves_nothing(tmp_path: Path) -> None:
    async def story(r: Remote) -> None:
        r.add_image(BASE, TOP)
        name = next(d for d, data in r.liar.blobs.items() if data == BASE)
        slow: list[bytes | float] = [BASE[:150_000], 20.0]
        r.liar.lie_at(name, Answer(pieces=slow, length=len(BASE)))
        reached = asyncio.Event()

        def watch(request: Request) -> None:
            if name in request.path:
                reached.set()

        r.liar.lies.insert(0, watch)
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(r.pull())
            await reached.wait()
            pulling.cancel()
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)


def _add_signature(r: Remote, subject: Descriptor, text: bytes) -> Descriptor:
    """A document of the liar that speaks about another."""
    config = r.liar.add_blob(b"{}", "application/vnd.oci.empty.v1+json")
    layer = r.liar.add_blob(text, "text/plain")
    made = Manifest(config=config, layers=(layer,), artifact_type="a/sig", subject=subject)
    return r.liar.add_document(manifest.encode_manifest(made), manifest.OCI_MANIFEST)


@pytest.mark.parametrize("api", [True, False])
def test_what_speaks_about_an_image_comes_along(tmp_path: Path, api: bool) -> None:
    """By the referrers API, or the tag that stands in for it; what is listed wrongly stays out."""

    async def story(r: Remote) -> None:
        r.add_image(BASE)
        data, kind = r.liar.manifests["1"]
        subject = Descriptor(media_type=kind, digest=digest_of(data), size=len(data))
        good = _add_signature(r, subject, b"signed")
        about = Descriptor(media_type=kind, digest=digest_of(b"another"), size=7)
        bad = _add_signature(r, about, b"forged")
        index = manifest.encode_index(Index(manifests=(good, bad)))
        if api:
            told = {"Content-Type": manifest.OCI_INDEX}
            where = f"/referrers/{subject.digest}"
            r.liar.lie_at(where, *[Answer(headers=told, body=index)] * 3)
        else:
            tag = f"sha256-{subject.digest.encoded}"
            r.liar.add_document(index, manifest.OCI_INDEX, tag)
        image = await r.pull(referrers=True)
        found = await r.bench.manifests.of_subject(image.manifest)
        assert [row.digest for row in found] == [str(good.digest)]
        assert r.bench.store.path(digest_of(b"signed")).exists()
        assert not r.bench.store.path(digest_of(b"forged")).exists()
        await r.bench.images.remove(f"{r.liar.host}/team/app:1")
        assert _empty(r.bench.on_disk())

    run(tmp_path, story)
