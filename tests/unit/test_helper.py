"""The helper's loop and the daemon's client, in real processes with made-up verbs' handlers."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from helping import (
    ID,
    children,
    descriptors,
    helper_path,
    launch_verb,
    lowest_free,
    story_of,
    text,
)
from waiting import eventually
from wirt.errors import Conflict, Exhausted, Internal, Invalid, Kind, Unavailable, Unsupported
from wirt.privileged import protocol as p
from wirt.privileged import registry
from wirt.privileged.answers import all_verbs, answer_type, to_error, to_failure
from wirt.privileged.client import Helper
from wirt.privileged.server import MAX_STREAMS
from wirt.privileged.wire import Channel

__all__ = ["helper_path"]


def test_quick_and_slow_verbs_answer(path: Path) -> None:
    async def story(helper: Helper) -> None:
        pong, fds = await helper.call(p.Ping())
        assert (pong.version, fds) == ("test", [])
        done, _ = await helper.call(p.KillGuest(id="x"))
        assert done == p.Done()

    story_of(path, story)


def test_failures_arrive_as_their_kind(path: Path) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(Conflict, match="it runs") as conflict:
            await helper.call(p.KillGuest(id="conflict"))
        assert (conflict.value.hint, conflict.value.code) == ("stop it", "guest.running")
        with pytest.raises(Exhausted, match="No space left on device: /x") as full:
            await helper.call(p.KillGuest(id="full"))
        assert full.value.facts == {"errno": 28}
        with pytest.raises(Internal, match="crashed"):
            await helper.call(p.KillGuest(id="crash"))
        with pytest.raises(Internal, match="ZeroDivisionError"):
            await helper.call(p.KillGuest(id="bug"))
        with pytest.raises(Unsupported, match="FreezeGuest"):
            await helper.call(p.FreezeGuest(id="x", frozen=True))
        assert (await helper.call(p.Ping()))[0].version == "test"

    story_of(path, story)


def test_many_slow_verbs_are_in_flight_beside_quick_ones(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        stuck = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await asyncio.gather(*(helper.call(p.KillGuest(id="x")) for _ in range(60)))
        await helper.call(p.Ping())
        assert not stuck.done()
        stuck.cancel()

    story_of(path, story)


def test_an_early_answer_does_not_wait_for_the_rest(path: Path, tmp_path: Path) -> None:
    async def story(helper: Helper) -> None:
        assert (await helper.call(p.ForgetGuest(id="crash")))[0] == p.Done()
        assert (await helper.call(p.ForgetGuest(id="x")))[0] == p.Done()
        assert (await helper.call(p.ForgetGuest(id="wait")))[0] == p.Done()
        await eventually((tmp_path / "rest-x").exists, "the rest of one")
        await eventually(lambda: (tmp_path / "goes-on").exists() and pid() != "", "that of another")
        assert (await helper.call(p.Ping()))[0].version == "test"

    def pid() -> str:
        return text(tmp_path / "goes-on")

    story_of(path, story)
    while Path(f"/proc/{pid()}").exists():  # ended with the connection that had asked
        select.select([], [], [], 0.01)


def test_descriptors_go_both_ways(path: Path) -> None:
    async def story(helper: Helper) -> None:
        read, write = os.pipe()
        source = p.TreeSource(guest=ID)
        _, (back,) = await helper.call(p.ReadTree(source=source, path="/"), [write])
        os.close(write)
        assert os.read(read, 100) == b"tree"
        assert os.read(read, 100) == b""
        assert os.read(back, 100) == b"back"
        os.close(read)
        os.close(back)

    story_of(path, story)


def test_slow_readers_do_not_keep_guests_from_being_killed(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        null = os.open("/dev/null", os.O_WRONLY)
        verb = p.ReadTree(source=p.TreeSource(guest=ID), path="/wait")
        stuck = [loop.create_task(helper.call(verb, [null])) for _ in range(MAX_STREAMS + 10)]
        await helper.call(p.Ping())
        await asyncio.gather(*(helper.call(p.KillGuest(id="x")) for _ in range(5)))
        os.close(null)
        await helper.close()
        for task in stuck:
            with pytest.raises(Unavailable):
                await task

    story_of(path, story)


def test_a_child_becomes_a_program_and_lives_on(path: Path) -> None:
    async def story(helper: Helper) -> None:
        launched, (pidfd,) = await helper.call(launch_verb("x"))
        name = text(f"/proc/{launched.keeper_pid}/comm")
        assert name == "sleep\n", "answered before the program ran"
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)

    story_of(path, story)


def test_a_program_that_cannot_be_run_is_a_failure_and_undone(path: Path) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(Internal, match="No such file"):
            await helper.call(launch_verb("missing"))
        assert (path.parent / "undone-missing").exists()

    story_of(path, story)


def test_a_child_that_answers_nonsense_is_a_failure(path: Path) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(Internal, match="nonsense"):
            await helper.call(launch_verb("nonsense"))
        assert (path.parent / "undone-nonsense").exists()
        assert (await helper.call(p.Ping()))[0].version == "test"

    story_of(path, story)


def test_no_descriptors_left_is_a_failure_and_not_the_end(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        pid = int(text(path.parent / "pid"))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(pid), before[1]))
        await helper.call(p.KillGuest(id=ID))  # by the child that waits
        with pytest.raises((Exhausted, Internal), match="open files"):
            await helper.call(p.KillGuest(id=ID))
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(os.fspath(path))  # waits in the queue
            assert (await helper.call(p.Ping()))[0].pid == pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await helper.call(p.KillGuest(id=ID))

    story_of(path, story)


def test_a_request_that_is_too_large_is_the_callers_mistake(path: Path) -> None:
    async def story(helper: Helper) -> None:
        read, write = os.pipe()
        before = descriptors(os.getpid())
        tree = p.TreeSource(layers=("x" * 9_000_000,))
        with pytest.raises(Invalid, match="too large"):
            await helper.call(p.ReadTree(source=tree, path="/"), (write,))
        await helper.call(p.Ping())
        assert descriptors(os.getpid()) == before + 1, "the connection"
        os.close(read)
        os.close(write)

    story_of(path, story)


def test_work_of_a_client_that_went_away_is_ended(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await helper.call(p.Ping())
        await helper.close()
        with pytest.raises(Unavailable):
            await task
        await helper.call(p.Ping())
        assert len(children(path)) == 1, "only the one that waits for work"

    story_of(path, story)


def test_the_client_reconnects_and_tells_when_nobody_is_there(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        await helper.close()
        await helper.call(p.Ping())
        os.unlink(path)  # noqa: PTH108 - a test may block
        await helper.close()
        with pytest.raises(Unavailable, match="does not answer") as caught:
            await helper.call(p.Ping())
        assert "wirt-helper" in (caught.value.hint or "")

    story_of(path, story)


def test_a_helper_killed_meanwhile_is_unavailable(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await helper.call(p.Ping())
        os.kill(int(text(path.parent / "pid")), signal.SIGKILL)
        with pytest.raises(Unavailable, match="went away"):
            await task

    story_of(path, story)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"verb":"rm -rf"}', b'{"verb":"ping","x":1}', b"\xff\xfe",
     b'{"verb":"kill","id":7}', b'{"verb":"kill"}', b"[" * 100_000],
)  # fmt: skip
def test_malformed_requests_are_refused_and_the_connection_lives(path: Path, body: bytes) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(os.fspath(path))
    sock.sendall(struct.pack("!II", len(body), 9) + body)
    length, number = struct.unpack("!II", sock.recv(8))
    told = msgspec.json.decode(sock.recv(length))
    assert (number, told["failure"]["kind"]) == (9, "invalid")
    Channel(sock).send(1, msgspec.json.encode(p.Ping()))
    sock.settimeout(5)
    assert b"version" in sock.recv(1000)
    sock.close()


def test_every_verb_has_one_handler() -> None:
    routes = registry.routes()
    assert set(routes) == set(all_verbs())
    assert all(routes[verb].then is None or verb.slow for verb in routes)
    assert registry.sweepers()


def test_the_helper_loads_no_event_loop() -> None:
    code = "import sys; from wirt.privileged import __main__; print('asyncio' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_every_verb_names_an_answer_of_the_protocol() -> None:
    verbs = all_verbs()
    assert len(verbs) >= 25
    for verb in verbs:
        assert getattr(p, answer_type(verb).__name__) is answer_type(verb)


def test_a_full_disk_comes_with_what_would_help() -> None:
    told = to_error(to_failure(OSError(errno.ENOSPC, "No space left on device", "/x")))
    assert (told.kind, told.message) == (Kind.EXHAUSTED, "No space left on device: /x")
    assert "wirt df" in (told.hint or "")
    assert to_error(to_failure(OSError(errno.EMFILE, "Too many open files"))).hint is None
