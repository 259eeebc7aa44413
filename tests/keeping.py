"""A keeper under test: its run directory, a stand-in for the engine, and clients of its streams."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from needs import NATIVE
from waiting import PATIENCE, eventually, until
from wirt.guest.frame import Record, decode_record, encode_record
from wirt.guest.keeper import KeeperLink, Request

KEEPER = Path(os.environ.get("WIRT_KEEPER", NATIVE / "wirt-keeper"))
GUEST = "g0123456789"

ENGINE = """#!/bin/sh
# In place of crun: "engine run ... -- COMMAND" and "engine exec ... --process FILE ... ID".
verb=$1; shift
while [ $# -gt 0 ]; do
  case $1 in
    --pid-file=*) pidfile=${1#*=} ;;
    --pid-file) pidfile=$2; shift ;;
    --process) process=$2; shift ;;
    --) shift; break ;;
  esac
  shift
done
[ "$verb" = exec ] && set -- sh -c "$(cat "$process")"
case "$*" in
  "fail "*) shift; echo "$*" >>engine.log; exit 1 ;;
  "mutter "*) shift; echo "$*" >&2; exit 1 ;;
  "die") kill -9 $$ ;;
esac
# The guest's process begins when this one has ended, or a shell could reap it itself.
mkfifo hold.$$
exec 3<&0
(read -r _ <hold.$$; exec "$@" <&3 3<&-) &
exec 4>hold.$$
rm hold.$$
echo $! >"$pidfile"
"""


@dataclass
class Client:
    """Our end of an attached stream; the other end goes to the keeper."""

    sock: socket.socket
    theirs: socket.socket

    @classmethod
    def make(cls) -> Client:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        return cls(ours, theirs)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        data = b""
        while len(data) < size:
            piece = await self.some(size - len(data))
            if not piece:
                break
            data += piece
        return data

    async def some(self, size: int = 1 << 20) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.sock, size), PATIENCE)

    async def until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            piece = await self.some()
            assert piece, f"the stream ended before {mark!r}: {data[-200:]!r}"
            data += piece
        return data

    async def rest(self) -> bytes:
        pieces = []
        while piece := await self.some():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self.sock.close()
        self.theirs.close()


def hung_up(conn: socket.socket) -> bool:
    """Whether the other side has closed the connection."""
    conn.setblocking(False)
    try:
        return conn.recv(1, socket.MSG_PEEK) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def demux(data: bytes) -> tuple[bytes, bytes]:
    """Standard output and error of docker frames. Every frame must be whole."""
    streams: dict[int, list[bytes]] = {1: [], 2: []}
    at = 0
    while at < len(data):
        stream, zero, length = data[at], data[at + 1 : at + 4], data[at + 4 : at + 8]
        assert zero == b"\0\0\0"
        end = at + 8 + int.from_bytes(length)
        assert end <= len(data), "the last frame is torn"
        streams[stream].append(data[at + 8 : end])
        at = end
    return b"".join(streams[1]), b"".join(streams[2])


@dataclass
class Keeper:
    """A running keeper, its run directory and what it said."""

    run: Path
    process: subprocess.Popen[bytes]
    events: list[Record] = field(default_factory=list)
    links: list[KeeperLink] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    lost: int = 0

    async def connect(self) -> KeeperLink:
        if not self.links:
            await eventually(self._listens, "the keeper's socket")
        link = await KeeperLink.connect(
            self.run / "keeper.sock", on_event=self.events.append, on_closed=self._on_lost
        )
        self.links.append(link)
        return link

    def _listens(self) -> bool:
        """Whether it takes connections, or never will: between its bind and its listen the name is
        there and refuses."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.run / "keeper.sock"))
            except OSError:
                return self.process.poll() is not None
        return True

    def _on_lost(self) -> None:
        self.lost += 1

    async def attach(self, link: KeeperLink, **options: str) -> Client:
        client = self.client()
        record = {"stdin": ["0"], "stdout": ["1"], "stderr": ["1"], "mux": ["1"]}
        record |= {key: [value] for key, value in options.items()}
        await link.request(Request.ATTACH, record, descriptor=client.theirs.fileno())
        client.theirs.close()
        return client

    async def execute(
        self, link: KeeperLink, name: str, process: str, **options: str
    ) -> tuple[Client, Record]:
        client = self.client()
        record = {"id": [name], "process": [process], "mux": ["1"]}
        record |= {key: [value] for key, value in options.items()}
        answer = await link.request(Request.EXEC, record, descriptor=client.theirs.fileno())
        client.theirs.close()
        return client, answer

    def client(self) -> Client:
        client = Client.make()
        self.clients.append(client)
        return client

    async def event(self, kind: str, target: str = "main") -> Record:
        """The event, as soon as it is there."""

        def match(record: Record) -> bool:
            return record["event"] == [kind] and record.get("target", [target]) == [target]

        await eventually(lambda: any(map(match, self.events)), f"event {kind} of {target}")
        return next(record for record in self.events if match(record))

    async def ended(self) -> Record:
        """The exit record, after the keeper's own end and after everything that it said: the last
        words still lie in the sockets when the process is gone."""
        await eventually(lambda: self.process.poll() is not None, "the keeper's end")
        await eventually(lambda: all(link.closed for link in self.links), "its connections' end")
        await asyncio.sleep(0)  # what was read last is told in the loop's next turn
        assert self.process.returncode == 0, (self.run / "keeper.err").read_text()
        return decode_record((self.run / "exit").read_bytes())

    def pss(self) -> int:
        """Kilobytes of memory that this process alone costs; a sanitizer's do not count."""
        if KEEPER.name.endswith("-sanitized"):
            return 0
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))

    def children(self) -> list[int]:
        """Its child processes, unreaped ones included."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def descriptors(self) -> int:
        """How many descriptors it holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def highest(self) -> int:
        """The highest descriptor number in use."""
        return max(int(p.name) for p in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def cpu(self) -> float:
        """Seconds of CPU time used by the keeper itself."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def fake_conf(run: Path, command: list[str], **options: str) -> list[tuple[str, str]]:
    """keeper.conf for the stand-in engine."""
    engine = run / "engine"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    conf = {
        "id": GUEST, "mode": "container", "engine_log": "engine.log", "tty": "0", "stdin": "1",
        "stdin_once": "1", "log": str(run / "log"), "log_size": "1000000", "log_files": "3",
    }  # fmt: skip
    return [
        *(conf | options).items(),
        *(("argv", word) for word in [str(engine), "run", "--pid-file=pid", "--", *command]),
        *(("exec_argv", word) for word in [str(engine), "exec"]),
        ("env", f"PATH={os.environ['PATH']}"),
    ]


@contextmanager
def keeper(
    run: Path, conf: list[tuple[str, str]], *, wrap: tuple[str, ...] = (), fds: tuple[int, ...] = ()
) -> Iterator[Keeper]:
    """A keeper started in ``run`` with this configuration; killed at the end with its children."""
    (run / "keeper.conf").write_bytes(encode_record(conf))
    before = set(_children(os.getpid()))
    with (run / "keeper.err").open("wb") as errors:
        process = subprocess.Popen(
            [*wrap, str(KEEPER), str(run)],
            stderr=errors, stdin=subprocess.DEVNULL, env={}, pass_fds=fds,
        )  # fmt: skip
    rig = Keeper(run, process)
    try:
        yield rig
    finally:
        for link in rig.links:
            with suppress(StopIteration):
                link.close().send(None)  # it awaits nothing
        for client in rig.clients:
            client.close()
        left = _kill_tree(process.pid) - {process.pid}
        process.wait()

        def gone() -> bool:
            """The first process of a namespace waits for those of it that we adopted meanwhile."""
            adopted = set(_children(os.getpid())) - before
            return not [pid for pid in left | adopted if not _reaped(pid)]

        until(gone, "their end")
        complaint = (run / "keeper.err").read_text()
    assert complaint == "", complaint


def _kill_tree(pid: int) -> set[int]:
    """Kill a process with its descendants, which are returned. It is stopped first, so that it
    starts no more, and asked again until none lives, since it adopts the orphans of those that
    were killed."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    killed = {pid}
    while alive := [child for child in _children(pid) if _lives(child)]:
        for child in alive:
            killed |= _kill_tree(child)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return killed | set(_children(pid))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.extend(int(child) for child in task.read_text().split())
    return found


_EXITING = 0x4
"""PF_EXITING of include/linux/sched.h, in the ninth field of /proc/PID/stat."""


def _lives(pid: int) -> bool:
    """Whether it is yet to be killed. The first process of a namespace that was killed stays until
    the others of it were reaped, which the stopped parent of a further process does not do."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & _EXITING


def _reaped(pid: int) -> bool:
    """Whether this process, when it is our child (by adoption), is no zombie any more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@contextmanager
def fake(command: str | list[str], **options: str) -> Iterator[Keeper]:
    """A keeper whose guest is ``sh -c command`` (or these words) on the host."""
    with tempfile.TemporaryDirectory(prefix="wirt-keeper-") as name:
        run = Path(name)
        words = ["sh", "-c", command] if isinstance(command, str) else command
        with keeper(run, fake_conf(run, words, **options)) as rig:
            yield rig
