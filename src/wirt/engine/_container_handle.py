"""A running container: its keeper for streams and processes, the helper for its control group."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wirt.crun.spec import process, resources
from wirt.crun.spec.process import Json
from wirt.engine import _joining, _ps
from wirt.engine._place import Place
from wirt.errors import Conflict, Internal, Invalid, Unavailable
from wirt.guest.keeper import KeeperLink, Record, Request
from wirt.linux import usage
from wirt.linux.cgroup import Mode
from wirt.model.guest import ExecSpec, Guest
from wirt.model.resources import Resources, Usage, merge
from wirt.model.terminal import parse_detach_keys
from wirt.model.units import format_size
from wirt.privileged.protocol import (
    FreezeGuest,
    LimitGuest,
    ListProcesses,
    ResolvedUser,
    ResolveUser,
    WatchTraffic,
)


class ContainerHandle:
    """See :class:`~wirt.engine.protocol.Handle`."""

    def __init__(self, *, guest: Guest, keeper: KeeperLink, place: Place) -> None:
        self._guest = guest
        self._keeper = keeper
        self._place = place
        self._limits = guest.spec.resources

    async def attach(
        self, descriptor: int, *, stdin: bool, stdout: bool, stderr: bool, mux: bool, detach: bytes
    ) -> None:
        """Hand a client's stream socket to the keeper."""
        await self._keeper.request(
            Request.ATTACH,
            {
                "stdin": [_flag(stdin)],
                "stdout": [_flag(stdout)],
                "stderr": [_flag(stderr)],
                "mux": [_flag(mux)],
                "detach": [detach.hex()],
            },
            descriptor=descriptor,
        )

    async def start(self) -> tuple[int, int]:
        """Run the main process; (host pid, Unix ns)."""
        answer = await self._run(Request.START, {})
        return _number(answer, "pid"), _number(answer, "started")

    async def signal(self, number: int, *, target: str = "main") -> None:
        """Send a signal to the main process or to a further one."""
        await self._keeper.request(Request.SIGNAL, {"target": [target], "signal": [str(number)]})

    async def resize(self, rows: int, columns: int, *, target: str = "main") -> None:
        """Tell a terminal its size."""
        size = {"rows": [str(rows)], "columns": [str(columns)]}
        await self._keeper.request(Request.RESIZE, {"target": [target], **size})

    async def execute(self, exec_id: str, spec: ExecSpec, descriptor: int | None) -> int:
        """Run a further process; its host pid."""
        process.check_argv(spec.command)
        process.check_env(spec.env, option="--env")
        if spec.working_dir:
            process.check_cwd(spec.working_dir)
        user = await self._user(spec.user)
        wish = exec_process(
            self._configuration()["process"],
            spec,
            user=user,
            every=self._place.facts.bounding,
            explicit_home=any(entry.startswith("HOME=") for entry in self._guest.spec.env),
        )
        answer = await self._run(
            Request.EXEC,
            {
                "id": [exec_id],
                "tty": [_flag(spec.tty)],
                "stdin": [_flag(spec.stdin)],
                "mux": [_flag(not spec.tty)],
                "detach": [parse_detach_keys(spec.detach_keys).hex() if spec.tty else ""],
                "rows": [str(spec.rows)],
                "columns": [str(spec.columns)],
                "process": [json.dumps(wish)],
                **_joining.record(wish),
            },
            program=spec.command[0],
            descriptor=descriptor,
        )
        return _number(answer, "pid")

    async def _run(
        self,
        request: Request,
        record: Record,
        *,
        program: str = "",
        descriptor: int | None = None,
    ) -> Record:
        """What crun refuses (a file as working directory, a vanished bind source) is no bug.

        ``program``: what is to be run, unless it is the main process.
        """
        try:
            return await self._keeper.request(request, record, descriptor=descriptor)
        except Invalid as error:
            named = program or self._configuration()["process"]["args"][0]
            told = Invalid(cannot_run(error.message, named), code=error.code)
            told.facts.update(error.facts)
            raise told from error
        except Internal as error:
            if "exit" not in error.facts:
                raise
            raise Invalid(
                error.message,
                hint="the engine's own words: see what they name",
                code="guest.cannot-run",
                **error.facts,
            ) from error

    async def _user(self, text: str) -> ResolvedUser | None:
        if not text:
            return None
        answer, _ = await self._place.helper.call(ResolveUser(id=self._guest.id, user=text))
        return answer

    def _configuration(self) -> dict[str, Any]:
        """The configuration this very container was started with."""
        path = self._place.layout.guest_run(self._guest.id) / "config.json"
        try:
            value: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise Unavailable(f"guest {self._guest.name!r} is not running") from None
        return value

    async def usage(self) -> Usage:
        """What the control group and the network cards count."""
        return await asyncio.to_thread(self._read_usage)

    def _read_usage(self) -> Usage:
        layout = self._place.layout
        group = layout.cgroup(self._guest.id)
        counted = usage.read(self._place.cgroups, group)
        if counted.pids is None and counted.cpu_ns is None and counted.memory is None:
            raise Unavailable(f"guest {self._guest.name!r} is not running")
        traffic = self._place.interfaces.traffic(layout.link_alias(self._guest.id))
        if traffic is None:
            return counted
        # What the host's end of a cable receives is what the guest sent.
        return replace(counted, net_received=traffic[1], net_sent=traffic[0])

    async def processes(self, ps_args: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows of ``ps`` on the host, for the container's processes only."""
        answer, _ = await self._place.helper.call(ListProcesses(id=self._guest.id))
        return await _ps.listing(answer.pids, ps_args)

    async def limit(self, resources_: Resources) -> None:
        """Change limits now. Raises Invalid or Conflict when more is in use than shall be."""
        merged = merge(self._limits, resources_)
        resources.check_resources(merged, self._place.facts)
        wish = resources_
        if wish.memory:
            await self._check_memory(wish.memory)
        if wish.memory or wish.memory_swap == 0:
            effective, _ = resources.effective(merged, self._place.facts)
            wish = replace(wish, memory_swap=effective.memory_swap)
        if wish.memory is None and wish.memory_swap and self._place.facts.cgroup is Mode.V2:
            # Swap is what is above the user's limit, and the governor may have a lower one there.
            wish = replace(wish, memory=merged.memory)
        await self._place.helper.call(LimitGuest(id=self._guest.id, resources=wish))
        self._limits = merged

    async def _check_memory(self, limit: int) -> None:
        """Refuse a limit that only killing could bring about; caches can be dropped."""
        now = await self.usage()
        if now.memory is not None and now.memory - (now.memory_cache or 0) > limit:
            raise Conflict(
                f"guest {self._guest.name!r} uses {format_size(now.memory)} of memory, more than "
                f"the new limit of {format_size(limit)}",
                hint="give it more, or stop something in it first",
                code="guest.limit-below-use",
            )

    async def freeze(self, frozen: bool) -> None:
        """Stop or continue all processes."""
        await self._place.helper.call(WatchTraffic(id=self._guest.id, on=False))
        await self._place.helper.call(FreezeGuest(id=self._guest.id, frozen=frozen))

    def close(self) -> None:
        """There is nothing but the keeper's connection."""


def cannot_run(said: str, program: str) -> str:
    """Why a program cannot be run, naming it, in the words that the agent of machines uses too.

    ``said``: crun's words, which leave out what its open(2) or execve(2) was about.
    """
    quoted = '"' + program + '"'
    if said.startswith("executable file") and "not found" in said:
        return f"exec: {quoted}: executable file not found in $PATH"
    if said.startswith("open executable: Operation not permitted"):
        return f"exec: {quoted}: is no regular file"
    if program not in said and "exec" in said:
        return f"exec: {quoted}: {said}"
    return said


def exec_process(
    main: Json,
    spec: ExecSpec,
    *,
    user: ResolvedUser | None,
    every: frozenset[str],
    explicit_home: bool,
) -> Json:
    """The OCI process for an exec: the main one's, with what ``spec`` says put over it. Pure.

    ``user``: the user asked for, looked up, or None for the main process' own. ``every``: what
    ``privileged`` gives. ``explicit_home``: HOME was the user's wish, so another user keeps it.
    """
    env = tuple(str(entry) for entry in _list(main.get("env")))
    if user is not None and not explicit_home:
        env = process.merge_env(env, (f"HOME={user.home}",))
    terminal = ("TERM=xterm",) if spec.tty and not any(e.startswith("TERM=") for e in env) else ()
    made: Json = {
        "terminal": spec.tty,
        "user": main["user"] if user is None else _user_object(user),
        "args": list(spec.command),
        "env": list(process.merge_env((*env, *terminal), spec.env)),
        "cwd": process.clean(spec.working_dir or str(main.get("cwd") or "/")),
        "capabilities": process.capability_sets(every) if spec.privileged else main["capabilities"],
        "rlimits": main.get("rlimits", []),
        "noNewPrivileges": main.get("noNewPrivileges", False),
    }
    if spec.tty and spec.rows > 0 and spec.columns > 0:
        made["consoleSize"] = {"height": spec.rows, "width": spec.columns}
    return made


def _user_object(user: ResolvedUser) -> Json:
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _flag(value: bool) -> str:
    return str(int(value))


def _number(record: Record, key: str) -> int:
    text = record.get(key, [""])[0]
    if not (text.isascii() and text.isdigit()):
        raise Unavailable(f"the keeper's answer has no {key}", errno=errno.EPROTO)
    return int(text)
