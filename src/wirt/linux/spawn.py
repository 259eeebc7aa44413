"""The process door: the only place that starts programs, and how they are started.

No shell; an environment rebuilt from nothing; standard input is /dev/null or given bytes; output
is bounded; own session, so that a timeout ends the program with its children; every start is
logged with its arguments, time and result. A program that is not installed is an
:class:`~wirt.errors.Unsupported`, one that fails a :class:`CommandFailed`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shlex
import signal
import subprocess  # noqa: TID251 - this is the door
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from wirt.errors import Internal, Timeout, Unsupported
from wirt.linux import pidfd

log = logging.getLogger("wirt.spawn")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_OUTPUT = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_TAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a program ended. ``code``: exit status, or minus the signal's number.

    ``seconds``: how long it ran.
    """

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are kept as surrogates."""
        return self.stdout.decode(errors="surrogateescape")

    @property
    def complaint(self) -> str:
        """The last of standard error in one line, for messages."""
        text = self.stderr[-_TAIL:].decode(errors="replace")
        return " | ".join(line.strip() for line in text.splitlines() if line.strip())


class CommandFailed(Internal):
    """A program ended with a status that means failure. ``result`` has all of it."""

    def __init__(self, result: Result) -> None:
        how = f"status {result.code}" if result.code >= 0 else f"signal {-result.code}"
        super().__init__(
            f"{result.argv[0]} failed with {how}: {result.complaint or 'no message'}",
            code="command.failed",
            status=result.code,
        )
        self.result = result


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What programs are given: a fixed PATH, a plain locale, and ``extra``."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(extra or {})}


def which(name: str) -> str:
    """The absolute path of a program in :data:`PATH`. Raises Unsupported."""
    for directory in PATH.split(":"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise _missing(name, "it is not installed")


def _missing(name: str, why: str | None) -> Unsupported:
    base = name.rpartition("/")[2]
    return Unsupported(
        f"cannot run {name}: {why}", hint=f"install the program {base}", code="command.missing"
    )


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float | None = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    ok: Sequence[int] | None = (0,),
    max_output: int = MAX_OUTPUT,
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a program to its end without blocking the event loop.

    ``timeout`` in seconds, None for none; ``env`` is added to :func:`environment`; ``ok`` are the
    statuses that mean success, None for all; ``max_output`` bounds stdout and stderr each, in
    bytes. Cancelling kills the program. Raises Unsupported (not installed), Timeout,
    :class:`CommandFailed`.
    """
    import asyncio  # 40 ms and 3 MB that the helper, which has no event loop, need not pay

    job = _Job(argv, stdin=stdin, env=env, cwd=cwd, max_output=max_output, pass_fds=pass_fds)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def step(fd: int) -> None:
        if job.ready(fd):
            loop.remove_reader(fd)
            loop.remove_writer(fd)
        if not job.waiting and not done.done():
            done.set_result(None)

    watched = dict(job.waiting)
    for fd, writes in watched.items():
        (loop.add_writer if writes else loop.add_reader)(fd, step, fd)
    try:
        async with asyncio.timeout(timeout):
            await done
    except TimeoutError:
        raise job.too_late(timeout) from None
    finally:
        for fd in watched:
            loop.remove_reader(fd)
            loop.remove_writer(fd)
        job.end()
    return job.result(ok)


def run_sync(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float | None = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    ok: Sequence[int] | None = (0,),
    max_output: int = MAX_OUTPUT,
    pass_fds: Sequence[int] = (),
    before_exec: Callable[[], None] | None = None,
) -> Result:
    """:func:`run` for processes without an event loop: the helper and its children.

    ``before_exec`` runs in the new process, to enter namespaces or drop rights.
    """
    job = _Job(
        argv, stdin=stdin, env=env, cwd=cwd, max_output=max_output, pass_fds=pass_fds,
        before_exec=before_exec,
    )  # fmt: skip
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with selectors.DefaultSelector() as selector:
            for fd, writes in job.waiting.items():
                selector.register(fd, selectors.EVENT_WRITE if writes else selectors.EVENT_READ)
            while job.waiting:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = selector.select(left)
                if not ready and deadline is not None:
                    raise job.too_late(timeout)
                for key, _ in ready:
                    selector.unregister(key.fd)
                    if not job.ready(key.fd):
                        selector.register(key.fd, key.events)
    finally:
        job.end()
    return job.result(ok)


class _Job:
    """A started program. ``waiting``: descriptors to wait for, and whether for writing."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes,
        env: Mapping[str, str] | None,
        cwd: str | None,
        max_output: int,
        pass_fds: Sequence[int],
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self._input = memoryview(stdin)
        self._max_output = max_output
        self._output: dict[int, bytearray] = {}
        self._files: dict[int, IO[bytes]] = {}
        self.waiting: dict[int, bool] = {}
        self._began = time.monotonic()
        try:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(env),
                cwd=cwd,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                preexec_fn=before_exec,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise _missing(self.argv[0], error.strerror) from error
        self._pidfd = os.pidfd_open(self._process.pid)
        self.waiting[self._pidfd] = False
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._add(stream, writes=False)
            self._output[stream.fileno()] = bytearray()
        if self._process.stdin is not None:
            self._add(self._process.stdin, writes=True)

    def _add(self, stream: IO[bytes], *, writes: bool) -> None:
        os.set_blocking(stream.fileno(), False)
        self._files[stream.fileno()] = stream
        self.waiting[stream.fileno()] = writes

    def ready(self, fd: int) -> bool:
        """Do what ``fd`` is ready for; True when there is nothing more to wait for there."""
        if fd not in self.waiting:
            return True
        if fd == self._pidfd:
            # Output of children that outlive the program is not waited for.
            for other in tuple(self._output):
                if self.waiting.pop(other, None) is not None:
                    while self._read(other):
                        pass
            over = True
        elif self.waiting[fd]:
            over = not self._write(fd)
        else:
            over = not self._read(fd, patient=True)
        if over:
            self.waiting.pop(fd, None)
        return over

    def _write(self, fd: int) -> bool:
        try:
            self._input = self._input[os.write(fd, self._input[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._files[fd].close()
            return False
        return True

    def _read(self, fd: int, *, patient: bool = False) -> bool:
        """Take what is there; whether there may be more. What is beyond the bound is dropped
        and makes the result a failure."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return patient
        room = self._max_output + 1 - len(self._output[fd])
        self._output[fd] += data[:room]
        if len(data) > room:
            self._kill()
        return bool(data)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Make sure that nothing of the program is left."""
        if not pidfd.ended(self._pidfd):
            self._kill()
        self._process.wait()
        os.close(self._pidfd)
        self._outputs = tuple(bytes(b) for b in self._output.values())
        for stream in self._files.values():
            with contextlib.suppress(OSError):
                stream.close()

    def too_late(self, timeout: float | None) -> Timeout:
        return Timeout(f"{shlex.join(self.argv)[:200]} took longer than {timeout} s")

    def result(self, ok: Sequence[int] | None) -> Result:
        stdout, stderr = self._outputs
        result = Result(
            argv=self.argv,
            code=self._process.returncode,
            stdout=stdout[: self._max_output],
            stderr=stderr[: self._max_output],
            seconds=time.monotonic() - self._began,
        )
        log.debug(
            "ran %s: status %d after %.3f s", shlex.join(self.argv), result.code, result.seconds
        )
        if len(stdout) > self._max_output or len(stderr) > self._max_output:
            raise Internal(
                f"{self.argv[0]} wrote more than {self._max_output} bytes", code="command.output"
            )
        if ok is not None and result.code not in ok:
            raise CommandFailed(result)
        return result
