"""What builds fetch: files once as long as they do not change, repositories once for a commit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildbench import Builder
from filebench import Bench, run
from needs import needs
from webfiles import Repository, serving
from wirt.errors import WirtError, primary

pytestmark = needs("root", "overlay")


async def content(
    bench: Bench, b: Builder, dockerfile: str | None, path: str, **wish: object
) -> str:
    """The text of a file of what is built."""
    made = await b.build(dockerfile, **wish)
    return b.merged(await bench.images.find(made.id))[path].read_text()


async def refused(b: Builder, dockerfile: str | None, **wish: object) -> WirtError:
    with pytest.raises((WirtError, ExceptionGroup)) as caught:
        await b.build(dockerfile, **wish)
    found = primary(caught.value)
    assert isinstance(found, WirtError), found
    return found


def database(bench: Bench) -> bytes:
    """What stays on the disk of the tables."""
    folder = Path(bench.layout.database).parent
    return b"".join(path.read_bytes() for path in folder.glob("*.db*"))


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["ETag", "Last-Modified"])
def test_a_file_comes_again_only_when_it_changed(tmp_path: Path, by: str) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        text = f"FROM scratch\nADD {web.url.replace('://', '://me:hunter2@')}/f /f\n"
        file = tmp_path / "www" / "f"
        file.write_text("one")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        web.marks = {"/f": '"1"'} if by == "ETag" else {}
        assert await content(bench, b, text, "f") == "one"
        assert await content(bench, b, text, "f", no_cache=("*",)) == "one"
        assert web.asked() == [("/f", 200), ("/f", 304)]
        assert "Authorization" in web.conditions[-1]
        made = await b.build(text)
        (found,) = [p for n, p in b.merged(await bench.images.find(made.id)).items() if n == "f"]
        assert found.stat().st_mode & 0o777 == 0o600
        before = bench.on_disk()["blobs"]
        file.write_text("two!")
        os.utime(file, (1_700_000_100, 1_700_000_100))
        web.marks = {"/f": '"2"'} if by == "ETag" else {}
        web.asked()
        assert await content(bench, b, text, "f") == "two!"
        assert await content(bench, b, text, "f") == "two!"
        assert web.asked() == [("/f", 200), ("/f", 304)]
        gone = before - bench.on_disk()["blobs"]
        assert len(gone) == 1  # the file as it was
        assert b"hunter2" not in database(bench)
        assert bench.on_disk()["uploads"] == set()

    with serving(tmp_path / "www", dated=by != "ETag") as web:
        run(tmp_path / "t", story)


def test_a_file_with_a_checksum_that_is_here_is_not_asked_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        file = tmp_path / "www" / "f"
        file.write_text("one")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        good = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        text = f"FROM scratch\nADD --checksum={good} {web.url}/f /f\n"
        assert await content(bench, b, text, "f") == "one"
        assert await content(bench, b, text, "f") == "one"
        assert web.asked() == [("/f", 200)]
        (tmp_path / "www" / "f").write_text("two!")
        other = f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {web.url}/f /f\n"
        assert (await refused(b, other)).code == "build.checksum"
        assert bench.on_disk()["uploads"] == set()

    with serving(tmp_path / "www") as web:
        run(tmp_path / "t", story)


def test_what_must_not_be_kept_is_not(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        for name in ("unmarked", "secret"):
            (tmp_path / "www" / name).write_text(name)
            text = f"FROM scratch\nADD {web.url}/{name} /f\n"
            for _ in range(2):
                assert await content(bench, b, text, "f") == name
            assert web.asked() == [(f"/{name}", 200)] * 2
        assert not [row for row, _ in await b.cache.all() if row.site == "fetched"]

    with serving(tmp_path / "www", dated=False) as web:
        web.marks = {"/secret": '"1"'}
        web.more = {"/secret": {"Cache-Control": "private, no-store"}}
        run(tmp_path / "t", story)


def test_not_modified_is_an_error_where_nothing_was_asked(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        error = await refused(Builder.on(bench), f"FROM scratch\nADD {web.url}/f /f\n")
        assert "status 304" in error.message

    with serving(tmp_path / "www", always={"/f": 304}) as web:
        run(tmp_path / "t", story)


def test_a_file_that_has_just_changed_may_change_again(tmp_path: Path) -> None:
    """Within the second that Last-Modified says."""

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        text = f"FROM scratch\nADD {web.url}/f /f\n"
        for word in ("one", "two"):
            (tmp_path / "www" / "f").write_text(word)
            assert await content(bench, b, text, "f") == word
        assert web.asked() == [("/f", 200)] * 2

    with serving(tmp_path / "www") as web:
        run(tmp_path / "t", story)


# --- repositories ---------------------------------------------------------------------------


@needs("git")
def test_a_commit_is_fetched_once(tmp_path: Path) -> None:
    www = tmp_path / "www"
    repository = Repository(tmp_path / "work", www / "r.git")
    first = repository.commit(f="one", Dockerfile="FROM scratch\nCOPY . /x\n")

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        url = f"{web.url.replace('://', '://me:hunter2@')}/r.git"
        assert await content(bench, b, None, "x/f", context_url=f"{url}#main") == "one"
        assert len(web.asked()) > 3
        assert await content(bench, b, None, "x/f", context_url=f"{url}#main") == "one"
        assert {path.partition("?")[0] for path, _ in web.asked()} <= {
            "/r.git/info/refs", "/r.git/HEAD",
        }  # fmt: skip
        add = f"FROM scratch\nADD {url}#{first} /y\n"
        assert await content(bench, b, add, "y/f") == "one"
        assert web.asked() == []
        repository.commit(f="two")
        assert await content(bench, b, None, "x/f", context_url=url) == "two"
        shutil.move(www / "r.git", www / "away.git")
        assert await content(bench, b, add, "y/f") == "one"
        error = await refused(b, None, context_url=f"{url}#main")
        assert error.code == "build.git"
        assert "hunter2" not in str(error) + str(error.hint)
        assert b"hunter2" not in database(bench)
        assert bench.on_disk()["uploads"] == set()

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
def test_refs_and_directories_that_are_not_there(tmp_path: Path) -> None:
    www = tmp_path / "www"
    Repository(tmp_path / "work", www / "r.git").commit(d__f="one", g="two")

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        url = f"{web.url}/r.git"
        for fragment, code in (
            ("none", "build.git-ref"),
            ("main:none", "build.git-directory"),
            ("main:g", "build.git-directory"),
            ("main:../..", "build.git-directory"),
            ("a" * 40, "build.git"),
        ):
            error = await refused(b, f"FROM scratch\nADD {url}#{fragment} /x\n")
            assert error.code == code, fragment
        assert await content(bench, b, f"FROM scratch\nADD {url}#main:d /x\n", "x/f") == "one"

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
def test_nothing_is_left_out_as_archives_would(tmp_path: Path) -> None:
    www = tmp_path / "www"
    Repository(tmp_path / "work", www / "r.git").commit(
        _gitattributes="f export-ignore\ng export-subst\n", f="kept", g="$Format:%H$"
    )

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        add = f"FROM scratch\nADD {web.url}/r.git /x\n"
        assert await content(bench, b, add, "x/f") == "kept"
        assert await content(bench, b, add, "x/g") == "$Format:%H$"

    with serving(www) as web:
        run(tmp_path / "t", story)


def _modules(**urls: str) -> str:
    return "".join(
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n' for name, url in urls.items()
    )


@needs("git")
def test_submodules(tmp_path: Path) -> None:
    www = tmp_path / "www"
    deep = Repository(tmp_path / "deep", www / "libs" / "deep.git")
    inner = Repository(tmp_path / "inner", www / "inner.git")
    outer = Repository(tmp_path / "outer", www / "outer.git")
    deepest = deep.commit(f="deep")

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        inner.link("deep", deepest)
        inner_commit = inner.commit(_gitmodules=_modules(deep="./../libs/deep.git"), f="inner")
        outer.link("inner", inner_commit)
        outer.link("skipped", inner_commit)
        outer.link("unnamed", inner_commit)
        modules = _modules(inner=f"{web.url}/inner.git", skipped=f"{web.url}/none.git")
        outer.commit(_gitmodules=f"{modules}\tupdate = none\n", f="outer")
        add = f"FROM scratch\nADD {web.url}/outer.git#main /x\n"
        assert await content(bench, b, add, "x/f") == "outer"
        assert await content(bench, b, add, "x/inner/f") == "inner"
        assert await content(bench, b, add, "x/inner/deep/f") == "deep"
        shutil.move(www / "inner.git", www / "away.git")
        web.asked()
        assert await content(bench, b, add, "x/inner/deep/f") == "deep"
        assert not [path for path, _ in web.asked() if "outer" not in path]
        below = f"FROM scratch\nADD {web.url}/outer.git#main:inner /x\n"
        assert await content(bench, b, below, "x/deep/f") == "deep"

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc", "build.address"),
        ("/etc", "build.address"),
        ("ext::sh -c id", "build.address"),
        ("--upload-pack=id", "build.address"),
        ("../../../etc", "build.submodules"),
        ("http://169.254.169.254/x.git", "build.address"),
        ("git@host.example:x.git", "build.git-ssh"),
    ],
)
def test_submodules_that_lead_elsewhere(tmp_path: Path, url: str, code: str) -> None:
    www = tmp_path / "www"
    outer = Repository(tmp_path / "outer", www / "outer.git")
    outer.link("inner", "1" * 40)
    try:
        outer.commit(_gitmodules=_modules(inner=url), f="outer")
    except subprocess.CalledProcessError:
        pytest.skip("git itself refuses to write it")

    async def story(bench: Bench) -> None:
        error = await refused(Builder.on(bench), f"FROM scratch\nADD {web.url}/outer.git /x\n")
        assert error.code in {code, "build.git"}
        assert bench.on_disk()["uploads"] == set()

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
def test_submodules_without_end(tmp_path: Path) -> None:
    www = tmp_path / "www"
    commit, last = "", None
    for number in range(10):
        last = Repository(tmp_path / f"r{number}", www / f"r{number}.git")
        if commit:
            last.link("inner", commit)
        modules = {"_gitmodules": _modules(inner=f"../r{number - 1}.git")} if commit else {}
        commit = last.commit(f="x", **modules)

    async def story(bench: Bench) -> None:
        error = await refused(Builder.on(bench), f"FROM scratch\nADD {web.url}/r9.git /x\n")
        assert error.code == "build.submodules"

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
def test_the_repository_itself_may_be_kept(tmp_path: Path) -> None:
    www = tmp_path / "www"
    repository = Repository(tmp_path / "work", www / "r.git")
    repository.commit(f="one", d__g="more")
    commit = repository.commit(f="two", Dockerfile="FROM scratch\nCOPY . /x\n")

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        url = f"{web.url.replace('://', '://me:hunter2@')}/r.git"
        add = f"FROM scratch\nADD --keep-git-dir=true {url} /x\n"
        made = await b.build(add)
        image = await bench.images.find(made.id)
        place = tmp_path / "checked"
        shutil.copytree(bench.diff(image, 0) / "x", place)

        def git(*words: str) -> str:
            return subprocess.run(
                ["git", "-C", str(place), "-c", f"safe.directory={place}", *words],
                check=True, capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip

        assert git("status", "--porcelain") == ""
        assert git("rev-parse", "HEAD") == commit
        assert git("remote", "get-url", "origin") == f"{web.url}/r.git"
        assert "hunter2" not in (place / ".git" / "config").read_text()
        git("fsck", "--strict")
        assert (await b.build(add, no_cache=("*",))).id == made.id
        plain = await b.build(f"FROM scratch\nADD {url} /x\n")
        assert "x/.git" not in b.merged(await bench.images.find(plain.id))
        keep = {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}
        kept = await b.build(None, context_url=url, args=keep)
        assert "x/.git/HEAD" in b.merged(await bench.images.find(kept.id))

    with serving(www) as web:
        run(tmp_path / "t", story)


@needs("git")
def test_what_was_fetched_goes_with_the_cache(tmp_path: Path) -> None:
    www = tmp_path / "www"
    Repository(tmp_path / "work", www / "r.git").commit(f="one")

    async def story(bench: Bench) -> None:
        b = Builder.on(bench)
        (www / "file").write_text("file")
        os.utime(www / "file", (1_700_000_000, 1_700_000_000))
        await b.build(f"FROM scratch\nADD {web.url}/r.git /x\nADD {web.url}/file /f\n")
        kept = [row for row, _ in await b.cache.all() if row.site == "fetched"]
        assert len(kept) == 2
        from wirt.host.build.roots import BuildResults
        from wirt.host.collect import Entry

        results = BuildResults(bench.layers, b.cache)
        for row in kept:
            assert row.blob.partition(":")[2] in bench.on_disk()["blobs"]
            assert await results.evict(Entry(kind="build", name=row.key, size=0, used_at=0))
            assert row.blob.partition(":")[2] not in bench.on_disk()["blobs"]

    with serving(www) as web:
        run(tmp_path / "t", story)
