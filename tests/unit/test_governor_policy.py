"""Policies that make no sense: each refusal names the setting, what stands there, and the cure."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest

from wirt.cli.command.governor import _read, toml
from wirt.errors import Invalid
from wirt.governor.tree import Resource
from wirt.host.governing.policy import Policy, Pool, check_room, read
from wirt.host.governing.pool import Bounds

GIB = 1 << 30
END = "of the governor's policy"


@pytest.mark.parametrize(
    ("table", "told", "hint"),
    [
        ({"tick": "1s"}, f"tick = '1s' {END} has the wrong type", "write a number"),
        ({"tick": True}, f"tick = true {END} has the wrong type", "write a number"),
        ({"tick": -1}, f"tick = -1 {END} is out of range", "write 0.05 to 60"),
        ({"tick": math.nan}, f"tick = nan {END} is out of range", "write 0.05 to 60"),
        ({"mode": "perhaps"}, f"mode = 'perhaps' {END} is none", "write one of: on, off"),
        ({"mode": 3}, f"mode = 3 {END} has the wrong type", "write one of: on, off"),
        ({"divide": "x"}, f"divide = 'x' {END}", "write one of: auto, always, short"),
        ({"idle": {"batch": "sleep"}}, f"idle.batch = 'sleep' {END}", "never, minimal, pause"),
        ({"idle": {"groups": 3}}, f"idle.groups = 3 {END} has the wrong", "write a table"),
        ({"idle": {"groups": {"../x": "pause"}}}, "invalid group name '../x'", "as sales/web"),
        ({"idle": {"groups": {"a": "x"}}}, "the governor's policy", ""),
        ({"idle": {"after": "soon"}}, f"idle.after = 'soon' {END}: invalid duration", "1m30s"),
        ({"idle": {"after": "0s"}}, "idle.after 0s is out of range", "write 1s to 744h"),
        ({"idle": {"wake_every": "1s"}}, "idle.wake_every 1s is out of range", "0 for never"),
        ({"pool": {"memory": "lots"}}, f"pool.memory = 'lots' {END}: invalid size", "as 512m"),
        ({"pool": {"memory": 1}}, f"pool.memory = 1 {END} is out of range", "1MiB to "),
        ({"pool": {"memory": []}}, f"pool.memory = a list {END} has the wrong", "number or a text"),
        ({"pool": {"net": "1e30"}}, f"pool.net = '1e30' {END}: invalid rate", "as 50m"),
        ({"pool": {"zram": "900%"}}, "pool.zram = '900%'", "write 1% to 200%"),
        ({"pool": {"zram": "x"}}, f"pool.zram = 'x' {END}: invalid size", "as 512m"),
        ({"pool": 3}, f"pool = 3 {END} has the wrong type", "write a table"),
        ({"reserve": {"memory": -1}}, f"reserve.memory = -1 {END} is out of range", "write 0B to"),
        ({"tuning": {"tax": "much"}}, f"tuning.tax = 'much' {END} has the wrong", "a number"),
        ({"tuning": {"tax": {"x": 1}}}, f"tuning.tax = a table {END} has the wrong", "a number"),
        ({"tuning": {"patience": 1.5}}, f"tuning.patience = 1.5 {END}", "write a whole number"),
        ({"tuning": {"ramp": 0.5}}, f"tuning.ramp = 0.5 {END} is out of range", "write 1 to 100"),
        ({"tuning": {"taxi": 1}}, "has no setting 'tuning.taxi'", "tuning.tax, "),
        ({"frob": 1}, "has no setting 'frob'", "there are divide, idle, mode"),
        ({"guests": {}}, "has no setting 'guests'", "[guests] is for 'wirt replay' only"),
        ({"pool": {"gpu": 1}}, "has no setting 'pool.gpu'", "pool.cpu, pool.disk"),
        ([], "the policy has the wrong type", "write a table"),
        (None, "the policy has the wrong type", "write a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(table: object, told: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(table)
    assert told in caught.value.message
    assert "`" not in caught.value.message
    assert caught.value.hint
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("table", "left"),
    [
        ({"reserve": {"memory": "99t"}}, False),
        ({"reserve": {"memory": "8g"}}, False),
        ({"reserve": {"cpu": 2.0}}, False),
        ({"pool": {"memory": "1g"}, "reserve": {"memory": "2g"}}, False),
        ({"reserve": {"memory": "7g", "cpu": 1.9}}, True),
        ({"pool": {"memory": "999g", "cpu": 64.0}}, True),
        ({}, True),
    ],
)
def test_guests_must_be_left_something(table: object, left: bool) -> None:
    policy: Policy = read(table)
    host = policy.host(cpus=2, memory=8 * GIB)
    if left:
        check_room(policy, host)
        return
    with pytest.raises(Invalid, match=r"reserve\.(cpu|memory) = .* leaves guests nothing of "):
        check_room(policy, host)


@pytest.mark.parametrize(
    ("pool", "told", "hint"),
    [
        (Pool(memory="9g"), "pool.memory = 9g of the governor's policy is more than", "8192m"),
        (Pool(memory=(8 << 30) + 1), "pool.memory = 8589934593", "leave it out"),
        (Pool(cpu=2.5), "pool.cpu = 2.5 of the governor's policy is more than the 2 CPUs", "2,"),
    ],
)
def test_a_pool_above_the_host_is_no_secret(pool: Pool, told: str, hint: str) -> None:
    bounds = Bounds(cast(Any, None), cpus=2, memory=8 << 30)
    with pytest.raises(Invalid) as caught:
        bounds.check(pool)
    assert told in caught.value.message
    assert hint in (caught.value.hint or "")
    (words,) = bounds.excess(pool)
    assert told[:11] in words
    assert "guests share" in words


def test_a_pool_of_all_there_is_is_one() -> None:
    bounds = Bounds(cast(Any, None), cpus=2, memory=8 << 30)
    whole = Pool(cpu=2, memory="8g")
    bounds.check(whole)
    assert bounds.excess(whole) == bounds.excess(Pool()) == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tick = 2\n[governor]\ntick = 1\n", "write tick = ... below [governor]"),
        ("[governor]\ntick = 1\n[pool]\nmemory = '1g'\n", "write [governor.pool]"),
    ],
)
def test_what_stands_beside_the_policy_is_refused(tmp_path: Path, text: str, hint: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match="beside") as caught:
        _read(str(file))
    assert caught.value.hint == hint


def test_other_settings_beside_it_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wirt.toml"
    file.write_text("[governor]\ntick = 1\n[store]\nmax-disk = '1g'\n")
    assert _read(str(file)) == {"tick": 1}
    assert "[store] is read when the daemon starts" in capfd.readouterr().err


def test_a_policy_is_shown_as_it_is_written() -> None:
    shown = toml({"tick": 1.0, "idle": {"wake_at": ["Mon-Fri 07:45", "Sat 10:00"], "groups": {}}})
    idle = tomllib.loads(shown)["governor"]["idle"]
    assert idle == {"wake_at": ["Mon-Fri 07:45", "Sat 10:00"], "groups": {}}


@pytest.mark.parametrize(
    ("table", "memory"),
    [
        ({}, 8 * GIB - (256 << 20)),
        ({"pool": {"memory": "1g"}}, GIB),
        ({"pool": {"memory": "8g"}}, 8 * GIB - (256 << 20)),
        ({"pool": {"memory": "99g"}}, 8 * GIB - (256 << 20)),
        ({"pool": {"memory": "99g"}, "reserve": {"memory": "1g"}}, 7 * GIB),
        ({"pool": {"memory": "4g"}, "reserve": {"memory": "1g"}}, 3 * GIB),
    ],
)
def test_no_pool_lends_what_the_host_keeps(table: object, memory: int) -> None:
    host = read(table).host(cpus=2, memory=8 * GIB)
    assert host.available(Resource.MEMORY) == memory
