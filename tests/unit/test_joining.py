"""What the keeper is told of a further process that it may start without the engine."""

from __future__ import annotations

from typing import Any

import pytest

from wirt.crun.spec.process import capability_sets
from wirt.engine._joining import record

PROCESS: dict[str, Any] = {
    "terminal": False,
    "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]},
    "args": ["a", "b c"],
    "env": ["PATH=/bin", "A="],
    "cwd": "/srv",
    "capabilities": capability_sets(frozenset({"CHOWN", "CHECKPOINT_RESTORE"})),
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}],
    "noNewPrivileges": True,
}


def test_every_part_of_the_process_is_told() -> None:
    assert record(PROCESS) == {
        "argv": ["a", "b c"],
        "env": ["PATH=/bin", "A="],
        "cwd": ["/srv"],
        "uid": ["5"],
        "gid": ["6"],
        "group": ["7", "8"],
        "bounding": ["10000000001"],
        "effective": ["10000000001"],
        "permitted": ["10000000001"],
        "rlimit": ["7:1:18446744073709551615"],
        "no_new_privileges": ["1"],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"terminal": True},
        {"oomScoreAdj": 5},
        {"capabilities": {"ambient": ["CAP_CHOWN"], "bounding": ["CAP_CHOWN"]}},
        {"user": {"uid": 0, "gid": 0, "umask": 7}},
    ],
)
def test_what_only_the_engine_knows_is_left_to_it(change: dict[str, Any]) -> None:
    assert record(PROCESS | change) == {}
