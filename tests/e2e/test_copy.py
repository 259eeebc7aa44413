"""``cp`` in both directions, for every kind of guest."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.test_kinds import KINDS, Tour
from e2e.test_terminal import require_kind
from live import Live


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest, shared_instance: Live) -> Iterator[Tour]:
    """A running guest with a volume and a tmpfs."""
    kind = str(request.param)
    require_kind(kind)
    name = f"files-{kind}"
    shared_instance.wirt(
        "run", "-d", "--as", kind, "--name", name, "-v", "files:/volume", "--tmpfs", "/memory",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    yield Tour(shared_instance, kind, name)
    shared_instance.wirt("rm", "-f", name)
    shared_instance.wirt("volume", "rm", "files")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd names, links of both kinds, a set-user-id file, an empty directory."""
    top = tmp_path_factory.mktemp("copy") / "tree"
    (top / "a").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o750)
    (top / "a" / "one").write_text("1\n")
    (top / "a" / "one").chmod(0o4755)
    (top / "hard").hardlink_to(top / "a" / "one")
    (top / "soft").symlink_to("a/one")
    (top / "out").symlink_to("/etc/passwd")
    (top / "a" / "odd\tname é").write_text("odd\n")
    return top


def shape(top: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything below."""
    return {
        str(path.relative_to(top)): (
            path.lstat().st_mode & 0o777,
            str(path.readlink())
            if path.is_symlink()
            else path.read_text()
            if path.is_file()
            else "",
        )
        for path in sorted(top.rglob("*"))
    }


@pytest.mark.parametrize("where", ["/root", "/volume", "/memory"])
def test_a_tree_goes_in_and_comes_out_the_same(
    host: Tour, tree: Path, tmp_path: Path, where: str
) -> None:
    live = host.live
    live.wirt("cp", str(tree), f"{host.name}:{where}")
    assert host.exec("stat", "-c", "%a %u %h", f"{where}/tree/a/one") == "4755 0 2\n"
    live.wirt("cp", f"{host.name}:{where}/tree", str(tmp_path))
    assert shape(tmp_path / "tree") == shape(tree)
    live.wirt("cp", f"{host.name}:{where}/tree/a/.", str(tmp_path / "contents"))
    assert shape(tmp_path / "contents") == shape(tree / "a")


def test_links_are_copied_as_links_or_followed_inside_the_guest(host: Tour, tmp_path: Path) -> None:
    live = host.live
    host.exec("sh", "-c", "mkdir -p /l; cd /l; ln -sf ../../../../etc/passwd up; ln -sf / root")
    live.wirt("cp", f"{host.name}:/l/up", str(tmp_path / "link"))
    assert (tmp_path / "link").readlink() == Path("../../../../etc/passwd")
    live.wirt("cp", "-L", f"{host.name}:/l/up", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == host.exec("cat", "/etc/passwd")
    (tmp_path / "in").write_text("through a link\n")
    live.wirt("cp", str(tmp_path / "in"), f"{host.name}:/l/root/through")
    assert host.exec("cat", "/through") == "through a link\n"
    assert not Path("/through").exists()


def test_tar_streams(host: Tour, tree: Path) -> None:
    live = host.live
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tree, "packed")
    live.pipe("cp", "-", f"{host.name}:/tmp", feed=packed.getvalue())
    assert host.exec("cat", "/tmp/packed/a/one") == "1\n"
    with tarfile.open(fileobj=io.BytesIO(live.pipe("cp", f"{host.name}:/tmp/packed", "-"))) as tar:
        assert "packed/a/one" in tar.getnames()


def test_a_big_file_arrives_whole(host: Tour, tmp_path: Path) -> None:
    size = 200_000_000 if host.kind == "container" else 30_000_000
    data = os.urandom(1_000_000) * (size // 1_000_000)
    (tmp_path / "big").write_bytes(data)
    host.live.wirt("cp", str(tmp_path / "big"), f"{host.name}:/big")
    assert host.exec("sha256sum", "/big").split()[0] == hashlib.sha256(data).hexdigest()
    host.live.wirt("cp", f"{host.name}:/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_wrong_places_are_named(host: Tour, tmp_path: Path) -> None:
    live, name = host.live, host.name
    (tmp_path / "f").write_text("f")
    for words, code, text in (
        ((f"{name}:/none", str(tmp_path)), 3, "/none"),
        ((str(tmp_path / "f"), f"{name}:/none/f"), 3, "/none"),
        ((str(tmp_path / "none"), f"{name}:/tmp"), 2, "none"),
        ((str(tmp_path), f"{name}:/etc/passwd"), 2, "/etc/passwd"),
        ((f"{name}:/etc/passwd/", str(tmp_path)), 2, "/etc/passwd/"),
        ((f"{name}:/etc", str(tmp_path / "f")), 2, "/etc"),
        (("nosuch:/etc", str(tmp_path)), 3, "nosuch"),
        ((f"{name}:/a", f"{name}:/b"), 2, "two guests"),
    ):
        done = live.wirt("cp", *words, code=code)
        assert text in done.stderr, words
        assert done.stderr.count("\n") == 2, done.stderr
    broken = live.wirt("cp", "-", f"{name}:/tmp", code=None, feed="this is no tar" * 100)
    assert broken.returncode == 2
    assert "tar" in broken.stderr or "archive" in broken.stderr


def test_what_does_not_run(host: Tour, tmp_path: Path) -> None:
    live, name = host.live, host.name
    host.exec("sh", "-c", "echo late > /late")
    live.wirt("kill", name)
    live.wirt("wait", name)
    (tmp_path / "f").write_text("while it slept\n")
    if host.kind == "container":
        live.wirt("cp", f"{name}:/late", str(tmp_path))
        assert (tmp_path / "late").read_text() == "late\n"
        live.wirt("cp", str(tmp_path / "f"), f"{name}:/volume/f")
        live.wirt("start", name)
        assert host.exec("cat", "/volume/f") == "while it slept\n"
        return
    for words in ((f"{name}:/late", str(tmp_path)), (str(tmp_path / "f"), f"{name}:/f")):
        refused = live.wirt("cp", *words, code=4).stderr
        assert f"a {host.kind} must run for it" in refused
        assert "--as container" in refused


def test_a_volume_of_what_never_ran(shared_instance: Live, tmp_path: Path) -> None:
    """The image has no such directory, and none is left in the container's own layer."""
    live = shared_instance
    (tmp_path / "f").write_text("early\n")
    live.wirt("create", "--name", "never", "-v", "early:/deep/place", "busybox", "ls", "/deep")
    try:
        live.wirt("cp", str(tmp_path / "f"), "never:/deep/place/f")
        live.wirt("cp", "never:/deep/place/f", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "early\n"
        assert live.wirt("diff", "never").stdout == ""
        seen = live.wirt("run", "--rm", "-v", "early:/x", "busybox", "cat", "/x/f")
        assert seen.stdout == "early\n"
    finally:
        live.wirt("rm", "never")
        live.wirt("volume", "rm", "early")


def test_readers_that_stand_still_hold_up_nobody(shared_instance: Live, tmp_path: Path) -> None:
    """Forty clients ask for a file larger than all buffers and read only how the answer begins."""
    live = shared_instance
    live.wirt("run", "-d", "--name", "stalled", "busybox", "sleep", "1000")
    try:
        live.wirt("exec", "stalled", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=32")
        with contextlib.ExitStack() as clients:
            for _ in range(40):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(60)
                client.connect(str(live.socket))
                client.sendall(
                    b"GET /v1/guests/stalled/archive?path=/big HTTP/1.1\r\nHost: x\r\n\r\n"
                )
                assert client.recv(64).startswith(b"HTTP/1.1 200")
            (tmp_path / "f").write_text("healthy\n")
            live.wirt("cp", str(tmp_path / "f"), "stalled:/f")
            live.wirt("cp", "stalled:/f", str(tmp_path / "back"))
            live.wirt("save", "-o", str(tmp_path / "image.tar"), "busybox")
        assert (tmp_path / "back").read_text() == "healthy\n"
        assert (tmp_path / "image.tar").stat().st_size > 1_000_000
    finally:
        live.wirt("rm", "-f", "stalled")
