"""Terminals, pipes and signals: the same in front of every kind of guest."""

from __future__ import annotations

import hashlib
import signal

import pytest

from e2e.test_kinds import KINDS, MACHINES
from fakes.terminal import Terminal, start, wirt
from live import Live
from needs import needs, require

MACHINE = ("qemu", "agent", "guest-kernel")


def require_kind(kind: str) -> None:
    """Skip where this kind cannot run."""
    if kind != "container":
        require(*MACHINE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_terminal_is_left_and_entered_again(shared_instance: Live, kind: str) -> None:
    require_kind(kind)
    live, socket = shared_instance, shared_instance.socket
    words = ("run", "-it", "--as", kind, "--name", "shell", "busybox", "sh")
    try:
        with Terminal(*words, socket=socket, rows=33, columns=99) as terminal:
            terminal.wait_for(b"# ")
            assert terminal.is_raw()
            terminal.press(b"stty size; tty\r")
            terminal.wait_for(b"33 99")
            terminal.wait_for(b"/dev/")
            terminal.resize(44, 111)
            terminal.press_until(b"stty size\r", b"44 111")
            terminal.press(b"sh -c 'echo go$((1 + 1)); exec sleep 100'\r")
            terminal.wait_for(b"go2")
            terminal.press(b"\x03")
            terminal.wait_for(b"^C")
            terminal.wait_for(b"# ")
            terminal.press(b"echo $((6 * 7))\r")
            terminal.wait_for(b"\r\n42\r\n")
            terminal.press(b"\x10\x11")
            assert terminal.end() == 0
            assert terminal.mode() == terminal.before
        words = ("exec", "-it", "-w", "/tmp", "-e", "A=b c", "shell", "sh")
        with Terminal(*words, socket=socket, rows=20, columns=70) as terminal:
            terminal.wait_for(b"# ")
            terminal.press(b'stty size; pwd; echo "<$A>"; kill -9 $$\r')
            terminal.wait_for(b"20 70")
            terminal.wait_for(b"/tmp")
            terminal.wait_for(b"<b c>")
            assert terminal.end() == 137
            assert terminal.mode() == terminal.before
        with Terminal("attach", "--detach-keys", "ctrl-x", "shell", socket=socket) as terminal:
            terminal.press(b"echo $((40 + 3))\r")
            terminal.wait_for(b"\r\n43\r\n")
            terminal.press(b"\x18")
            assert terminal.end() == 0
        with Terminal("attach", "shell", socket=socket) as terminal:
            terminal.press(b"exit 9\r")
            assert terminal.end() == 9
        assert b"go2" in wirt("logs", "shell", socket=socket).out
    finally:
        live.wirt("rm", "-f", "shell")


@needs(*MACHINE)
@pytest.mark.parametrize("kind", MACHINES)
def test_a_pipe_through_a_machine(shared_instance: Live, kind: str) -> None:
    """Input ends by half-close; every byte comes back."""
    data = bytes(range(256)) * 40_000
    words = ("run", "-i", "--rm", "--as", kind, "busybox", "sh", "-c", "cat; echo end >&2; exit 3")
    done = wirt(*words, socket=shared_instance.socket, stdin=data)
    assert (done.code, done.err) == (3, "end\n")
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


@needs(*MACHINE)
def test_much_output_of_a_machine_arrives_and_is_kept(shared_instance: Live) -> None:
    live = shared_instance
    script = "dd if=/dev/zero bs=1M count=30 status=none; echo; sleep 100"
    words = ("--log-opt", "max-size=100m", "busybox", "sh", "-c", script)
    process = start("run", "--as", "microvm", "--name", "big", *words, socket=live.socket)
    try:
        with process:
            assert process.stdout is not None
            assert process.stdout.read((30 << 20) + 1) == bytes(30 << 20) + b"\n"
            assert len(wirt("logs", "big", socket=live.socket).out) == (30 << 20) + 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 143
    finally:
        live.wirt("rm", "-f", "big")
