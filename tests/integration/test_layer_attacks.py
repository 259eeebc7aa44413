"""Hostile layers: names, links, whiteouts, kinds of files (cases 1-9 of the attack list).

Each ends in a clear error or stays inside the image, and the host is as it was.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from filebench import Bench, Entry, directory, docker_archive, file, hard_link, symlink, tar
from hostile import accepted, refused
from needs import needs
from wirt.model.image import Image

pytestmark = needs("root", "overlay")

# --- 1-6: names that lead out -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../etc/x", "a/../../x", "..", "./../x"])
def test_01_names_that_climb_are_refused(tmp_path: Path, canary: Path, name: str) -> None:
    refused(tmp_path, docker_archive(tar(file(name, b"x"))), code="archive.escapes")


def test_01_absolute_names_stay_inside(tmp_path: Path, canary: Path) -> None:
    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "etc/wirt-attack").read_bytes() == b"x"

    accepted(tmp_path, tar(file("/etc/wirt-attack", b"x")), look=look)


def test_02_a_symlink_to_the_root_leads_into_the_image(tmp_path: Path, canary: Path) -> None:
    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "wirt-attack").read_bytes() == b"x"
        assert (b.diff(image) / "d").is_symlink()

    accepted(tmp_path, tar(symlink("d", "/"), file("d/wirt-attack", b"x")), look=look)


def test_03_symlinks_across_layers_lead_into_the_image(tmp_path: Path, canary: Path) -> None:
    base = tar(
        symlink("a", "b"), symlink("b", "../../../../../.."), symlink("c", str(canary.parent))
    )
    top = tar(file("a/one", b"1"), file("c/canary", b"overwritten"))

    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "one").read_bytes() == b"1"
        inside = b.diff(image) / str(canary.parent).lstrip("/") / "canary"
        assert inside.read_bytes() == b"overwritten"

    accepted(tmp_path, base, top, look=look)


@pytest.mark.parametrize("link", ["/etc/shadow", "../../../etc/shadow", "nowhere", "dir", ""])
def test_04_hard_links_out_of_the_image_are_refused(
    tmp_path: Path, canary: Path, link: str
) -> None:
    code = "archive.escapes" if link.startswith("..") else "layer.hard-link"
    refused(tmp_path, docker_archive(tar(directory("dir"), hard_link("x", link))), code=code)


def test_04_a_hard_link_to_a_symlink_links_the_symlink(tmp_path: Path, canary: Path) -> None:
    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "x").readlink() == canary

    accepted(tmp_path, tar(symlink("out", str(canary)), hard_link("x", "out")), look=look)


def test_05_parents_that_are_no_directories(tmp_path: Path, canary: Path) -> None:
    below_file = tar(file("f", b"f"), file("f/x", b"x"))
    refused(tmp_path, docker_archive(below_file), code="archive.malformed", match="'f/x'")
    loop = tar(symlink("l", "m"), symlink("m", "l"), file("l/x", b"x"))
    refused(tmp_path, docker_archive(loop), code="archive.malformed", match="'l/x'")

    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "made/here/x").read_bytes() == b"x"

    accepted(tmp_path, tar(symlink("l", "/made/../made/here"), file("l/x", b"x")), look=look)


@pytest.mark.parametrize("name", [".", "./", "/", "a/.."])
def test_06_the_root_cannot_be_replaced(tmp_path: Path, canary: Path, name: str) -> None:
    attack = tar(symlink(name, str(canary.parent)), file("canary", b"dead"))
    refused(tmp_path, docker_archive(attack), code="layer.root-replaced")
    if not name.endswith("/"):  # with a slash it is a directory, in the form of old tars
        refused(tmp_path, docker_archive(tar(file(name))), code="layer.root-replaced")


# --- 7-8: whiteouts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ".wh...",
        ".wh..",
        ".wh.",
        ".wh./x",
        "a/.wh.",
        "a/.wh...",
        ".wh.a/b",
        ".wh..wh.x",
        ".wh.a/.wh.b",
    ],
)
def test_07_bad_whiteouts_are_refused(tmp_path: Path, canary: Path, name: str) -> None:
    base = tar(directory("a"), file("a/keep"))
    refused(tmp_path, docker_archive(base, tar(file(name))), code="layer.whiteout")


def test_07_whiteouts_through_symlinks_stay_inside(tmp_path: Path, canary: Path) -> None:
    base = tar(symlink("a", str(canary.parent)), directory("real"), file("real/x"))
    top = tar(file("a/.wh.canary"), file("a/.wh..wh..opq"), file("real/.wh.x"))

    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "real/x").is_char_device()

    accepted(tmp_path, base, top, look=look)


@pytest.mark.parametrize(
    "entries",
    [
        (file("d/new", b"n"), file("d/.wh.new")),
        (file("d/.wh.new"), file("d/new", b"n")),
        (file("d/new", b"n"), file("d/sub/mine", b"m"), file("d/.wh..wh..opq")),
        (file("d/.wh..wh..opq"), file("d/new", b"n"), file("d/sub/mine", b"m")),
        (directory("d"), file("d/new", b"n"), file(".wh.d")),
    ],
)
def test_08_a_whiteout_never_hides_its_own_layer(
    tmp_path: Path, canary: Path, entries: tuple[Entry, ...]
) -> None:
    base = tar(file("d/new", b"old"), file("d/lower", b"l"), file("d/sub/lower", b"l"))
    opaque = any(e.name.endswith("opq") or e.name == ".wh.d" for e in entries)

    def look(b: Bench, image: Image) -> None:
        diff = b.diff(image)
        assert (diff / "d/new").read_bytes() == b"n"
        if opaque:
            hides = (
                os.getxattr(diff / "d", "trusted.overlay.opaque") if _opaque(diff / "d") else b""
            )
            assert hides == b"y" or (diff / "d/lower").is_char_device()

    accepted(tmp_path, base, tar(*entries), look=look)


def _opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


# --- 9-14: what a layer may hold --------------------------------------------------------------


def test_09_devices_attributes_and_set_ids(tmp_path: Path, canary: Path) -> None:
    names = (
        "trusted.overlay.opaque",
        "trusted.x",
        "user.overlay.opaque",
        "system.posix_acl_access",
    )
    pax = {f"SCHILY.xattr.{name}": "y" for name in (*names, "user.kept", "security.selinux")}
    layer = tar(
        directory("d", pax=pax),
        file("su", b"x", mode=0o6755, pax={"SCHILY.xattr.user.kept": "y"}),
        Entry(name="null", type=tarfile.CHRTYPE, device=(1, 3)),
        Entry(name="fifo", type=tarfile.FIFOTYPE),
    )

    def look(b: Bench, image: Image) -> None:
        diff = b.diff(image)
        assert os.listxattr(diff / "d") == ["user.kept"]
        assert (diff / "su").stat().st_mode & 0o7777 == 0o6755
        assert (diff / "null").stat().st_rdev == os.makedev(1, 3)

    accepted(tmp_path, layer, look=look)


def test_09_an_overlay_whiteout_in_disguise_hides_only_lower_files(
    tmp_path: Path, canary: Path
) -> None:
    base = tar(file("x"), file("y"))
    top = tar(Entry(name="x", type=tarfile.CHRTYPE), Entry(name="z", type=tarfile.CHRTYPE))

    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "x").is_char_device()
        assert not (b.diff(image) / "z").exists()

    accepted(tmp_path, base, top, look=look)


def test_09_unknown_kinds_are_refused(tmp_path: Path, canary: Path) -> None:
    refused(tmp_path, docker_archive(tar(Entry(name="x", type=b"Z"))), code="archive.malformed")
    big = Entry(name="x", type=tarfile.CHRTYPE, device=(0o777777, 1))
    refused(tmp_path, docker_archive(tar(big)), code="archive.malformed", match="device numbers")
