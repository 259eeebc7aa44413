"""The helper's loop and the daemon's client, in real processes with made-up verbs' handlers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waiting import eventually
from wirt.errors import Conflict, Exhausted, Internal, Invalid, Unavailable, Unsupported
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged import protocol as p
from wirt.privileged import registry
from wirt.privileged.answers import all_verbs, answer_type
from wirt.privileged.client import Helper
from wirt.privileged.context import Become, Context, Early, Ended, Outcome, Route, Sent, on
from wirt.privileged.server import MAX_STREAMS, Server
from wirt.privileged.wire import Channel

ID = "a" * 64


def _context(tmp: Path) -> Context:
    return Context(
        layout=Layout(name="wt", state=tmp, run=tmp),
        uid=os.getuid(),
        gid=os.getgid(),
        cgroups=Cgroups(v1={}, v2=None),
        keeper=Path("/bin/true"),
    )


def _ping(_ctx: Context, _verb: p.Ping, _fds: Sequence[int]) -> p.Pong:
    return p.Pong(pid=os.getpid(), version="test")


def _kill(_ctx: Context, verb: p.KillGuest, _fds: Sequence[int]) -> p.Done:
    """A slow verb with many ends, told by the id."""
    if verb.id == "conflict":
        raise Conflict("it runs", hint="stop it", code="guest.running")
    if verb.id == "full":
        raise OSError(28, "write: No space left on device", "/x")
    if verb.id == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if verb.id == "bug":
        raise ZeroDivisionError
    if verb.id == "wait":
        signal.pause()
    return p.Done()


def _read(_ctx: Context, verb: p.ReadTree, fds: Sequence[int]) -> Sent[p.Done]:
    if verb.path == "/wait":
        signal.pause()
    os.write(fds[0], b"tree")
    read, write = os.pipe()
    os.write(write, b"back")
    os.close(write)
    return Sent(answer=p.Done(), fds=(read,))


def _launch(_ctx: Context, verb: p.LaunchGuest, _fds: Sequence[int]) -> Become[p.Launched]:
    if verb.id == "nonsense":
        return p.Done()  # type: ignore[return-value]
    program = "/nonexistent" if verb.id == "missing" else "/bin/sleep"
    answer = p.Launched(keeper_pid=os.getpid(), keeper_start=1)
    return Become(answer=answer, argv=(program, "100"), env={})


def _launched(ctx: Context, verb: p.LaunchGuest, ended: Ended[p.Launched]) -> Ended[p.Launched]:
    if isinstance(ended.answer, p.Failure):
        (ctx.layout.run / f"undone-{verb.id}").touch()
        return ended
    return Ended(pid=ended.pid, answer=ended.answer, fds=(os.pidfd_open(ended.pid),))


def _forget(ctx: Context, verb: p.ForgetGuest, _fds: Sequence[int]) -> Outcome[p.Done]:
    """Answers, and goes on: for ever, into a crash, or until it has left a file."""

    def rest() -> None:
        if verb.id == "wait":
            (ctx.layout.run / "goes-on").write_text(str(os.getpid()))
            signal.pause()
        if verb.id == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        (ctx.layout.run / f"rest-{verb.id}").touch()

    return Early(answer=p.Done(), rest=rest)


ROUTES: tuple[Route[Any, Any], ...] = (
    on(p.ForgetGuest, _forget),
    on(p.Ping, _ping),
    on(p.KillGuest, _kill),
    on(p.ReadTree, _read),
    on(p.LaunchGuest, _launch, then=_launched),
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A helper in a forked process."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            Server(_context(tmp_path), listener, {r.verb: r for r in ROUTES}).serve()
        os._exit(1)
    listener.close()
    (tmp_path / "pid").write_text(str(pid))
    yield path
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _story(path: Path, story: Callable[[Helper], Awaitable[None]]) -> None:
    async def run() -> None:
        helper = Helper(path, patience=0.2)
        try:
            await asyncio.wait_for(story(helper), 20)
        finally:
            await helper.close()

    asyncio.run(run())


def _text(path: str | Path) -> str:
    return Path(path).read_text()


def _children(path: Path) -> list[int]:
    server = _text(path.parent / "pid")
    return [int(pid) for pid in _text(f"/proc/{server}/task/{server}/children").split()]


def _end(pid: int) -> None:
    """Kill a process and wait until it is dead."""
    fd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([fd], [], [], 5)
    os.close(fd)


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _lowest_free(pid: int) -> int:
    used = {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in itertools.count() if str(number) not in used)


def _launch_verb(name: str) -> p.LaunchGuest:
    return p.LaunchGuest(
        id=name, tty=False, stdin=False, stdin_once=False, network="private", log_size=1,
        log_files=1,
    )  # fmt: skip


def test_quick_and_slow_verbs_answer(path: Path) -> None:
    async def story(helper: Helper) -> None:
        pong, fds = await helper.call(p.Ping())
        assert (pong.version, fds) == ("test", [])
        done, _ = await helper.call(p.KillGuest(id="x"))
        assert done == p.Done()

    _story(path, story)


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

    _story(path, story)


def test_many_slow_verbs_are_in_flight_beside_quick_ones(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        stuck = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await asyncio.gather(*(helper.call(p.KillGuest(id="x")) for _ in range(60)))
        await helper.call(p.Ping())
        assert not stuck.done()
        stuck.cancel()

    _story(path, story)


def test_an_early_answer_does_not_wait_for_the_rest(path: Path, tmp_path: Path) -> None:
    async def story(helper: Helper) -> None:
        assert (await helper.call(p.ForgetGuest(id="crash")))[0] == p.Done()
        assert (await helper.call(p.ForgetGuest(id="x")))[0] == p.Done()
        assert (await helper.call(p.ForgetGuest(id="wait")))[0] == p.Done()
        await eventually((tmp_path / "rest-x").exists, "the rest of one")
        await eventually(lambda: (tmp_path / "goes-on").exists() and pid() != "", "that of another")
        assert (await helper.call(p.Ping()))[0].version == "test"

    def pid() -> str:
        return _text(tmp_path / "goes-on")

    _story(path, story)
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

    _story(path, story)


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

    _story(path, story)


def test_a_child_becomes_a_program_and_lives_on(path: Path) -> None:
    async def story(helper: Helper) -> None:
        launched, (pidfd,) = await helper.call(_launch_verb("x"))
        name = _text(f"/proc/{launched.keeper_pid}/comm")
        assert name == "sleep\n", "answered before the program ran"
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)

    _story(path, story)


def test_a_program_that_cannot_be_run_is_a_failure_and_undone(path: Path) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(Internal, match="No such file"):
            await helper.call(_launch_verb("missing"))
        assert (path.parent / "undone-missing").exists()

    _story(path, story)


def test_a_child_that_answers_nonsense_is_a_failure(path: Path) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(Internal, match="nonsense"):
            await helper.call(_launch_verb("nonsense"))
        assert (path.parent / "undone-nonsense").exists()
        assert (await helper.call(p.Ping()))[0].version == "test"

    _story(path, story)


def test_no_descriptors_left_is_a_failure_and_not_the_end(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        pid = int(_text(path.parent / "pid"))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_lowest_free(pid), before[1]))
        await helper.call(p.KillGuest(id=ID))  # by the child that waits
        with pytest.raises((Exhausted, Internal), match="open files"):
            await helper.call(p.KillGuest(id=ID))
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(os.fspath(path))  # waits in the queue
            assert (await helper.call(p.Ping()))[0].pid == pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await helper.call(p.KillGuest(id=ID))

    _story(path, story)


def test_a_request_that_is_too_large_is_the_callers_mistake(path: Path) -> None:
    async def story(helper: Helper) -> None:
        read, write = os.pipe()
        before = _descriptors(os.getpid())
        tree = p.TreeSource(layers=("x" * 9_000_000,))
        with pytest.raises(Invalid, match="too large"):
            await helper.call(p.ReadTree(source=tree, path="/"), (write,))
        await helper.call(p.Ping())
        assert _descriptors(os.getpid()) == before + 1, "the connection"
        os.close(read)
        os.close(write)

    _story(path, story)


def test_one_child_waits_for_work_and_is_replaced(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        for _ in range(3):
            (waiting,) = _children(path)
            launched, fds = await helper.call(_launch_verb("a"))
            assert launched.keeper_pid == waiting
            os.close(fds[0])
            _end(waiting)
            await helper.call(p.Ping())
            await helper.call(p.Ping())

    _story(path, story)


def test_work_is_done_though_the_child_that_waited_was_killed(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        (waiting,) = _children(path)
        _end(waiting)
        await helper.call(p.KillGuest(id=ID))
        read, write = os.pipe()
        await helper.call(p.ReadTree(source=p.TreeSource(guest=ID), path="/"), (write,))
        os.close(write)
        assert os.read(read, 100) == b"tree"
        os.close(read)

    _story(path, story)


def test_large_work_is_for_a_new_child(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        (waiting,) = _children(path)
        launch = msgspec.structs.replace(_launch_verb("a"), files={"x": "y" * 100_000})
        launched, fds = await helper.call(launch)
        assert launched.keeper_pid != waiting
        assert waiting in _children(path)
        _end(launched.keeper_pid)
        os.close(fds[0])

    _story(path, story)


def test_work_of_a_client_that_went_away_is_ended(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await helper.call(p.Ping())
        await helper.close()
        with pytest.raises(Unavailable):
            await task
        await helper.call(p.Ping())
        assert len(_children(path)) == 1, "only the one that waits for work"

    _story(path, story)


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

    _story(path, story)


def test_a_helper_killed_meanwhile_is_unavailable(path: Path) -> None:
    async def story(helper: Helper) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(helper.call(p.KillGuest(id="wait")))
        await helper.call(p.Ping())
        os.kill(int(_text(path.parent / "pid")), signal.SIGKILL)
        with pytest.raises(Unavailable, match="went away"):
            await task

    _story(path, story)


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
