#!/usr/bin/env python3
"""Start and stop one wirt of this checkout: the helper, the daemon, and a loop that keeps them up.

    tools/instance.py up|down|restart|status [--name NAME] [--state DIR] [--run DIR] [--user USER]

Nothing here is needed for a clean end: everything may be killed at any moment, and the next ``up``
puts it right. Only processes whose command line names this very instance are touched. Standard
library only, since it also runs before anything is installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ending import Trouble, helper_answers, remove_roots, sweep

ROOT = Path(__file__).resolve().parent.parent
READY = 30.0
"""Seconds that helper and daemon have to answer."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """Names and places of one instance. ``enter``: words before its command, as ``unshare -n``."""

    name: str
    state: Path
    run: Path
    user: str
    enter: tuple[str, ...] = ()

    @property
    def socket(self) -> Path:
        return self.run / "wirt.sock"

    @property
    def log(self) -> Path:
        return self.state / "wirt.log"

    def argv(self, module: str) -> list[str]:
        """The command of the helper (``wirt.privileged``) or the daemon (``wirt.daemon``)."""
        who = ["--name", self.name, "--state", str(self.state), "--run", str(self.run)]
        argv = [str(ROOT / ".venv/bin/python"), "-m", module, *who, "--user", self.user]
        argv += ["--guest-dir", str(ROOT / "build/guest")]
        return [*argv, "--keeper", str(ROOT / "build/native/wirt-keeper")]

    def supervisor(self) -> list[str]:
        """The command of the loop that keeps both running."""
        who = ["--name", self.name, "--state", str(self.state), "--run", str(self.run)]
        return [sys.executable, str(ROOT / "tools/supervisor.py"), *who, "--user", self.user]


# --- asking ---------------------------------------------------------------------------------


def request(path: Path, verb: str, target: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
    """One HTTP request on a unix socket: (status, body). Raises OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout)
        link.connect(str(path))
        head = f"{verb} {target} HTTP/1.1\r\nHost: wirt\r\nContent-Length: 0\r\n"
        link.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    start, _, body = answer.partition(b"\r\n\r\n")
    fields = start.split()
    if len(fields) < 2:
        raise ConnectionResetError(f"{path}: the connection ended without an answer")
    if b"transfer-encoding: chunked" in start.lower():
        body = b"".join(_chunks(body))
    return int(fields[1]), body


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        yield body[:length]
        body = body[length + 2 :]


def answers(instance: Instance) -> bool:
    """Whether the daemon answers."""
    try:
        return request(instance.socket, "GET", "/v1/ping", timeout=2.0)[0] == 200
    except OSError:
        return False


SUPERVISOR, HELPER, DAEMON = "supervisor", "wirt.privileged", "wirt.daemon"


def processes(instance: Instance) -> dict[int, str]:
    """This instance's own processes: pid to :data:`SUPERVISOR`, :data:`HELPER`, :data:`DAEMON`."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if ("--name", instance.name) not in itertools.pairwise(argv):
            continue
        if argv[1] == "-m" and argv[2] in {HELPER, DAEMON}:
            found[int(entry.name)] = argv[2]
        elif Path(argv[1]).name == "supervisor.py":
            found[int(entry.name)] = SUPERVISOR
    return found


def state_of(pid: int) -> Path | None:
    """The state directory named in a process' command line; None when it has just ended: of a
    zombie the kernel tells none."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Path(argv[argv.index("--state") + 1]) if "--state" in argv else None


# --- up and down ----------------------------------------------------------------------------


def detach(argv: list[str], log: int) -> int:
    """Start a program in a session of its own that outlives us; its pid."""
    program = shutil.which(argv[0]) or argv[0]
    return os.posix_spawn(
        program,
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )


def up(instance: Instance, *, patience: float = READY) -> None:
    """Start what is not running and wait until it answers, at most ``patience`` seconds.

    Raises :class:`Trouble`.
    """
    running = processes(instance)
    states = [state_of(pid) for pid in running]
    if stranger := next((one for one in states if one and one != instance.state), None):
        raise Trouble(
            f"an instance named {instance.name} runs with its state in {stranger}",
            hint="run 'make down' in that checkout, or choose another name: make up NAME=mine",
        )
    if SUPERVISOR in running.values() and answers(instance):
        return
    kill(instance)  # what is half there cannot be trusted; guests live on with their keepers
    instance.state.mkdir(parents=True, exist_ok=True)
    instance.run.mkdir(parents=True, exist_ok=True)
    with instance.log.open("ab") as log:
        mark = log.tell()
        loop = detach([*instance.enter, *instance.supervisor()], log.fileno())
    deadline = time.monotonic() + patience
    while not answers(instance):
        if os.waitpid(loop, os.WNOHANG) != (0, 0) or time.monotonic() > deadline:
            kill(instance)
            raise Trouble(
                f"wirt {instance.name} did not start within {patience:.0f} s:\n"
                f"{tail(instance, mark)}",
                hint=f"all of it is in {instance.log}",
            )
        time.sleep(0.02)


def tail(instance: Instance, mark: int) -> str:
    """The last lines of the log since ``mark``."""
    with instance.log.open("rb") as log:
        log.seek(mark)
        return "\n".join(log.read().decode(errors="replace").splitlines()[-25:])


def down(instance: Instance) -> None:
    """Stop all guests, then daemon, helper and loop, and remove what they made in the kernel.

    Raises :class:`Trouble` when something of it may be left: compressed swap, mounts, cards.
    """
    left: Exception | None = None
    if processes(instance) or instance.run.exists():
        for way in (_orderly, _without_daemon):
            try:
                way(instance)
            except (Trouble, OSError) as error:
                note = f"note: not an orderly end ({error}); ending what is left by force"
                print(note, file=sys.stderr)
                left = error
            else:
                left = None
                break
    kill(instance)
    remove_roots(instance)
    if left is None:
        shutil.rmtree(instance.run, ignore_errors=True)
    else:  # what is in there says what is left: the next end begins there
        raise Trouble(
            f"something of {instance.name} may be left in the kernel: {left}",
            hint=getattr(left, "hint", "") or f"the log is {instance.log}; mend that, up and down",
        )


def _orderly(instance: Instance) -> None:
    """A half-dead instance is first made whole: then it knows its guests."""
    up(instance)
    stop_guests(instance)
    kill(instance, SUPERVISOR, DAEMON)
    sweep(instance)


def _without_daemon(instance: Instance) -> None:
    """The helper alone knows what there is in the kernel. Guests are killed."""
    kill(instance)
    instance.run.mkdir(parents=True, exist_ok=True)
    with instance.log.open("ab") as log:
        helper = detach([*instance.enter, *instance.argv(HELPER)], log.fileno())
    deadline = time.monotonic() + READY
    while not helper_answers(instance):
        if os.waitpid(helper, os.WNOHANG) != (0, 0) or time.monotonic() > deadline:
            raise Trouble("the helper does not start", hint=f"its words are in {instance.log}")
        time.sleep(0.02)
    sweep(instance)


def stop_guests(instance: Instance, *, patience: int = 2) -> None:
    """Ask every running guest to stop, all at once; after ``patience`` seconds they are killed."""
    status, body = request(instance.socket, "GET", "/v1/guests")
    ids = [guest["id"] for guest in json.loads(body)] if status == 200 else []

    def stop(guest: str) -> None:
        request(instance.socket, "POST", f"/v1/guests/{guest}/stop?timeout={patience}", timeout=60)

    with ThreadPoolExecutor(max_workers=16) as pool:
        for ended in [pool.submit(stop, guest) for guest in ids]:
            ended.result()


def kill(instance: Instance, *roles: str) -> None:
    """End the loop, then the daemon, then the helper, by pid, and wait until they are gone."""
    for role in roles or (SUPERVISOR, DAEMON, HELPER):
        for pid, has in processes(instance).items():
            if has != role:
                continue
            try:
                gone = os.pidfd_open(pid)
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            select.select([gone], [], [], 10.0)
            os.close(gone)


def readable_by(user: str) -> bool:
    """Whether that user can read this checkout and its Python."""
    done = subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
         str(ROOT / ".venv/bin/python"), "-c", "import wirt.errors"],
        cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


# --- the command line -----------------------------------------------------------------------


def readable(instance: Instance) -> Instance:
    """The instance with its wished user if that one can read this checkout, else with root."""
    try:
        pwd.getpwnam(instance.user)
    except KeyError:
        print(f"note: there is no user {instance.user} ('make setup' makes it); wirtd runs as root")
        return replace(instance, user="root")
    if instance.user != "root" and not readable_by(instance.user):
        print(f"note: the user {instance.user} cannot read {ROOT}; wirtd runs as root")
        return replace(instance, user="root")
    return instance


def images(instance: Instance, *wanted: str) -> None:
    """Make sure that these images are there."""
    status, body = request(instance.socket, "GET", "/v1/images", timeout=30)
    have = body.decode() if status == 200 else ""
    for reference in wanted:
        if reference not in have:
            print(f"importing {reference}", flush=True)
            subprocess.run(
                [str(ROOT / "tools/images"), reference],
                env={**os.environ, "WIRT_HOST": f"unix://{instance.socket}"},
                check=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description="start and stop one wirt of this checkout")
    parser.add_argument("verb", choices=("up", "down", "restart", "status"))
    parser.add_argument("--name", default="wirtdev")
    parser.add_argument("--state", type=Path, default=ROOT / ".wirt")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--user", default="wirt")
    parser.add_argument("--no-images", action="store_true")
    parser.add_argument("--patience", type=float, default=READY, help="seconds to come up in")
    args = parser.parse_args()
    instance = Instance(
        name=args.name,
        state=args.state.resolve(),
        run=args.run or Path("/run") / args.name,
        user=args.user,
    )
    if args.verb == "status":
        print(f"{instance.name} {'answers' if answers(instance) else 'does not answer'}")
        return 0 if answers(instance) else 1
    try:
        if os.geteuid() != 0:
            raise Trouble("starting wirt needs root, for the helper", hint=f"sudo make {args.verb}")
        if args.verb == "down":
            down(instance)
            print(f"wirt {instance.name} is down; its state is in {instance.state}")
            return 0
        if args.verb == "restart":
            kill(instance)
        up(readable(instance), patience=args.patience)
        if not args.no_images:
            images(instance, "busybox:latest", "debian:12")
        checkout = ROOT / "bin/wirt"
        client = str(checkout) if checkout.exists() else "wirt"
        if instance.run != Path("/run/wirtdev" if checkout.exists() else "/run/wirt"):
            client = f"WIRT_HOST=unix://{instance.socket} {client}"  # which it looks for by itself
        print(f"wirt {instance.name} is up: try '{client} run --rm busybox uname -a'")
    except Trouble as trouble:
        print(f"instance: {trouble}\nhint: {trouble.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
