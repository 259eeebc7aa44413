"""The process door, tried with real small programs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from wirt.errors import Internal, Timeout, Unsupported
from wirt.linux import spawn
from wirt.linux.spawn import CommandFailed, Result

Runner = Callable[..., Result]


def _in_loop(*args: object, **options: object) -> Result:
    return asyncio.run(spawn.run(*args, **options))  # type: ignore[arg-type]


@pytest.fixture(params=[_in_loop, spawn.run_sync], ids=["async", "sync"])
def run(request: pytest.FixtureRequest) -> Runner:
    runner: Runner = request.param
    return runner


def test_output_and_status_are_told(run: Runner) -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], ok=(3,))
    assert (result.code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


def test_input_larger_than_a_pipe_goes_through(run: Runner) -> None:
    data = os.urandom(1_000_000)
    assert run(["cat"], stdin=data).stdout == data


def test_a_program_that_ignores_its_input_is_no_error(run: Runner) -> None:
    assert run(["true"], stdin=b"x" * 1_000_000).code == 0


def test_standard_input_is_empty_by_default(run: Runner) -> None:
    assert run(["cat"]).stdout == b""


def test_the_environment_is_rebuilt(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    lines = run(["env"], env={"A": "b"}).text.splitlines()
    assert "A=b" in lines
    assert not any(line.startswith("SECRET") for line in lines)


def test_failure_names_program_status_and_complaint(run: Runner) -> None:
    with pytest.raises(CommandFailed, match=r"sh failed with status 7: bad \| worse") as caught:
        run(["sh", "-c", "echo bad >&2; echo worse >&2; exit 7"])
    assert caught.value.result.code == 7


def test_death_by_signal_is_told(run: Runner) -> None:
    with pytest.raises(CommandFailed, match="signal 9"):
        run(["sh", "-c", "kill -9 $$"])


def test_a_missing_program_is_unsupported(run: Runner) -> None:
    with pytest.raises(Unsupported, match="no-such-program") as caught:
        run(["no-such-program"])
    assert caught.value.hint is not None


def test_timeout_ends_the_whole_family(run: Runner) -> None:
    with pytest.raises(Timeout, match="longer than"):
        run(["sh", "-c", "sleep 100 & sleep 100"], timeout=0.1)


def test_too_much_output_ends_the_program(run: Runner) -> None:
    with pytest.raises(Internal, match="more than 1000 bytes"):
        run(["sh", "-c", "yes; true"], max_output=1000)


def test_a_daemonised_child_is_not_waited_for(run: Runner) -> None:
    child = int(run(["sh", "-c", "sleep 1000 & echo $!"], timeout=20).stdout)
    os.kill(child, signal.SIGKILL)  # it lives


def test_descriptors_are_passed_only_when_named(run: Runner) -> None:
    read, write = os.pipe()
    try:
        run(["sh", "-c", f"echo hi >/proc/self/fd/{write}"], pass_fds=(write,))
        assert os.read(read, 10) == b"hi\n"
        with pytest.raises(CommandFailed):
            run(["sh", "-c", f"echo hi >/proc/self/fd/{write}"])
    finally:
        os.close(read)
        os.close(write)


def test_cancelling_kills() -> None:
    async def story() -> None:
        task = asyncio.get_running_loop().create_task(spawn.run(["sleep", "100"]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
