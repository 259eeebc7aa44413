"""Running the client as a user does: as a process, with pipes or on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "src" / "wirt" / "cli" / "main.py"


def argv(words: Sequence[str]) -> list[str]:
    """The client's command line, as the launcher makes it."""
    return [sys.executable, "-I", "-S", "-X", "utf8", str(MAIN), *words]


def environment(socket: Path | str, **more: str) -> dict[str, str]:
    """A small, known environment."""
    return {"PATH": os.defpath, "WIRT_HOST": str(socket), "TERM": "dumb", "TZ": "UTC", **more}


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


def wirt(
    *words: str, socket: Path | str, stdin: bytes = b"", cwd: Path | None = None, **env: str
) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        argv(words),
        env=environment(socket, **env),
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        cwd=cwd,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def start(*words: str, socket: Path | str, **env: str) -> subprocess.Popen[bytes]:
    """Start a command with pipes; the caller ends it."""
    return subprocess.Popen(
        argv(words),
        env=environment(socket, **env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class Terminal:
    """A pseudo terminal with the client on its other side."""

    def __init__(
        self,
        *words: str,
        socket: Path | str,
        rows: int = 24,
        columns: int = 80,
        term: str = "dumb",
    ) -> None:
        self.master, self._slave = pty.openpty()
        self._size(rows, columns)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            argv(words),
            env=environment(socket, TERM=term),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = b""

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        """Change the window, and tell the client as a terminal does."""
        self._size(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, data: bytes) -> None:
        """Press keys."""
        os.write(self.master, data)

    def wait_for(self, text: bytes) -> None:
        """Read until ``text`` was shown."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} was not shown, but {self.seen!r}"
            if select.select([self.master], [], [], min(left, 0.2))[0]:
                self.seen += os.read(self.master, 65536)

    def press_until(self, data: bytes, text: bytes) -> None:
        """Press keys again and again until ``text`` was shown: what else has to come about first,
        as a new size, takes another way than the keys do."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} was not shown, but {self.seen!r}"
            self.press(data)
            if select.select([self.master], [], [], 0.5)[0]:
                self.seen += os.read(self.master, 65536)

    def mode(self) -> list[object]:
        """The terminal's attributes now."""
        return termios.tcgetattr(self._slave)

    def is_raw(self) -> bool:
        """Whether the terminal gives keys unprocessed and without echo."""
        flags = termios.tcgetattr(self._slave)[3]
        return not flags & (termios.ICANON | termios.ECHO | termios.ISIG)

    def end(self) -> int:
        """The client's exit code."""
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self.master)
        os.close(self._slave)
