"""The doctor on this very host, as its own program, without any daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needs import ROOT, needs


def doctor(
    tmp_path: Path, *words: str, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "wirt.daemon.doctor", "--run", str(tmp_path / "wtnone"),
            "--state", str(tmp_path), "--guest-dir", str(tmp_path), *words,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "WIRT_HOST": ""},
        capture_output=True, text=True, check=False, timeout=60, user=user,
    )  # fmt: skip


def test_json(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--json")
    report = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert found["helper"]["status"] == "warn"
    assert found["machines"]["status"] == "fail"  # there is no kernel in an empty directory
    assert report["kinds"]["vm"].startswith("no: there is no guest kernel")
    assert done.returncode == 1
    assert done.stderr == ""


def test_for_people(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.stdout.startswith("container ")
    assert "FAIL machines: there is no guest kernel" in done.stdout
    assert "cure: run make setup" in done.stdout


@needs("root")
def test_without_rights(tmp_path: Path) -> None:
    """Another user gets a report as well, if the checkout can be read."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o711 if path != tmp_path else 0o755)
    readable = subprocess.run(
        ["test", "-r", str(ROOT / "src/wirt/__init__.py")], user=65534, check=False
    )
    if readable.returncode:
        pytest.skip("another user cannot read this checkout")
    done = doctor(tmp_path, "--json", user=65534)
    assert json.loads(done.stdout)["findings"]
