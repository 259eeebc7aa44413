"""The client in this process, against a daemon that a test scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes.daemon import FakeDaemon
from wirt.cli.app import main

Run = Callable[..., tuple[int, str, str]]
"""Words of a command to its exit code, and what it wrote to either stream."""


def client(daemon: FakeDaemon, captured: pytest.CaptureFixture[str]) -> Run:
    """What runs commands for this daemon."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["--host", str(daemon.path), *words])
        out, err = captured.readouterr()
        return code, out, err

    return call
