"""Building: COPY, ADD, stages, the cache and what the image becomes, over a real helper."""

from __future__ import annotations

import base64
import gzip
import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

from buildbench import Builder
from filebench import Bench, Entry, directory, docker_archive, file, run, symlink, tar
from needs import needs
from wirt.errors import Invalid, NotFound, WirtError, primary
from wirt.host.build.wish import NamedContext, Output
from wirt.image.build.settings import DEFAULT_PATH
from wirt.image.build.step import SecretMount, StepFailed

pytestmark = needs("root", "overlay")

PASSWD = b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"
GROUP = b"root:x:0:\nweb:x:34:\nstaff:x:50:\n"


def base(*more: Entry) -> bytes:
    entries = (
        directory("etc"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        directory("srv", mode=0o700, uid=33),
        symlink("link", "srv"),
        file("plain", b"x"),
        *more,
    )
    return docker_archive(tar(*entries), tags=["base:1"])


def test_a_first_build_end_to_end(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        text = (
            "FROM base:1\nENV A=1\nWORKDIR /app\nCOPY . .\nRUN make\n"
            'CMD ["serve"]\nEXPOSE 80\nLABEL x=y\n'
        )
        context = (directory("src"), file("src/a.c", b"int a;"), file("run.sh", b"#!", mode=0o755))
        made = await b.build(text, *context, tags=("made:1", "other"))
        image = await bench.images.find(made.id)
        assert made.names == ("made:1", "other:latest")
        assert (await bench.images.find("other")).id == image.id
        assert b.statuses() == ["done", "done", "done"]
        found = b.merged(image)
        assert found["app/src/a.c"].read_bytes() == b"int a;"
        assert stat.S_IMODE(found["app/run.sh"].stat().st_mode) == 0o755
        assert image.config.env[-1] == "A=1"
        assert image.config.cmd == ("serve",)
        assert image.config.working_dir == "/app"
        assert image.config.exposed_ports == ("80/tcp",)
        assert b.runner.steps[0].cwd == "/app"
        assert "A=1" in b.runner.steps[0].env
        history = await bench.images.history("made:1")
        assert [line.created_by for line in reversed(history)][-7:] == [
            "ENV A=1", "WORKDIR /app", "COPY . .", "RUN /bin/sh -c make", 'CMD ["serve"]',
            "EXPOSE [80/tcp]", "LABEL x=y",
        ]  # fmt: skip

        again = await b.build(text, *context, tags=("made:1",))
        assert again.id == image.id
        assert b.statuses() == ["cached", "cached", "cached"]
        assert b.runner.steps == []
        fresh = await b.build(text, *context, no_cache=("*",))
        assert fresh.id == image.id
        assert b.statuses() == ["done", "done", "done"]

    run(tmp_path, story)


COPIES = (
    # Dockerfile lines, then what must be where: path to content (None: a directory)
    ("COPY a.txt /x", {"x": b"a"}),
    ("COPY a.txt /x/", {"x/a.txt": b"a"}),
    ("COPY a.txt /srv", {"srv/a.txt": b"a"}),
    ("COPY a.txt b.txt /x/", {"x/a.txt": b"a", "x/b.txt": b"b"}),
    ("COPY *.txt /x/", {"x/a.txt": b"a", "x/b.txt": b"b"}),
    ("COPY d /x", {"x/one": b"1", "x/e/two": b"2", "x/e": None}),
    ("COPY d/ /x/", {"x/one": b"1", "x/e/two": b"2"}),
    ("COPY d/e /x", {"x/two": b"2"}),
    ("COPY d/* /x/", {"x/one": b"1", "x/two": b"2"}),
    ("COPY ../../a.txt /x", {"x": b"a"}),
    ("COPY /a.txt x", {"x": b"a"}),
    ("WORKDIR /w\nCOPY a.txt .", {"w/a.txt": b"a"}),
    ("COPY a.txt /deep/er/", {"deep/er/a.txt": b"a", "deep": None}),
    ("COPY --parents d/e/two /x/", {"x/d/e/two": b"2"}),
    ("COPY --parents ./d/./e/two /x/", {"x/e/two": b"2"}),
    ("COPY --parents d/**/two /x/", {"x/d/e/two": b"2"}),
    ("COPY --exclude=e d /x", {"x/one": b"1"}),
    ("COPY to-a /x", {"x": b"a"}),
    ("COPY <<one <<two /x/\n1\none\n2\ntwo", {"x/one": b"1\n", "x/two": b"2\n"}),
    ("COPY a.txt /link/", {"srv/a.txt": b"a"}),
    ("COPY --link a.txt /fresh/", {"fresh/a.txt": b"a"}),
    ("ADD inner.tar.gz /x", {"x/in/side": b"deep"}),
    ("ADD --unpack=false inner.tar.gz /x/", {"x/inner.tar.gz": None}),
    ("ADD broken.gz /x/", {"x/broken.gz": b"\x1f\x8b\x08junk"}),
    ("COPY inner.tar.gz /x/", {"x/inner.tar.gz": None}),
)
CONTEXT = (
    file("a.txt", b"a"), file("b.txt", b"b"), directory("d"), file("d/one", b"1"),
    directory("d/e"), file("d/e/two", b"2"), symlink("to-a", "/a.txt"),
    symlink("out", "/../../../etc"), file("[odd]", b"o"),
    file("inner.tar.gz", gzip.compress(tar(file("in/side", b"deep", uid=7, mode=0o600)), mtime=0)),
    file("broken.gz", b"\x1f\x8b\x08junk"),
)  # fmt: skip


def test_copy_puts_files_where_docker_does(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        for lines, wanted in COPIES:
            made = await b.build(f"FROM base:1\n{lines}\n", *CONTEXT)
            found = b.merged(await bench.images.find(made.id))
            for path, content in wanted.items():
                assert path in found, (lines, sorted(found))
                if content is not None:
                    assert found[path].read_bytes() == content, (lines, path)
            assert "in" not in found

    run(tmp_path, story)


def test_what_copy_refuses_names_the_line(tmp_path: Path) -> None:
    refused = (
        ("COPY nothing /x", "Dockerfile:2: there is no 'nothing' in the build context"),
        ("COPY *.zip /x/", "Dockerfile:2: nothing in the build context matches '*.zip'"),
        ("COPY d /plain", "Dockerfile:2: '/plain' is a file in the image"),
        ("COPY a.txt b.txt /plain", "several sources"),
        ("COPY a.txt /plain/x", "Dockerfile:2: '/plain' is no directory in the image"),
        ("COPY --chown=nobody:x a.txt /x", "is not in the guest's /etc/"),
        ("COPY out /x", "Dockerfile:2: there is no 'out'"),
        ("WORKDIR /plain", "Dockerfile:2: '/plain' is a file in the image"),
        ("RUN exit 7", "Dockerfile:2: the command 'RUN exit 7' ended with exit code 7"),
        ("COPY --from=nope:1 /x /x", "No such image: nope:1"),
    )

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        before = bench.on_disk()
        for line, wanted in refused:
            with pytest.raises((WirtError, ExceptionGroup)) as caught:
                await b.build(f"FROM base:1\n{line}\n", *CONTEXT)
            error = primary(caught.value)
            assert wanted in str(error), (line, str(error))
            if "RUN" in line:
                assert isinstance(error, StepFailed)
                assert error.exit_code == 7
        assert bench.on_disk() == before

    run(tmp_path, story)


def test_owners_and_modes(tmp_path: Path) -> None:
    cases = (
        ("COPY a.txt /x", (0, 0, 0o644)),
        ("COPY --chown=web a.txt /x", (33, 34, 0o644)),
        ("COPY --chown=web:staff a.txt /x", (33, 50, 0o644)),
        ("COPY --chown=55 a.txt /x", (55, 55, 0o644)),
        ("COPY --chown=55:66 --chmod=0640 a.txt /x", (55, 66, 0o640)),
        ("COPY --chmod=u=rwX,go=rX a.txt /x", (0, 0, 0o644)),
        ("COPY --chmod=+x --link --chown=5 a.txt /x", (5, 5, 0o755)),
    )

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        for line, (uid, gid, mode) in cases:
            context = (file("a.txt", b"a", uid=1000, gid=1000),)
            made = await b.build(f"FROM base:1\n{line}\n", *context)
            status = b.merged(await bench.images.find(made.id))["x"].stat()
            assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
                uid, gid, mode,
            ), line  # fmt: skip
        # a directory that is there keeps its owner and mode; one that is made takes the source's
        nested = (directory("d", mode=0o711), file("d/f", b""))
        made = await b.build("FROM base:1\nCOPY d /srv\nCOPY d /new\n", *nested)
        found = b.merged(await bench.images.find(made.id))
        assert (found["srv"].stat().st_uid, found["srv"].stat().st_mode & 0o777) == (33, 0o700)
        assert found["new"].stat().st_mode & 0o777 == 0o711

    run(tmp_path, story)


def test_what_misses_the_cache_and_why(tmp_path: Path) -> None:
    text = "FROM base:1\nARG V=1\nCOPY a.txt /x\nRUN make $V\nCOPY b.txt /y\n"

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)

        async def go(a: bytes = b"a", mode: int = 0o644, time: int = 5, **wish: object) -> None:
            context = (file("a.txt", a, mode=mode, mtime=time), file("b.txt", b"b"))
            await b.build(text, *context, explain=True, **wish)

        await go()
        assert b.statuses() == ["done", "done", "done"]
        assert b.explained() == ["it was never built here"] * 3
        await go(time=77)  # times are no input
        assert b.statuses() == ["cached", "cached", "cached"]
        await go(mode=0o600)
        assert b.statuses() == ["done", "done", "done"]
        assert b.explained()[0] == "file . changed"
        await go(args={"V": "2"})  # an ARG counts where it is used, by every later RUN
        # ... and a step after it only if that RUN left other files than before
        assert b.statuses() == ["cached", "done", "cached"]
        assert b.explained()[0] == "the variable V changed"
        await go(args={"HTTP_PROXY": "http://p"})
        assert b.statuses() == ["cached", "cached", "cached"]
        await go(no_cache=("stage-0",))
        assert b.statuses() == ["done", "done", "done"]

    run(tmp_path, story)


def test_only_needed_stages_run(tmp_path: Path) -> None:
    text = (
        "FROM base:1 AS one\nRUN one\nFROM base:1 AS two\nRUN two\n"
        "FROM scratch AS three\nCOPY --from=one /ran /ran\n"
    )

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        made = await b.build(text)
        assert [s.argv[-1] for s in b.runner.steps] == ["one"]
        image = await bench.images.find(made.id)
        assert len(image.chain_ids) == 1
        assert image.config.env == (f"PATH={DEFAULT_PATH}",)
        await b.build(text, target="TWO")
        assert [s.argv[-1] for s in b.runner.steps] == ["two"]
        with pytest.raises(NotFound, match="has no stage 'four'"):
            await b.build(text, target="four")

    run(tmp_path, story)


def test_onbuild_runs_once_in_the_child(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        await b.build("FROM base:1\nONBUILD RUN trigger\nONBUILD ENV T=1\n", tags=("parent",))
        assert b.runner.steps == []
        made = await b.build("FROM parent\nRUN own\n", tags=("child",))
        assert [s.argv[-1] for s in b.runner.steps] == ["trigger", "own"]
        assert "T=1" in (await bench.images.find(made.id)).config.env
        await b.build("FROM child\nRUN grand\n")
        assert [s.argv[-1] for s in b.runner.steps] == ["grand"]

    run(tmp_path, story)


def test_the_result_as_bytes(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        before = {image.id for image in await bench.images.all()}
        text = "FROM base:1\nCOPY a.txt /x\n"
        for kind in ("tar", "oci", "docker"):
            made = await b.build(text, *CONTEXT, output=Output(kind=kind))
            assert made.output is not None
            data = b"".join([chunk async for chunk in made.output])
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                names = {name.removeprefix("./") for name in archive.getnames()}
            wanted = {"tar": "x", "oci": "oci-layout", "docker": "manifest.json"}[kind]
            assert wanted in names
        assert {image.id for image in await bench.images.all()} == before

    run(tmp_path, story)


def test_secrets_reach_the_step_and_nothing_else(tmp_path: Path) -> None:
    secret = b"correct horse battery staple"
    text = (
        "FROM base:1\nRUN --mount=type=secret,id=key,required=true use\n"
        "RUN --mount=type=secret,id=key,env=KEY also\n"
    )

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        given = {"key": base64.b64encode(secret).decode()}
        await b.build(text, tags=("s",), secrets=given)
        first, second = b.runner.steps
        (mount,) = first.mounts
        assert isinstance(mount, SecretMount)
        assert (mount.content, mount.target) == (secret, "/run/secrets/key")
        assert second.secret_env == (f"KEY={secret.decode()}",)
        for path in [*bench.layout.blobs.rglob("*"), bench.layout.database]:
            if path.is_file():
                assert secret not in path.read_bytes()
                assert given["key"].encode() not in path.read_bytes()
        assert secret.decode() not in json.dumps(b.told)
        with pytest.raises(ExceptionGroup) as caught:
            await b.build(text, no_cache=("*",))
        assert "the secret 'key' was not given" in str(primary(caught.value))

    run(tmp_path, story)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    text = "FROM base:1\nWORKDIR /w\nCOPY . .\nRUN make\nLABEL b=1 a=2\n"

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        one = (file("x", b"1", mtime=5), file("y", b"2", mtime=6))
        other = (file("y", b"2", mtime=7, uid=9), file("x", b"1", mtime=8))
        first = await b.build(text, *one)
        second = await b.build(text, *other, no_cache=("*",), verify=True)
        assert (first.id, first.manifest) == (second.id, second.manifest)
        dated = await b.build(text, *one, args={"SOURCE_DATE_EPOCH": "1700000000"})
        image = await bench.images.find(dated.id)
        assert image.created_at == 1_700_000_000 * 10**9
        assert b.merged(image)["w/x"].stat().st_mtime == 1_700_000_000
        assert "SOURCE_DATE_EPOCH=1700000000" in b.runner.steps[0].env

    run(tmp_path, story)


def test_the_context_may_bring_the_dockerfile(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        inside = file("sub/Dockerfile.x", b"FROM base:1\nCOPY a.txt /x\n")
        made = await b.build(None, *CONTEXT, inside, dockerfile_name="sub/Dockerfile.x")
        assert b.merged(await bench.images.find(made.id))["x"].read_bytes() == b"a"
        with pytest.raises(NotFound, match="there is no Dockerfile in the build context"):
            await b.build(None, *CONTEXT)
        with pytest.raises(Invalid, match="Dockerfile:2:1: there is no instruction"):
            await b.build("FROM base:1\nCOPPY a b\n", *CONTEXT)

    run(tmp_path, story)


def test_named_contexts(tmp_path: Path) -> None:
    text = "FROM base:1\nCOPY --from=more /f /x\nCOPY --from=pic /plain /y\n"

    async def story(bench: Bench) -> None:
        await bench.load(base())
        b = Builder.on(bench)
        contexts = (
            NamedContext(name="more", prefix=".p"),
            NamedContext(name="pic", image="base:1"),
        )
        made = await b.build(text, file(".p/f", b"more"), contexts=contexts)
        found = b.merged(await bench.images.find(made.id))
        assert (found["x"].read_bytes(), found["y"].read_bytes()) == (b"more", b"x")
        made = await b.build("FROM base:1\nCOPY . /all/\n", *CONTEXT, file(".p/f"),
                             contexts=contexts)  # fmt: skip
        assert "all/.p" not in b.merged(await bench.images.find(made.id))

    run(tmp_path, story)
