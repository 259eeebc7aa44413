"""A running machine, spoken to through its keeper and the agent inside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wirt.crun.spec import process
from wirt.engine import _elastic, _growth
from wirt.engine._sizes import Shape, host_memory, memory_of, shares_of, vcpus
from wirt.errors import Unavailable, Unsupported, WirtError
from wirt.guest.keeper import KeeperLink, Record, Request
from wirt.model.guest import ExecSpec, Guest
from wirt.model.reading import InnerMemory
from wirt.model.resources import Resources, Usage
from wirt.model.terminal import parse_detach_keys
from wirt.privileged.client import Helper
from wirt.privileged.protocol import FreezeGuest, LimitGuest, TreeStat, WatchTraffic
from wirt.qemu.qmp import Monitor

AGENT_SECONDS = 10.0
"""How long the agent may take for an answer; under emulation it is busy at times."""
FIGURES = (
    "cpu_user_ns", "cpu_system_ns", "memory", "memory_cache", "memory_limit", "pids",
    "block_read", "block_written", "net_received", "net_sent",
)  # fmt: skip
"""What the agent tells of a guest's use, by the names of :class:`Usage`."""
TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
NOTHING: Mapping[str, str] = {}
PS_ARGS = frozenset({"", "-ef", "-e -f"})


class MachineHandle:
    """See :class:`wirt.engine.protocol.Handle`."""

    def __init__(
        self, guest: Guest, shape: Shape, keeper: KeeperLink, helper: Helper, monitor: Path
    ) -> None:
        self._guest = guest
        self.monitor = Monitor(monitor)
        self._changing = asyncio.Lock()
        self._shape = shape
        self._keeper = keeper
        self._helper = helper

    async def attach(
        self, descriptor: int, *, stdin: bool, stdout: bool, stderr: bool, mux: bool, detach: bytes
    ) -> None:
        """Give the keeper a client's stream socket."""
        record = {
            "stdin": [_flag(stdin)],
            "stdout": [_flag(stdout)],
            "stderr": [_flag(stderr)],
            "mux": [_flag(mux)],
            "detach": [detach.hex()],
        }
        await self._keeper.request(Request.ATTACH, record, descriptor=descriptor)

    async def start(self) -> tuple[int, int]:
        """Boot, and run the main process."""
        answer = await self._keeper.request(Request.START, {})
        return _number(answer, "pid"), _number(answer, "started")

    async def signal(self, number: int, *, target: str = "main") -> None:
        """Signal a process inside."""
        await self._keeper.request(Request.SIGNAL, {"target": [target], "signal": [str(number)]})

    async def resize(self, rows: int, columns: int, *, target: str = "main") -> None:
        """Set a terminal's size."""
        record = {"target": [target], "rows": [str(rows)], "columns": [str(columns)]}
        await self._keeper.request(Request.RESIZE, record)

    async def execute(self, exec_id: str, spec: ExecSpec, descriptor: int | None) -> int:
        """Run a further process; the agent adds the guest's own environment, directory and user
        where ``spec`` has none. ``privileged`` is what every root of a machine is."""
        process.check_argv(spec.command)
        process.check_env(spec.env, option="--env")
        if spec.working_dir:
            process.check_cwd(spec.working_dir)
        record = {
            "id": [exec_id],
            "tty": [_flag(spec.tty)],
            "stdin": [_flag(spec.stdin)],
            "mux": [_flag(not spec.tty)],
            "detach": [parse_detach_keys(spec.detach_keys).hex() if spec.tty else ""],
            "rows": [str(spec.rows)],
            "columns": [str(spec.columns)],
            "argv": list(spec.command),
            "env": list(spec.env),
            "cwd": [spec.working_dir],
            "user": [spec.user],
        }
        answer = await self._keeper.request(Request.EXEC, record, descriptor=descriptor)
        return _number(answer, "pid")

    async def usage(self) -> Usage:
        """What the guest's kernel counts."""
        answer = await self._call("stats")
        figures = {key: _number(answer, key) for key in FIGURES}
        cpu = figures["cpu_user_ns"] + figures["cpu_system_ns"]
        return Usage(read_at=time.time_ns(), cpu_ns=cpu, **figures)

    async def processes(self, ps_args: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Rows as ``ps -ef`` shows them, which is all that the agent can."""
        if ps_args.strip() not in PS_ARGS:
            raise Unsupported(
                f"a {self._shape.isolation.value} cannot show its processes as ps {ps_args[:60]}",
                hint="leave out the ps options, or run ps inside with exec",
            )
        answer = await self._call("processes")
        rows = [row.split("\x1f") for row in answer.get("row", [])]
        return TITLES, [_printable(row) for row in rows if len(row) == len(TITLES)]

    async def limit(self, wish: Resources) -> None:
        """CPU limits act on QEMU, those of memory and disks within it. What a guest must agree to
        comes last, since it may not."""
        self._check_fixed(wish)
        if wish.memory is not None or wish.io_limit is not None or self._grows(wish):
            await self._resize(self.monitor, wish)
        limits = Resources(
            cpu_millis=wish.cpu_millis,
            cpu_shares=wish.cpu_shares,
            cpuset=wish.cpuset,
            memory_reservation=wish.memory_reservation,
        )
        await self._limit_programs(limits)

    def _check_fixed(self, wish: Resources) -> None:
        own, kind = self._guest.spec.resources, self._shape.isolation.value
        if wish.memory_swap not in {None, 0, -1, own.memory_swap, wish.memory}:
            raise Unsupported(
                f"a {kind} has no part in the host's swap", hint="leave out --memory-swap"
            )
        if wish.pids is not None and (wish.pids or None) != own.pids:
            raise Unsupported(
                f"the limit of processes of a running {kind} is fixed",
                hint="stop it, update it, and start it again; or use --as container",
            )

    def _grows(self, wish: Resources) -> bool:
        """Whether there may be too few processors."""
        return wish.cpu_millis is not None and vcpus(wish) > vcpus(self._guest.spec.resources)

    async def _resize(self, monitor: Monitor, wish: Resources) -> None:
        kind, name = self._shape.isolation.value, self._guest.name
        memory = memory_of(wish, self._shape)
        if wish.memory is not None:
            await _growth.check_memory(monitor, memory, kind)
        if self._grows(wish):
            await _growth.check_processors(monitor, vcpus(wish), kind)
        if wish.io_limit is not None:
            await monitor.limit_disks(wish.io_limit)
        if wish.memory is not None:
            most = host_memory(memory, shares_of(self._guest.spec))
            async with self._changing:
                await self._limit_programs(Resources(memory=most))
                await _growth.set_memory(monitor, memory, name)
        if self._grows(wish):
            await _growth.add_processors(monitor, vcpus(wish), self._use_processors, name)

    async def _use_processors(self) -> int:
        return _number(await self._call("cpus"), "cpus")

    async def _limit_programs(self, limits: Resources) -> None:
        if limits != Resources():
            await self._helper.call(LimitGuest(id=self._guest.id, resources=limits, machine=True))

    async def freeze(self, frozen: bool) -> None:
        """Freeze QEMU with all its threads; the guest's clock is put right when it goes on."""
        await self._helper.call(WatchTraffic(id=self._guest.id, on=False))
        await self._helper.call(FreezeGuest(id=self._guest.id, frozen=frozen))
        if not frozen:
            # It goes on in any case; a guest that is too busy to hear it keeps its clock.
            with contextlib.suppress(WirtError):
                await self._call("time", {"now": str(time.time_ns())})

    async def inner_memory(self) -> InnerMemory:
        """What its kernel says (:class:`wirt.engine.protocol.Elastic`)."""
        memory, figures = await self.monitor.told()
        return _elastic.judged(memory, figures, now=time.time())

    async def set_inner_memory(self, size: int) -> None:
        """Inflate or deflate the balloon, within the machine's bounds."""
        if self._changing.locked():  # two who move one balloon would both wait for it in vain
            raise Unavailable(f"the memory of {self._guest.name} is just being changed")
        await self.monitor.leave(max(size, self._shape.min_memory))

    def close(self) -> None:
        """End the connection to QEMU."""
        self.monitor.close()

    async def write_file(self, name: str, content: str) -> None:
        """Rewrite ``hosts``, ``hostname`` or ``resolv.conf`` inside."""
        await self._call("files", {"name": name, "content": content})

    async def stat_tree(self, path: str) -> TreeStat:
        """lstat inside (:class:`wirt.engine.protocol.Trees`)."""
        answer = await self._call("stat", {"path": path})
        return TreeStat(
            name=answer.get("name", [""])[0],
            size=_number(answer, "size"),
            mode=_number(answer, "mode"),
            mtime=_number(answer, "mtime"),
            link_target=answer.get("link_target", [""])[0],
        )

    async def read_tree(self, path: str, descriptor: int) -> None:
        """Pack inside, unhurried: the receiver sets the pace."""
        record = {"call": ["tar-out"], "path": [path]}
        await self._keeper.request(Request.AGENT, record, descriptor=descriptor)

    async def write_tree(
        self, path: str, descriptor: int, *, no_overwrite_dir_non_dir: bool = False
    ) -> None:
        """Unpack inside."""
        strict = _flag(no_overwrite_dir_non_dir)
        record = {"call": ["tar-in"], "path": [path], "no_overwrite": [strict]}
        await self._keeper.request(Request.AGENT, record, descriptor=descriptor)

    async def _call(self, name: str, arguments: Mapping[str, str] = NOTHING) -> Record:
        record = {"call": [name], **{key: [value] for key, value in arguments.items()}}
        try:
            async with asyncio.timeout(AGENT_SECONDS):
                return await self._keeper.request(Request.AGENT, record)
        except TimeoutError:
            raise Unavailable(
                f"the machine {self._guest.name} does not answer", hint="it may be paused or busy"
            ) from None


def _printable(row: Sequence[str]) -> list[str]:
    """A guest's own words without what would move a terminal's cursor."""
    return ["".join(c if c.isprintable() else "?" for c in field) for field in row]


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _number(record: Record, key: str) -> int:
    """What a guest says is a number must be one, and a bounded one."""
    text = record.get(key, [""])[0]
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise Unavailable(f"the machine gave no number for {key}")
    return int(text)
