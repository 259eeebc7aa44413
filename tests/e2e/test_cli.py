"""The command line against a whole instance: terminals, pipes, signals, files, names."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.terminal import Terminal, start, wirt
from live import Live


@contextmanager
def guest(live: Live, *words: str) -> Iterator[str]:
    """A guest in the background, removed afterwards."""
    name = live.wirt("run", "-d", *words).stdout.strip()
    try:
        yield name
    finally:
        live.wirt("rm", "-fv", name)


@contextmanager
def cleaned(live: Live, name: str) -> Iterator[None]:
    """Whatever happens, no guest of that name stays."""
    try:
        yield
    finally:
        live.wirt("rm", "-f", name)


def test_a_shell_on_a_terminal(shared_instance: Live) -> None:
    live = shared_instance
    words = ("run", "-it", "--rm", "--name", "tty", "busybox", "sh")
    with (
        cleaned(live, "tty"),
        Terminal(*words, socket=live.socket, rows=33, columns=99) as terminal,
    ):
        terminal.wait_for(b"# ")
        assert terminal.is_raw()
        terminal.press(b"stty size\r")
        terminal.wait_for(b"33 99")
        terminal.resize(44, 111)
        terminal.press_until(b"stty size\r", b"44 111")
        # a child tells that it is in the foreground: before that, the shell would get the ctrl-C
        terminal.press(b"sh -c 'echo go$((1 + 1)); exec sleep 100'\r")
        terminal.wait_for(b"go2")
        terminal.press(b"\x03")
        terminal.press(b"echo $((6 * 7))\r")
        terminal.wait_for(b"\r\n42\r\n")
        terminal.press(b"exit 5\r")
        assert terminal.end() == 5
        assert terminal.mode() == terminal.before
    assert live.wirt("ps", "-aq").stdout == ""


def test_detach_and_attach_again(shared_instance: Live) -> None:
    live = shared_instance
    words: tuple[str, ...] = ("run", "-it", "--name", "shell", "busybox", "sh")
    with cleaned(live, "shell"):
        with Terminal(*words, socket=live.socket) as terminal:
            terminal.wait_for(b"# ")
            terminal.press(b"\x10\x11")
            assert terminal.end() == 0
            assert terminal.mode() == terminal.before
        assert live.wirt("inspect", "-f", "{{.Status.State}}", "shell").stdout == "running\n"
        words = ("attach", "--detach-keys", "ctrl-x", "shell")
        with Terminal(*words, socket=live.socket) as terminal:
            terminal.press(b"echo $((40 + 2))\r")
            terminal.wait_for(b"\r\n42\r\n")
            terminal.press(b"\x18")
            assert terminal.end() == 0
        with Terminal("attach", "shell", socket=live.socket) as terminal:
            terminal.press(b"exit 9\r")
            assert terminal.end() == 9


def test_exec_on_a_terminal(shared_instance: Live) -> None:
    live = shared_instance
    with guest(live, "busybox", "sleep", "100") as name:
        words = ("exec", "-it", "-w", "/tmp", "-e", "A=b c", name, "sh")
        with Terminal(*words, socket=live.socket, rows=20, columns=70) as terminal:
            terminal.wait_for(b"# ")
            terminal.press(b'stty size; pwd; echo "<$A>"\r')
            terminal.wait_for(b"20 70")
            terminal.wait_for(b"/tmp")
            terminal.wait_for(b"<b c>")
            terminal.press(b"exit 3\r")
            assert terminal.end() == 3
            assert terminal.mode() == terminal.before


def test_a_pipe_through_a_guest(shared_instance: Live) -> None:
    """Input ends by half-close; every byte comes back."""
    data = bytes(range(256)) * 80_000
    for words in (["run", "-i", "--rm", "busybox", "cat"],):
        done = wirt(*words, socket=shared_instance.socket, stdin=data)
        assert (done.code, done.err) == (0, "")
        assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()
    with guest(shared_instance, "busybox", "sleep", "100") as name:
        done = wirt("exec", "-i", name, "sha256sum", socket=shared_instance.socket, stdin=data)
        assert done.text.split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_guest(shared_instance: Live, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 40' {name}; echo ready; while :; do sleep 0.05; done"
    process = start("run", "--rm", "busybox", "sh", "-c", script, socket=shared_instance.socket)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {name}\n".encode()
        assert process.wait(20) == 40


def test_a_killed_daemon_leaves_the_attached_client_alone(instance: Live) -> None:
    script = "echo one; read x; echo two $x; exit 6"
    process = start("run", "-i", "--rm", "busybox", "sh", "-c", script, socket=instance.socket)
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"one\n"
        instance.kill("wirt.daemon")
        process.stdin.write(b"words\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"two words\n"
        assert process.wait(60) == 6


def test_hundred_megabytes_attached_and_logged(shared_instance: Live) -> None:
    live = shared_instance
    size = 100 << 20
    words = ["busybox", "dd", "if=/dev/zero", "bs=1M", "count=100", "status=none"]
    done = wirt("run", "--name", "big", "--log-opt", "max-size=300m", *words, socket=live.socket)
    assert (done.code, len(done.out)) == (0, size)
    assert len(wirt("logs", "big", socket=live.socket).out) == size
    live.wirt("rm", "big")


def test_files_in_and_out(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a").write_text("alpha")
    (tmp_path / "in" / "sub" / "b").write_bytes(bytes(3_000_000))
    (tmp_path / "in" / "link").symlink_to("a")
    with guest(live, "busybox", "sleep", "100") as name:
        live.wirt("cp", str(tmp_path / "in"), f"{name}:/srv")
        told = live.wirt(
            "exec", name, "sh", "-c", "cat /srv/link; wc -c < /srv/sub/b; stat -c %u /srv/a"
        )
        assert told.stdout == "alpha3000000\n0\n"
        live.wirt("cp", f"{name}:/srv/.", str(tmp_path / "out"))
        assert (tmp_path / "out" / "sub" / "b").read_bytes() == bytes(3_000_000)
        assert (tmp_path / "out" / "link").readlink() == Path("a")
        done = wirt("cp", f"{name}:/srv/a", "-", socket=live.socket)
        with tarfile.open(fileobj=io.BytesIO(done.out)) as tar:
            assert tar.getnames() == ["a"]
        assert live.wirt("cp", f"{name}:/none", str(tmp_path), code=3).stderr.count("/none")
        live.wirt("cp", str(tmp_path / "in" / "a"), f"{name}:/no/where", code=3)
        live.wirt("stop", "-t", "0", name)
        live.wirt("cp", f"{name}:/srv/a", str(tmp_path / "late"))
        assert (tmp_path / "late").read_text() == "alpha"


def test_logs_forms(shared_instance: Live) -> None:
    live = shared_instance
    script = "for i in 1 2 3; do echo line $i; done; echo oops >&2"
    with guest(live, "busybox", "sh", "-c", script) as name:
        live.wirt("wait", name)
        done = live.wirt("logs", name)
        assert (done.stdout, done.stderr) == ("line 1\nline 2\nline 3\n", "oops\n")
        assert live.wirt("logs", "-n", "2", name).stdout == "line 3\n"
        stamped = live.wirt("logs", "-t", name).stdout.splitlines()
        assert [line.partition(" ")[2] for line in stamped] == ["line 1", "line 2", "line 3"]
        assert live.wirt("logs", "--until", "1h", name).stdout == ""
        assert live.wirt("logs", "--since", "10m", "-f", name).stdout.count("line") == 3


def test_looking_on(shared_instance: Live) -> None:
    live = shared_instance
    with guest(
        live, "--name", "eye", "-l", "role=test", "-p", "127.0.0.1::80", "busybox", "sleep", "100"
    ) as name:
        row = live.wirt("ps", "--format", '{{.Names}} {{.Kind}} {{.Image}} {{.Label "role"}}')
        assert row.stdout == "eye container busybox test\n"
        address = live.wirt("port", "eye", "80").stdout.strip()
        assert address.startswith("127.0.0.1:")
        assert f"{address}->80/tcp" in live.wirt("ps").stdout
        assert "sleep 100" in live.wirt("top", "eye").stdout
        used = live.wirt("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "eye").stdout
        assert used == "eye 1\n"
        seen = json.loads(live.wirt("inspect", "eye").stdout)[0]
        assert seen["spec"]["labels"] == {"role": "test"}
        live.wirt("update", "-m", "64m", "eye")
        assert (
            live.wirt("inspect", "-f", "{{.Spec.Resources.Memory}}", "eye").stdout == "67108864\n"
        )
        live.wirt("rename", "eye", "ear")
        actions = live.wirt(
            "events",
            "--since",
            "10m",
            "--until",
            "0s",
            "-f",
            f"guest={name}",
            "--format",
            "{{.Action}}",
        )
        assert {"create", "start"} <= set(actions.stdout.split())
        live.wirt("rename", "ear", "eye")


def test_images_go_out_and_in(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    for form in ("docker", "oci"):
        archive = tmp_path / f"{form}.tar"
        live.wirt("tag", "busybox", f"copy:{form}")
        live.wirt("save", "--format", form, "-o", str(archive), f"copy:{form}")
        live.wirt("rmi", f"copy:{form}")
        assert live.wirt("images", f"copy:{form}", "-q").stdout == ""
        assert f"copy:{form}" in live.wirt("load", "-i", str(archive)).stdout
        assert live.wirt("run", "--rm", f"copy:{form}", "echo", form).stdout == f"{form}\n"
        live.wirt("rmi", f"copy:{form}")
    archive.write_bytes(archive.read_bytes()[:100_000])
    assert live.wirt("load", "-i", str(archive), code=None).returncode == 2
    assert "busybox" in live.wirt("images").stdout
    assert live.wirt("history", "busybox").stdout.startswith("IMAGE ")


def test_networks_and_volumes(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("network", "create", "club")
    live.wirt("volume", "create", "shelf")
    try:
        with guest(
            live, "--name", "host", "--network", "club", "-v", "shelf:/s", "busybox", "sleep", "100"
        ):
            live.wirt("exec", "host", "sh", "-c", "echo book > /s/book")
            script = "nslookup host >/dev/null && cat /s/book; touch /s/x 2>/dev/null || echo ro"
            words = ("--network", "club", "-v", "shelf:/s:ro", "busybox", "sh", "-c", script)
            done = live.wirt("run", "--rm", *words)
            assert done.stdout == "book\nro\n"
            assert live.wirt("network", "rm", "club", code=4).stderr.count("hint:") == 1
            assert live.wirt("volume", "rm", "shelf", code=4).stderr.count("hint:") == 1
    finally:
        live.wirt("network", "rm", "club")
        live.wirt("volume", "rm", "shelf")


def test_what_goes_wrong_is_said(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    for words, code in (
        (["run", "--rm", "--memory", "1", "busybox", "true"], 125),
        (["run", "--rm", "--user", "nobodyhere", "busybox", "true"], 125),
        (["run", "--rm", "--network", "nowhere", "busybox", "true"], 125),
        (["run", "--rm", "--cap-add", "FLY", "busybox", "true"], 125),
        (["run", "--rm", "--stop-signal", "NOPE", "busybox", "true"], 125),
        (["run", "--rm", "--mount", "type=bind,source=/no/such,target=/x", "busybox", "true"], 125),
        (["exec", "nobody", "true"], 125),
        (["start", "nobody"], 3),
        (["rm", "nobody"], 3),
        (["inspect", "nobody"], 3),
        (["image", "inspect", "no/body"], 3),
        (["network", "inspect", "nobody"], 3),
        (["kill", "-s", "NOPE", "nobody"], 3),
        (["ps", "--filter", "colour=red"], 2),
    ):
        done = live.wirt(*words, code=code)
        assert done.stderr.startswith("wirt: "), words
        assert done.stdout in {"", "[]\n"}, words
        assert "Traceback" not in done.stderr
    assert live.wirt("ps", "-aq").stdout == ""
