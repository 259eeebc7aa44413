"""``wirt build --debug-shell``: somebody looks into a step that failed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fakes.terminal import Terminal
from live import Live
from needs import needs

DOCKERFILE = """\
FROM busybox
WORKDIR /work
ENV WHO=me
RUN echo before > /work/before
RUN --mount=type=secret,id=key,target=/run/secrets/key,env=KEY --mount=type=bind,target=/b,rw \\
    echo half > /work/half; echo mine > /b/mine; exit 9
"""


def settled(live: Live) -> list[str]:
    """What is left of guests once all was removed."""
    deadline = time.monotonic() + 20
    folder = live.instance.state / "guests"
    while (left := sorted(p.name for p in folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param((), id="container"),
        pytest.param(
            ("--as", "microvm"),
            id="microvm",
            marks=needs("qemu", "agent", "guest-kernel", "erofs", "virtiofsd"),
        ),
    ],
)
def test_a_shell_in_a_failed_step(
    shared_instance: Live, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "key").write_text("hidden")
    (tmp_path / "part").write_text("given\n")
    words = (
        "build", "--debug-shell", "--progress", "plain", "--no-cache", *kind,
        "--secret", f"id=key,src={tmp_path}/key", str(tmp_path),
    )  # fmt: skip
    with Terminal(*words, socket=shared_instance.socket, rows=33, columns=99) as terminal:
        terminal.wait_for(b"leave it with 'exit'")
        terminal.wait_for(b"# ")
        terminal.press(b"cat before half; echo $WHO; pwd; stty size\r")
        terminal.wait_for(b"before\r\nhalf\r\nme\r\n/work\r\n33 99")
        terminal.press(b"cat /b/part /b/mine; echo $KEY-$(cat /run/secrets/key)\r")
        terminal.wait_for(b"given\r\nmine\r\nhidden-hidden")
        terminal.resize(44, 111)
        terminal.press_until(b"stty size\r", b"44 111")
        terminal.press(b"exit\r")
        assert terminal.end() != 0
        assert terminal.mode() == terminal.before
    assert settled(shared_instance) == []
    assert shared_instance.wirt("ps", "-aq").stdout == ""


def test_no_shell_without_a_terminal(shared_instance: Live, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    done = shared_instance.wirt("build", "--debug-shell", str(tmp_path), code=None)
    assert done.returncode == 2
    assert "--debug-shell needs a terminal" in done.stderr
    failed = shared_instance.wirt("build", str(tmp_path), code=None)
    assert "Dockerfile:5" in failed.stderr
    assert "exit code 9" in failed.stderr
    assert settled(shared_instance) == []


def test_steps_that_are_not_there(shared_instance: Live) -> None:
    status, problem = shared_instance.ask("POST", f"/v1/build/steps/{'a' * 64}/shell")
    assert (status, problem["code"]) == (404, "build.no-step")
    assert shared_instance.ask("DELETE", f"/v1/build/steps/{'a' * 64}")[0] == 204
