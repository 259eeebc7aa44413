"""What verb handlers are given and what they may return; see :mod:`wirt.privileged.verbs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged.deadman import Deadman
from wirt.privileged.protocol import Failure, Sweep, Verb
from wirt.privileged.sleepers import Sleepers

A = TypeVar("A")
V = TypeVar("V", bound=Verb[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Facts of this helper, made once at start-up.

    ``uid``/``gid``: the daemon's user, who may connect. ``keeper``: the keeper's program.
    ``guest_dir``: kernel, initramfs and agent for machines, or None when there is none.
    ``deadman``: who writes the safe plan when the governor is gone. ``sleepers``: who wakes guests.
    """

    layout: Layout
    uid: int
    gid: int
    cgroups: Cgroups
    keeper: Path
    guest_dir: Path | None = None
    deadman: Deadman | None = None
    sleepers: Sleepers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Generic[A]):
    """An answer with descriptors, which are closed after sending."""

    answer: A
    fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Early(Generic[A]):
    """An answer that is passed on at once, and the ``rest`` of the work, for which nobody waits.

    The child may be killed in the middle of ``rest``: a sweeper must know how to go on.
    """

    answer: A
    rest: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Become(Generic[A]):
    """An answer after which the child of a slow verb becomes a program by ``execve``.

    ``keep``: descriptors that the program inherits; all others above 2 are closed.
    """

    answer: A
    argv: tuple[str, ...]
    env: dict[str, str]
    keep: tuple[int, ...] = ()


Outcome: TypeAlias = A | Sent[A] | Early[A] | Become[A]
Sweeper: TypeAlias = Callable[[Context, Sweep], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[A]):
    """How the child of a slow verb ended: its answer or a failure, and its pid.

    The pid is not reaped yet, so it can't be another process.
    """

    pid: int
    answer: A | Failure
    fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route(Generic[V, A]):
    """A verb, who carries it out, and what the helper itself does when its child has ended."""

    verb: type[V]
    run: Callable[[Context, V, Sequence[int]], Outcome[A]]
    then: Callable[[Context, V, Ended[A]], Ended[A]] | None = None


def on(
    verb: type[V],
    run: Callable[[Context, V, Sequence[int]], Outcome[A]],
    *,
    then: Callable[[Context, V, Ended[A]], Ended[A]] | None = None,
) -> Route[V, A]:
    """Say who carries out a verb. ``then`` runs in the helper's loop after a slow verb's child
    answered, crashed or was given up; it may add descriptors or undo."""
    return Route(verb, run, then)
