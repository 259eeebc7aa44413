"""What builds must refuse or confine: hostile contexts, archives, addresses and images."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildbench import Builder
from filebench import Bench, Entry, directory, docker_archive, file, hard_link, run, symlink, tar
from needs import needs
from wirt.errors import WirtError, primary
from wirt.image.build import archives
from wirt.image.store import BlobStore

pytestmark = needs("root", "overlay")

CANARY = "secret of the host"


class Strange(http.server.SimpleHTTPRequestHandler):
    """Files of a directory, and redirects to where none may lead."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def serving(place: Path) -> Iterator[str]:
    """An HTTP server on loopback; its address."""
    place.mkdir(exist_ok=True)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: Strange(*args, directory=str(place))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def refusal(error: BaseException) -> WirtError:
    found = primary(error)
    assert isinstance(found, WirtError), found
    return found


async def refused(b: Builder, lines: str, *context: Entry, **wish: object) -> WirtError:
    with pytest.raises((WirtError, ExceptionGroup)) as caught:
        await b.build(f"FROM scratch\n{lines}\n", *context, **wish)
    return refusal(caught.value)


def test_a_context_cannot_reach_the_host(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "canary").write_text(CANARY)
    up = "../" * 20
    context = (
        symlink("link", str(host)), symlink("up", f"{up}{host}"), symlink("loop", "loop"),
        directory("d"), symlink("d/inner", str(host / "canary")), file("ok", b"ok"),
    )  # fmt: skip

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        for lines in (
            f"COPY {up}{host}/canary /x", f"COPY {host}/canary /x", "COPY link/canary /x",
            "COPY up/canary /x", "COPY link /x", "COPY loop /x", "ADD link/canary /x",
        ):  # fmt: skip
            error = await refused(b, lines, *context)
            assert "Dockerfile:2" in error.message
            assert CANARY not in str(error)
        made = await b.build("FROM scratch\nCOPY d /d\n", *context)
        image = await bench.images.find(made.id)
        assert b.merged(image)["d/inner"].is_symlink()  # a text, as everywhere

    run(tmp_path / "t", story)


def test_an_image_cannot_lead_a_copy_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    up = "../" * 20
    evil = tar(
        symlink("abs", str(outside)), symlink("rel", f"{up}{outside}"), symlink("loop", "loop"),
        directory("etc"), symlink("etc/passwd", "/proc/self/environ"),
    )  # fmt: skip

    async def story(bench: Bench) -> None:
        await bench.load(docker_archive(evil, tags=["evil:1"]))
        b = Builder.on(bench)
        for place in ("abs", "rel"):
            made = await b.build(f"FROM evil:1\nCOPY f /{place}/f\nWORKDIR /{place}/w\n", file("f"))
            found = b.merged(await bench.images.find(made.id))
            assert str(outside)[1:] + "/f" in found
            assert str(outside)[1:] + "/w" in found
        assert list(outside.iterdir()) == []
        for lines in ("COPY f /loop/f", "WORKDIR /loop/x", "COPY --chown=root f /x"):
            with pytest.raises((WirtError, ExceptionGroup)) as caught:
                await b.build(f"FROM evil:1\n{lines}\n", file("f"))
            refusal(caught.value)
        with pytest.raises((WirtError, ExceptionGroup)):
            await b.build("FROM scratch\nCOPY --from=evil:1 /abs/canary /\n")

    run(tmp_path / "t", story)


def test_archives_that_are_added_stay_inside_and_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FLOOR", 1024 * 1024)
    monkeypatch.setattr(archives, "MAX_RATIO", 2)
    outside = tmp_path / "outside"
    outside.mkdir()
    up = "../" * 20
    sly = tar(
        file(f"{up}{outside}/one", b"1"), file(f"{outside}/two", b"2"),
        symlink("d", str(outside)), file("d/three", b"3"), file("s", b"", mode=0o4755),
    )  # fmt: skip
    bomb = gzip.compress(tar(file("zeros", bytes(32 * 1024 * 1024))), mtime=0)
    links = tar(hard_link("x", "/etc/shadow"))

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        made = await b.build("FROM scratch\nADD sly.tar /in/\n", file("sly.tar", sly))
        found = b.merged(await bench.images.find(made.id))
        assert found["in/d/three"].read_bytes() == b"3"  # the link gave way to a directory
        assert all(path.startswith("in") for path in found)
        assert list(outside.iterdir()) == []
        error = await refused(b, "ADD bomb.tgz /in/", file("bomb.tgz", bomb))
        assert error.code == "archive.too-large"
        error = await refused(b, "ADD links.tar /in/", file("links.tar", links))
        assert "hard link" in error.message
        assert bench.on_disk()["uploads"] == set()

    run(tmp_path / "t", story)


def test_downloads(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        (tmp_path / "www" / "a file").write_bytes(b"content")
        made = await b.build(f"FROM scratch\nADD {url}/a%20file /x/\n")
        path = b.merged(await bench.images.find(made.id))["x/a file"]
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o600)
        await b.build(f"FROM scratch\nADD {url}/a%20file /x/\n")
        assert b.statuses() == ["cached"]
        good = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
        await b.build(f"FROM scratch\nADD --checksum={good} {url}/a%20file /x/\n")
        error = await refused(b, f"ADD --checksum={good[:-1]}0 {url}/a%20file /x/")
        assert error.code == "build.checksum"
        with_name = url.replace("://", "://user:hunter2@")
        made = await b.build(f"FROM scratch\nADD {with_name}/a%20file /x/\n")
        history = await bench.images.history(made.id)
        assert "hunter2" not in str(history) + str(b.told)
        for target in (
            "file:///etc/passwd", "http://169.254.169.254/latest", "ftp://x/y", "gopher://x",
            "http://[fe80::1]/x",
        ):  # fmt: skip
            error = await refused(b, f"ADD {with_name}/to/{target} /x/")
            assert error.code == "build.redirect", target
            assert "hunter2" not in str(error) + str(b.told)
        assert (await refused(b, f"ADD {url}/none /x/")).code == "build.fetch"
        assert bench.on_disk()["uploads"] == set()

    with serving(tmp_path / "www") as url:
        run(tmp_path / "t", story)


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc", "ftp://host/x", "ssh://host/x.git", "git@host:x.git", "http:///x.git",
        "https://host/x.git#--upload-pack=sh", "https://host/x.git#a..b", "https://-x/y.git",
        "git://host/x\tx.git", "http://169.254.169.254/x", "http://127.0.0.1:1/",
    ],
)  # fmt: skip
def test_addresses_that_are_no_addresses(tmp_path: Path, address: str) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        await refused(b, "COPY a /a", context_url=address)
        assert bench.on_disk()["uploads"] == set()

    run(tmp_path, story)


@needs("git")
def test_repositories(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()

    def git(*words: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        done = subprocess.run(
            ["git", *identity, *words], cwd=work, env=env, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", "-b", "main")
    (work / "sub").mkdir()
    (work / "sub" / "f").write_text("old")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY sub /s\n")
    (work / "out").symlink_to("/etc")
    git("add", ".")
    git("commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    (work / "sub" / "f").write_text("new")
    git("commit", "-qam", "two")
    git("tag", "v2")
    git("clone", "-q", "--bare", ".", str(www / "r.git"))
    subprocess.run(["git", "update-server-info"], cwd=www / "r.git", check=True)

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)

        async def content(made: object, path: str) -> bytes:
            image = await bench.images.find(made.id)  # type: ignore[attr-defined]
            return b.merged(image)[path].read_bytes()

        for fragment, wanted in (("", b"new"), ("#v2", b"new"), ("#main", b"new"),
                                 (f"#{first}", b"old")):  # fmt: skip
            made = await b.build(None, context_url=f"{url}/r.git{fragment}")
            assert await content(made, "s/f") == wanted, fragment
        made = await b.build(f"FROM scratch\nADD {url}/r.git#main:sub /x\n")
        assert await content(made, "x/f") == b"new"
        made = await b.build(f"FROM scratch\nADD --checksum={first} {url}/r.git /x\n")
        assert await content(made, "x/sub/f") == b"old"
        error = await refused(b, f"ADD {url.replace('://', '://u:hunter2@')}/none.git /x")
        assert error.code == "build.git"
        assert "hunter2" not in str(error) + str(b.told)
        assert bench.on_disk()["uploads"] == set()

    with serving(www) as url:
        run(tmp_path / "t", story)


def test_the_store_forgets_half_fetched_repositories(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "git-x" / "objects").mkdir(parents=True)
    (uploads / "git-y").symlink_to(tmp_path)
    BlobStore(tmp_path / "blobs", uploads).open_store()
    assert list(uploads.iterdir()) == []
    assert tmp_path.exists()


def test_contexts_of_an_archive_from_elsewhere(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:xz") as archive:
            text = b"FROM scratch\nCOPY Dockerfile /d\n"
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
        (tmp_path / "www" / "c.tar.xz").write_bytes(data.getvalue())
        (tmp_path / "www" / "alone").write_bytes(b"FROM scratch\nENV A=1\n")
        made = await b.build(None, context_url=f"{url}/c.tar.xz")
        assert "d" in b.merged(await bench.images.find(made.id))
        made = await b.build(None, context_url=f"{url}/alone")
        assert "A=1" in (await bench.images.find(made.id)).config.env

    with serving(tmp_path / "www") as url:
        run(tmp_path / "t", story)
