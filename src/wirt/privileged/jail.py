"""Work on hostile bytes in a child process that can reach nothing but one tree.

The child enters the tree (its ``enter`` function mounts and changes root), then loses every
descriptor, capability, many system calls (:mod:`wirt.privileged.calls`) and the ability to import
code, and only then reads the first hostile byte.
Whatever it would load later (a codec, a module, a name service library) would come from the tree
itself, which has been an attack; so all imports happen before the fork.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from wirt.errors import Exhausted, Internal, Kind, WirtError
from wirt.linux import libc
from wirt.privileged.answers import Answer, to_error, to_failure
from wirt.privileged.calls import filter_program
from wirt.privileged.protocol import Failure

A = TypeVar("A")

CAP_CHOWN = 1 << 0
CAP_DAC_OVERRIDE = 1 << 1
CAP_DAC_READ_SEARCH = 1 << 2
CAP_FOWNER = 1 << 3
CAP_FSETID = 1 << 4
CAP_MKNOD = 1 << 27
CAP_SETFCAP = 1 << 31

WRITER = CAP_CHOWN | CAP_DAC_OVERRIDE | CAP_FOWNER | CAP_FSETID | CAP_MKNOD | CAP_SETFCAP
"""What creating files of any owner, mode and kind takes; no CAP_SYS_ADMIN: no trusted xattrs."""
READER = CAP_DAC_READ_SEARCH
"""What reading files of any owner takes."""

_MEMORY = 1024 * 1024 * 1024
_MAX_ANSWER = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the child keeps: a capability bit set, descriptors, the largest file in bytes."""

    capabilities: int
    keep: tuple[int, ...] = ()
    max_file: int = 2**62
    max_descriptors: int = 1024


def run(work: Callable[[], A], kind: type[A], *, enter: Callable[[], None], rights: Rights) -> A:
    """``work``'s answer of type ``kind``, from a child that called ``enter`` and was confined.

    Errors of the child are raised here again: WirtError kinds and OSErrors. A child that was
    killed is :class:`~wirt.errors.Exhausted` (memory), one that crashed Internal.
    """
    filter_program()  # libseccomp is not to be found any more once the child has entered
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.close(reader)
            _child(work, enter, rights, writer=writer, parent=parent)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        answer = _read_all(reader)
    finally:
        os.close(reader)
        _, wait_status = os.waitpid(pid, 0)
    return _unwrap(answer, wait_status, kind)


def _child(
    work: Callable[[], A],
    enter: Callable[[], None],
    rights: Rights,
    *,
    writer: int,
    parent: int,
) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    try:
        _streams_to_null()
        libc.close_except((*rights.keep, writer))
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWIPC)  # nobody to speak to
        enter()
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of ids clears it
        _confine(rights)
        told = Answer(answer=msgspec.Raw(msgspec.json.encode(work())))
    except BaseException as error:  # noqa: BLE001 - the edge of a process: all becomes an answer
        told = Answer(failure=_failure(error))
    answer = msgspec.json.encode(told)
    os.set_blocking(writer, True)
    sent = 0
    while sent < len(answer):
        sent += os.write(writer, answer[sent:])


def _failure(error: BaseException) -> Failure:
    """The wire form of any error, made without logging: a traceback would read source files, and
    here "/" is the hostile tree."""
    if isinstance(error, WirtError | OSError):
        return to_failure(error)
    if isinstance(error, MemoryError):
        return Failure(
            kind=Kind.EXHAUSTED.value,
            message="working on the files takes more memory than is allowed",
            code="privileged.memory",
        )
    return Failure(kind=Kind.INTERNAL.value, message=f"{type(error).__name__}: {error}"[:500])


def _streams_to_null() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)


def _confine(rights: Rights) -> None:
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_importer_cache.clear()
    os.umask(0)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, min(rights.max_file, 2**62)),
        (resource.RLIMIT_NOFILE, rights.max_descriptors),
    ):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    libc.keep_capabilities(rights.capabilities)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    if code := filter_program():
        libc.set_seccomp(code)


def _read_all(fd: int) -> bytes:
    parts = []
    total = 0
    while data := os.read(fd, 65_536):
        total += len(data)
        if total <= _MAX_ANSWER:
            parts.append(data)
    return b"".join(parts)


def _unwrap(answer: bytes, wait_status: int, kind: type[A]) -> A:
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        if number == signal.SIGKILL:
            raise Exhausted(
                "the process that worked on the files was killed",
                hint="the host may be out of memory",
                code="privileged.killed",
            )
        raise Internal(f"the process that worked on the files died of signal {number}")
    try:
        told = msgspec.json.decode(answer, type=Answer)
        if told.failure is None:
            return msgspec.json.decode(told.answer, type=kind)
    except msgspec.DecodeError as error:
        raise Internal(
            f"the process that worked on the files answered nonsense: {error}"
        ) from error
    raise to_error(told.failure)
