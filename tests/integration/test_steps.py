"""Steps of builds: run for real, what they leave as layers, and that nothing else is left."""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
import time

import pytest

from helperlab import LAYER, Lab
from needs import needs
from stepbench import Bench, boxes, tell
from wirt.errors import Invalid, NotFound, Timeout
from wirt.image.build.step import STDERR, STDOUT, LayerMade, RunStep, StepFailed

box = pytest.fixture(boxes)
pytestmark = needs("root", "mountns", "overlay", "crun", "busybox", "keeper")


def names(b: Bench, made: LayerMade) -> list[str]:
    """What the blob of a layer holds."""
    data = gzip.decompress(b.ground.store.path(made.blob).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_a_step_becomes_a_layer(box: Lab) -> None:
    async def story(b: Bench) -> None:
        made = await b.run("echo hello > /tmp/a; echo out; echo err >&2", epoch=1000)
        assert sorted(b.told) == [(STDOUT, b"out\n"), (STDERR, b"err\n")]
        assert names(b, made) == ["tmp", "tmp/a"]
        assert (b.files(made) / "tmp/a").read_text() == "hello\n"
        assert (b.files(made) / "tmp/a").stat().st_mtime == 1000
        again = await b.run("sleep 0.02; echo hello > /tmp/a", epoch=1000)
        assert again == made
        after = await b.run("cat /tmp/a; rm /tmp/a", base=(LAYER, made.chain_id))
        assert b.output == "hello\n"
        assert names(b, after) == ["tmp", "tmp/.wh.a"]

    tell(box, story)


def test_nothing_changed_is_an_empty_layer(box: Lab) -> None:
    async def story(b: Bench) -> None:
        made = await b.run("true; cat /etc/resolv.conf /etc/hosts > /dev/null")
        assert made.empty
        assert names(b, made) == []

    tell(box, story)


def test_what_a_step_leaves_counts_in_the_budget_at_once(box: Lab) -> None:
    async def story(b: Bench) -> None:
        budget = b.ground.layers.budget
        before = budget.used
        await b.run("for n in $(seq 300); do echo x > /crumb$n; done", epoch=1)
        grown = budget.used - before
        assert grown >= 300 * 4096, "each file has a block of its own"
        await b.run("for n in $(seq 300); do echo x > /crumb$n; done", epoch=1)
        assert budget.used - before < 2 * grown, "the same layer is there once"

    tell(box, story)


def test_a_failed_step_that_is_kept_holds_what_it_was_made_from(box: Lab) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(StepFailed) as caught:
            await b.run("exit 7", keep_failed=True)
        assert LAYER in b.ground.layers.held
        await b.steps.drop(caught.value.guest)
        assert LAYER not in b.ground.layers.held

    tell(box, story)


def test_a_failing_step_leaves_nothing(box: Lab) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(StepFailed, match=r"\[build 2/3\] ended with exit code 7") as caught:
            await b.run("echo x > /x; exit 7", name="[build 2/3]")
        assert (caught.value.exit_code, caught.value.guest) == (7, "")
        with pytest.raises(Invalid, match="nosuch"):
            await b.go(RunStep(argv=("nosuch",), network="none"))
        with pytest.raises(Timeout):
            await b.run("sleep 100", timeout=0.3)
        assert b.steps.guests == frozenset()

    tell(box, story)


def test_user_directory_environment_and_input(box: Lab) -> None:
    async def story(b: Bench) -> None:
        await b.run(
            "id -u; pwd; echo $NAME$HIDDEN; cat; hostname",
            user="app", cwd="/data", env=("PATH=/bin", "NAME=n"), secret_env=("HIDDEN=h",),
            stdin=b"input\n", hostname="named",
        )  # fmt: skip
        assert b.output == "1000\n/data\nnh\ninput\nnamed\n"

    tell(box, story)


def test_the_default_network_has_a_way_out_and_none_has_not(box: Lab) -> None:
    async def story(b: Bench) -> None:
        await b.run("ip addr show eth0", network="default")
        assert "10.2" in b.output
        with pytest.raises(StepFailed):
            await b.run("ip addr show eth0")
        await b.run("ip -o link", network="host")
        assert f"{b.ground.layout.name}0" in b.output

    tell(box, story)


def test_steps_run_at_the_same_time(box: Lab) -> None:
    async def story(b: Bench) -> None:
        steps = [b.run(f"sleep 0.3; echo {n} > /n", network="default") for n in range(4)]
        made = await asyncio.gather(*steps)
        assert len({one.chain_id for one in made}) == 4

    tell(box, story)


def test_a_cancelled_step_is_gone(box: Lab) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(b.run("echo up; sleep 100"), 1)
        assert b.steps.guests == frozenset()

    tell(box, story)


def test_a_kept_step_is_there_until_dropped(box: Lab) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(StepFailed) as caught:
            await b.run("echo x > /x; exit 1", keep_failed=True)
        guest = caught.value.guest
        assert (b.ground.layout.guest_state(guest) / "upper/x").exists()
        await b.steps.drop(guest)
        await b.steps.drop(guest)
        with pytest.raises(NotFound):
            await b.steps.shell(guest, ("sh",), 0, rows=0, columns=0)

    tell(box, story)


def test_a_trivial_step_is_quick(box: Lab) -> None:
    async def story(b: Bench) -> None:
        await b.run("true")
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            await b.run("echo x > /x")
            took.append(time.perf_counter() - begin)
        assert sorted(took)[2] < 2  # a bar against gross mistakes; the bench measures

    tell(box, story)
