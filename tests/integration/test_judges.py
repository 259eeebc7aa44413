"""Other programs as judges: what they write is read right, and what wirt writes they read right.

skopeo, buildah and umoci share no code with wirt, and umoci unpacks layers by itself, so trees can
be compared file by file.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from filebench import Bench, Entry, directory, docker_archive, file, hard_link, run, symlink, tar
from needs import needs
from trees import difference, merged, snapshot
from wirt.model.image import Image

pytestmark = needs("root", "overlay", "skopeo", "umoci")

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw+ep as ``security.capability`` holds it."""


def tool(*argv: str, home: Path) -> str:
    """Run a judge with all its state below ``home``."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "STORAGE_DRIVER": "vfs",
        "BUILDAH_ISOLATION": "chroot",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        argv, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def skopeo_copy(source: str, target: str, *, home: Path) -> None:
    tool("skopeo", "--insecure-policy", "copy", "-q", source, target, home=home)


def umoci_tree(layout: Path, tag: str, *, home: Path) -> dict[str, Any]:
    """What umoci makes of an image."""
    bundle = home / f"bundle-{tag}"
    tool("umoci", "unpack", "--image", f"{layout}:{tag}", str(bundle), home=home)
    return snapshot(bundle / "rootfs")


def wirt_tree(bench: Bench, image: Image, home: Path) -> dict[str, Any]:
    spot = home / "spot"
    spot.mkdir(exist_ok=True)
    return merged([bench.diff(image, n) for n in range(len(image.chain_ids))], spot)


def archived(layout: Path) -> bytes:
    """An OCI layout directory as a tar, as ``tar -C layout -c .`` makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(layout, arcname=".")
    return out.getvalue()


UNTIMED = {".", "home", "linked", "old", "opaque", "opaque/below", "usr"}
"""Directories that no layer times, or that umoci touches again after it has timed them."""


def without_time(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [*facts[:3], 0 if name in UNTIMED else facts[3], *facts[4:]]
        for name, facts in tree.items()
    }


def strange_layers() -> tuple[bytes, bytes, bytes]:
    """Layers with everything that a layer may hold."""
    long = "long-" + "x" * 180
    base = tar(
        directory("etc", mtime=1_100_000_000),
        file("etc/passwd", b"root:x:0:0::/:/bin/sh\n", mtime=1_100_000_001),
        file("etc/shadow", b"secret", mode=0o600, gid=42),
        directory("bin", mode=0o755),
        file("bin/su", b"ELF", mode=0o6755),
        file("bin/ping", b"ELF", pax={"SCHILY.xattr.security.capability": CAPABILITY.decode()}),
        hard_link("bin/ping6", "bin/ping"),
        symlink("lib", "usr/lib"),
        directory("usr/lib", mode=0o755),
        directory("tmp", mode=0o1777),
        directory("dev"),
        Entry(name="dev/null", type=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        Entry(name="dev/loop", type=tarfile.BLKTYPE, device=(7, 0), mode=0o660, gid=6),
        Entry(name="pipe", type=tarfile.FIFOTYPE, mode=0o640),
        directory("home/user", uid=3_000_000, gid=3_000_001),
        file("home/user/mine", b"m", uid=3_000_000, gid=3_000_001),
        file(long, b"long"),
        file("umlaut-\u00e4", b"u", pax={"SCHILY.xattr.user.note": "hello"}),
        file("old/one", b"1"),
        file("old/two", b"2"),
        file("opaque/below/deep", b"d"),
        file("opaque/gone", b"g"),
        file("becomes-dir", b"f"),
        directory("becomes-file"),
        file("becomes-file/inside", b"i"),
        file("linked/a", b"linked", mtime=1_150_000_000),
    )
    middle = tar(
        file("old/.wh.one"),
        file("opaque/new", b"n"),
        file("opaque/.wh..wh..opq"),
        directory("becomes-dir", mode=0o711),
        file("becomes-dir/x", b"x"),
        file("becomes-file", b"now a file"),
        directory("etc", mode=0o750, mtime=1_200_000_000),
        hard_link("linked/c", "linked/a"),
        file(".wh.pipe"),
    )
    top = tar(
        directory("opaque", mode=0o700),
        file("opaque/below/again", b"a"),
        file("etc/hostname", b"h", mtime=1_300_000_000),
        file("bin/.wh.su"),
    )
    return base, middle, top


def test_trees_are_the_same_as_umocis(tmp_path: Path) -> None:
    layers = strange_layers()

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(*layers))
        ours = wirt_tree(b, image, tmp_path)
        saved = tmp_path / "saved.tar"
        saved.write_bytes(await b.save("made"))
        layout = tmp_path / "layout"
        skopeo_copy(f"docker-archive:{saved}:made:latest", f"oci:{layout}:one", home=tmp_path)
        theirs = umoci_tree(layout, "one", home=tmp_path)
        assert difference(without_time(ours), without_time(theirs)) == []
        assert len(ours) > 30

    run(tmp_path, story)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_what_skopeo_writes_loads_with_the_same_ids(tmp_path: Path, form: str) -> None:
    layers = strange_layers()

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(*layers))
        raw = (await b.images.inspect("made")).raw
        saved, written = tmp_path / "saved.tar", tmp_path / "written"
        saved.write_bytes(await b.save("made", form="oci"))
        skopeo_copy(f"oci-archive:{saved}", f"{form}:{written}:other:tag", home=tmp_path)
        await b.images.remove("made")
        (again,) = await b.load(archived(written) if written.is_dir() else written)
        assert again.diff_ids == image.diff_ids
        assert again.chain_ids == image.chain_ids
        assert again.id == image.id, "the configuration is kept to the byte"
        assert (await b.images.inspect(again.id)).raw == raw
        assert again.references[0].endswith("other:tag")

    run(tmp_path, story)


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_skopeo_reads_what_wirt_saves(tmp_path: Path, form: str) -> None:
    layers = strange_layers()

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(*layers))
        saved = tmp_path / "saved.tar"
        saved.write_bytes(await b.save("made:latest", form=form))
        kind = "docker-archive" if form == "docker" else "oci-archive"
        name = f"{kind}:{saved}:made:latest"
        config = json.loads(
            tool("skopeo", "--insecure-policy", "inspect", "--config", name, home=tmp_path)
        )
        assert tuple(config["rootfs"]["diff_ids"]) == image.diff_ids

    run(tmp_path, story)


def test_an_image_that_umoci_made(tmp_path: Path) -> None:
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    tool("umoci", "init", "--layout", str(layout), home=tmp_path)
    tool("umoci", "new", "--image", f"{layout}:one", home=tmp_path)
    tool("umoci", "unpack", "--image", f"{layout}:one", str(bundle), home=tmp_path)
    root = bundle / "rootfs"
    (root / "etc").mkdir()
    (root / "etc/motd").write_text("hello")
    (root / "etc/gone").write_text("x")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.link(root / "etc/motd", root / "motd")
    os.setxattr(root / "etc/motd", "user.colour", b"blue")
    tool("umoci", "repack", "--image", f"{layout}:one", str(bundle), home=tmp_path)
    (root / "etc/gone").unlink()
    (root / "etc/more").write_text("y")
    tool(
        "umoci",
        "repack",
        "--refresh-bundle",
        "--image",
        f"{layout}:two",
        str(bundle),
        home=tmp_path,
    )
    tool(
        "umoci", "config", "--image", f"{layout}:two", "--config.cmd", "sh", "--config.env", "A=b",
        "--config.label", "who=umoci", home=tmp_path,
    )  # fmt: skip

    async def story(b: Bench) -> None:
        images = await b.load(archived(layout))
        theirs = umoci_tree(layout, "two", home=tmp_path)
        (image,) = (i for i in images if i.config.labels)
        assert image.config.cmd == ("sh",)
        assert image.config.env[-1] == "A=b"
        assert difference(wirt_tree(b, image, tmp_path), theirs) == []
        assert "etc/gone" not in theirs

    run(tmp_path, story)


@needs("buildah")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_an_image_that_buildah_made(tmp_path: Path, form: str) -> None:
    storage = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "runroot")]
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("#!/bin/sh\n")
    (source / "tool").chmod(0o755)

    def buildah(*argv: str) -> str:
        return tool("buildah", *storage, *argv, home=tmp_path).strip()

    made = buildah("from", "scratch")
    buildah("copy", made, str(source / "tool"), "/usr/bin/tool")
    buildah("config", "--cmd", '["tool"]', "--user", "nobody", "--volume", "/data", made)
    written = tmp_path / "written.tar"
    buildah("commit", "-q", "--rm", made, f"{form}:{written}:built:1")

    async def story(b: Bench) -> None:
        (image,) = await b.load(written)
        assert image.config.cmd == ("tool",)
        assert image.config.user == "nobody"
        assert image.config.volumes == ("/data",)
        assert (b.diff(image) / "usr/bin/tool").stat().st_mode & 0o777 == 0o755
        saved = tmp_path / "saved.tar"
        saved.write_bytes(await b.save(image.id))
        pulled = buildah("pull", "-q", f"docker-archive:{saved}")
        inspected = json.loads(buildah("inspect", "--type", "image", pulled))
        assert tuple(inspected["OCIv1"]["rootfs"]["diff_ids"]) == image.diff_ids
        assert inspected["OCIv1"]["config"]["User"] == "nobody"
        buildah("rmi", "-a", "-f")

    run(tmp_path, story)
