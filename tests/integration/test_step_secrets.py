"""Secrets of steps: seen by the step, and in nothing that is or was on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from pathlib import Path

import pytest

from helperlab import Lab
from needs import needs
from stepbench import Bench, boxes, tell
from waiting import eventually
from wirt.aio import beside
from wirt.errors import Invalid
from wirt.host.build.caches import name_of
from wirt.image.build.step import CacheMount, RunStep, SecretMount, StepFailed

box = pytest.fixture(boxes)
pytestmark = needs("root", "mountns", "overlay", "crun", "busybox", "keeper")

SECRET = b"correct-horse-battery-staple"


def scan(folder: Path, needle: bytes) -> list[Path]:
    """Files that hold these bytes, compressed or not."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        with contextlib.suppress(OSError, EOFError):
            data += gzip.decompress(data)
        if needle in data:
            found.append(path)
    return found


def test_secrets_are_in_nothing_that_is_left(box: Lab) -> None:
    async def story(b: Bench) -> None:
        secret = SecretMount(target="/run/secrets/key", content=SECRET, mode=0o440, uid=1000)
        made = await b.run(
            "stat -c '%a %u' /run/secrets/key; cat /run/secrets/key | wc -c || true;"
            "test $TOKEN = correct-horse-battery-staple && echo same; echo x > /tmp/x",
            mounts=(secret,),
            secret_env=("TOKEN=" + SECRET.decode(),),
        )
        assert "440 1000" in b.output
        assert "same" in b.output
        assert SECRET.decode() not in repr(secret)
        with pytest.raises(StepFailed) as caught:
            await b.run("cat /run/secrets/key; exit 1", mounts=(secret,), keep_failed=True)
        assert SECRET.decode() not in str(caught.value.__dict__)
        assert scan(box.layout.state, SECRET) == [
            path for path in scan(box.layout.state, SECRET) if "/log/" in str(path)
        ]
        await b.steps.drop(caught.value.guest)
        async with asyncio.timeout(20):
            while list(box.layout.gone.iterdir()):  # noqa: ASYNC110 - files go later
                await asyncio.sleep(0.02)
        assert scan(box.layout.state, SECRET) == []
        assert scan(box.layout.run, SECRET) == []
        assert made.size == 2

    tell(box, story)


@pytest.mark.parametrize("user", ["", "app"])
def test_secret_variables_stand_in_no_file_meanwhile(box: Lab, user: str) -> None:
    async def story(b: Bench) -> None:
        cache = CacheMount(target="/c", id="signal", mode=0o777)
        own = box.layout.caches / name_of("signal") / "_data"
        script = (
            "printf %s $TOKEN | sha256sum | head -c 64; echo -$OTHER-$PLAIN;"
            "wc -c < /dev/.wirt-variables; touch /c/up; until test -e /c/go; do sleep 0.05; done"
        )
        step = RunStep(
            argv=("/bin/sh", "-c", script),
            env=("PATH=/bin", "PLAIN=p"),
            secret_env=("TOKEN=" + SECRET.decode(), "OTHER=two\nlines"),
            network="none",
            user=user,
            mounts=(cache,),
        )
        async with beside(b.go(step)) as running:
            await eventually((own / "up").exists, "the step runs")
            places = (box.layout.state, box.layout.run, Path("/run/crun"))
            assert [path for place in places for path in scan(place, SECRET)] == []
            (own / "go").touch()
            assert (await running).empty
        assert b.output == f"{hashlib.sha256(SECRET).hexdigest()}-two lines-p\n0\n"

    tell(box, story)


def test_a_missing_program_with_secret_variables(box: Lab) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(StepFailed) as caught:
            await b.go(RunStep(argv=("nosuch",), network="none", secret_env=("A=b",)))
        assert caught.value.exit_code == 127
        assert "nosuch" in b.output

    tell(box, story)


def test_bad_secrets_are_refused_without_being_told(box: Lab) -> None:
    async def story(b: Bench) -> None:
        for wrong in (SECRET.decode(), "=" + SECRET.decode(), f"A={SECRET.decode()}\0"):
            with pytest.raises(Invalid) as caught:
                await b.run("true", secret_env=(wrong,))
            assert SECRET.decode() not in str(caught.value)
        with pytest.raises(Invalid, match="600000 bytes"):
            await b.run("true", mounts=(SecretMount(target="/s", content=b"x" * 600_000),))

    tell(box, story)
