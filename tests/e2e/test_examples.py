"""Every example runs as it stands, against a whole wirt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from live import ROOT, Live
from needs import needs

EXAMPLES = sorted(p for p in (ROOT / "examples").iterdir() if p.suffix in {".py", ".sh"})

SAYS = {
    "01_run.py": "exit code 0",
    "02_dial.sh": "vm ",
    "03_network.sh": "resolved and answered",
    "04_volume.sh": "written by a container\nand by a container",
    "05_events.py": "7",
    "06_build.sh": "HELLO FROM A BUILD",
}
"""What an example's output must hold."""

MACHINES = {"02_dial.sh"}


def run(example: Path, live: Live, *words: str) -> str:
    command = [sys.executable, str(example)] if example.suffix == ".py" else [str(example)]
    done = subprocess.run(
        [*command, *words],
        env={**os.environ, "WIRT_HOST": f"unix://{live.socket}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr + live.log()
    return done.stdout


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(p, marks=needs("qemu", "agent", "guest-kernel") if p.name in MACHINES else ())
        for p in EXAMPLES
    ],
    ids=lambda p: p.name,
)
def test_the_example_runs(example: Path, shared_instance: Live) -> None:
    assert SAYS[example.name] in run(example, shared_instance)


@needs("qemu", "agent", "guest-kernel")
@pytest.mark.parametrize("name", ["03_network.sh", "04_volume.sh"])
def test_it_also_runs_with_a_machine(name: str, shared_instance: Live) -> None:
    run(ROOT / "examples" / name, shared_instance, "microvm")


def test_every_example_is_short_and_checked() -> None:
    assert {p.name for p in EXAMPLES} == set(SAYS)
    assert all(len(p.read_text().splitlines()) <= 40 for p in EXAMPLES)
