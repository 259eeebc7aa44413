"""The leak check itself: what a test forgets is seen, what others own is not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import leaks
from needs import needs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_GRACE", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_forgotten_process_is_named(session_tag: str, tmp_path: Path) -> None:
    before = leaks.look(tag=session_tag, base=str(tmp_path))
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        left = leaks.settle(before, tag=session_tag, base=str(tmp_path))
        sleeper.kill()
    assert left == [f"process {sleeper.pid} sleep 60"]
    assert leaks.settle(before, tag=session_tag, base=str(tmp_path)) == []


@pytest.mark.usefixtures("impatient")
def test_an_orphan_becomes_ours(session_tag: str, tmp_path: Path) -> None:
    before = leaks.look(tag=session_tag, base=str(tmp_path))
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = leaks.settle(before, tag=session_tag, base=str(tmp_path))
    os.kill(int(shell.stdout), 9)
    os.waitpid(int(shell.stdout), 0)
    assert left == [f"process {shell.stdout.strip()} sleep 60"]


@needs("root")
@pytest.mark.usefixtures("impatient")
def test_forgotten_mounts_and_run_directories_are_named(
    instance_name: str, session_tag: str, tmp_path: Path
) -> None:
    before = leaks.look(tag=session_tag, base=str(tmp_path))
    run = Path("/run") / instance_name
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", run], check=True)
    left = leaks.settle(before, tag=session_tag, base=str(tmp_path))
    subprocess.run(["umount", run], check=True)
    run.rmdir()
    assert left == [f"file {run}", f"mount {run}"]
    assert leaks.settle(before, tag=session_tag, base=str(tmp_path)) == []
