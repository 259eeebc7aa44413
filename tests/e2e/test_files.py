"""Images, volumes and file copy as a user types them, for every kind of guest."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from live import Live
from needs import needs, require

KINDS = ("container", "microvm", "vm")


def _need(kind: str) -> None:
    if kind != "container":
        require("qemu", "guest-kernel")


@pytest.mark.parametrize("kind", KINDS)
def test_files_go_in_and_out_of_a_running_guest(
    shared_instance: Live, tmp_path: Path, kind: str
) -> None:
    _need(kind)
    live = shared_instance
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("hello\n")
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o750)
    (source / "link").symlink_to("run")
    name = f"cp-{kind}"
    live.wirt("run", "-d", "--as", kind, "--name", name, "busybox", "sleep", "600")
    try:
        live.wirt("cp", str(source), f"{name}:/root/copied")
        listing = live.wirt(
            "exec",
            name,
            "sh",
            "-c",
            "cd /root/copied; cat sub/file; stat -c '%a %u' run; readlink link",
        )
        assert listing.stdout == "hello\n750 0\nrun\n"
        live.wirt(
            "exec", name, "sh", "-c", "echo made > /root/copied/new; ln -s /etc/passwd /root/out"
        )
        live.wirt("cp", f"{name}:/root/copied/.", str(tmp_path / "back"))
        assert (tmp_path / "back/new").read_text() == "made\n"
        assert (tmp_path / "back/run").stat().st_mode & 0o777 == 0o750
        assert (tmp_path / "back/link").readlink() == Path("run")
        live.wirt("cp", f"{name}:/root/out", str(tmp_path / "out"))
        assert (tmp_path / "out").readlink() == Path("/etc/passwd")
        gone = live.wirt("cp", f"{name}:/nope", str(tmp_path), code=None)
        assert gone.returncode != 0
        assert "/nope" in gone.stderr
    finally:
        live.wirt("rm", "-f", name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_is_filled_and_kept(shared_instance: Live, kind: str) -> None:
    _need(kind)
    live, volume = shared_instance, f"vol-{kind}"
    try:
        script = "ls /etc | sort | tr '\\n' ' '; echo mine > /etc/mine"
        first = live.wirt(
            "run", "--rm", "--as", kind, "-v", f"{volume}:/etc", "busybox", "sh", "-c", script
        )
        assert "passwd" in first.stdout
        again = live.wirt(
            "run", "--rm", "--as", kind, "-v", f"{volume}:/v:ro", "busybox", "sh", "-c",
            "cat /v/mine; touch /v/x || echo read-only",
        )  # fmt: skip
        assert again.stdout == "mine\nread-only\n"
        assert live.wirt("volume", "ls", "-q").stdout.split() == [volume]
        status, found = live.ask("GET", f"/v1/volumes/{volume}")
        assert (status, found["guests"]) == (200, [])
    finally:
        live.wirt("volume", "rm", volume)
    assert live.wirt("volume", "ls", "-q").stdout == ""


def test_nameless_volumes_go_with_rm(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("run", "--name", "v1", "-v", "/data", "busybox", "touch", "/data/x")
    assert len(live.wirt("volume", "ls", "-q").stdout.split()) == 1
    live.wirt("start", "-a", "v1")
    assert len(live.wirt("volume", "ls", "-q").stdout.split()) == 1
    live.wirt("rm", "-v", "v1")
    assert live.wirt("volume", "ls", "-q").stdout == ""
    live.wirt("run", "--rm", "-v", "/data", "busybox", "true")
    assert live.wirt("volume", "ls", "-q").stdout == ""


def test_a_stopped_container_is_copied_into(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    (tmp_path / "note").write_text("before the start\n")
    live.wirt("create", "--name", "later", "busybox", "cat", "/note")
    try:
        live.wirt("cp", str(tmp_path / "note"), "later:/note")
        assert live.wirt("start", "-a", "later").stdout == "before the start\n"
        live.wirt("cp", "later:/note", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "before the start\n"
    finally:
        live.wirt("rm", "later")


@needs("skopeo")
def test_save_load_tag_and_rmi(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    saved, copied = tmp_path / "saved.tar", tmp_path / "copied.tar"
    live.wirt("save", "-o", str(saved), "busybox")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{saved}",
         f"docker-archive:{copied}:again:1"],
        check=True,
    )  # fmt: skip
    loaded = live.wirt("load", "-i", str(copied))
    assert "again:1" in loaded.stdout
    try:
        assert live.wirt("run", "--rm", "again:1", "echo", "works").stdout == "works\n"
        live.wirt("tag", "again:1", "third")
        (found,) = json.loads(live.wirt("image", "inspect", "third").stdout)
        names = [name for name in found["references"] if name.endswith(("again:1", "third:latest"))]
        assert len(names) == 2
        assert "third" in live.wirt("rmi", "third").stdout
    finally:
        live.wirt("rmi", "again:1")
    missing = live.wirt("run", "again:1", "true", code=125)
    assert "No such image: again:1" in missing.stderr


def test_an_image_in_use_is_not_removed(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("tag", "busybox", "copy")
    live.wirt("rmi", "copy")
    live.wirt("create", "--name", "user", "busybox", "true")
    try:
        refused = live.wirt("rmi", "busybox", code=None)
        assert refused.returncode == 4
        assert "user" in refused.stderr
    finally:
        live.wirt("rm", "user")


def test_an_imported_root_runs_as_its_changes_say(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(link)
    (tmp_path / "root.tar").write_bytes(out.getvalue())
    live.wirt(
        "import", "-c", 'CMD ["sh", "-c", "echo $WHO"]', "-c", "ENV WHO=imported",
        str(tmp_path / "root.tar"), "small:1",
    )  # fmt: skip
    try:
        assert live.wirt("run", "--rm", "small:1").stdout == "imported\n"
        found = json.loads(live.wirt("image", "inspect", "small:1").stdout)[0]
        assert found["config"]["env"] == ["WHO=imported"]
    finally:
        live.wirt("rmi", "small:1")
