"""Building: COPY, ADD, stages, the cache and what the image becomes, over a real helper."""

from __future__ import annotations

import stat
from pathlib import Path

from buildbench import Builder
from filebench import Bench, directory, docker_archive, file, run, symlink, tar
from needs import needs

pytestmark = needs("root", "overlay")

PASSWD = b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"
GROUP = b"root:x:0:\nweb:x:34:\nstaff:x:50:\n"


def base(*more: object) -> bytes:
    entries = (
        directory("etc"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        directory("srv", mode=0o700, uid=33),
        symlink("link", "srv"),
        file("plain", b"x"),
        *more,
    )
    return docker_archive(tar(*entries), tags=["base:1"])  # type: ignore[arg-type]


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
