"""The helper's loop in a real process, with made-up handlers of its verbs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from wirt.errors import Conflict
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper
from wirt.privileged.context import Become, Context, Early, Ended, Outcome, Route, Sent, on
from wirt.privileged.server import Server

ID = "a" * 64


def context(tmp: Path) -> Context:
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


@pytest.fixture(name="path")
def helper_path(tmp_path: Path) -> Iterator[Path]:
    """A helper in a forked process."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            Server(context(tmp_path), listener, {r.verb: r for r in ROUTES}).serve()
        os._exit(1)
    listener.close()
    (tmp_path / "pid").write_text(str(pid))
    yield path
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def story_of(path: Path, story: Callable[[Helper], Awaitable[None]]) -> None:
    async def run() -> None:
        helper = Helper(path, patience=0.2)
        try:
            await asyncio.wait_for(story(helper), 20)
        finally:
            await helper.close()

    asyncio.run(run())


def text(path: str | Path) -> str:
    return Path(path).read_text()


def children(path: Path) -> list[int]:
    server = text(path.parent / "pid")
    return [int(pid) for pid in text(f"/proc/{server}/task/{server}/children").split()]


def end(pid: int) -> None:
    """Kill a process and wait until it is dead."""
    fd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([fd], [], [], 5)
    os.close(fd)


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def lowest_free(pid: int) -> int:
    used = {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in itertools.count() if str(number) not in used)


def launch_verb(name: str) -> p.LaunchGuest:
    return p.LaunchGuest(
        id=name, tty=False, stdin=False, stdin_once=False, network="private", log_size=1,
        log_files=1,
    )  # fmt: skip
