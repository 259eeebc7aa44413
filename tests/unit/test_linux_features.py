"""Reading what the host allows, from texts of several hosts."""

from __future__ import annotations

import pytest

from wirt.linux import features
from wirt.linux.features import UNLIMITED

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 20000                files
Max processes             96365                96365                processes
Max something new         1                    2                    things
"""


def test_limits() -> None:
    assert features.parse_limits(LIMITS) == {"cpu": UNLIMITED, "nofile": 20000, "nproc": 96365}


def test_capabilities() -> None:
    names = features.parse_capabilities("000001fffeffffff")
    assert len(names) == 40
    assert "SYS_RESOURCE" not in names
    assert features.parse_capabilities("ffffffffffffffff") == frozenset(features.CAPABILITIES)
    assert features.parse_capabilities("0") == frozenset()


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", {0}), ("0-2,4\n", {0, 1, 2, 4}), ("8191", {8191}), ("3, 5", {3, 5})],
)
def test_cpu_lists(text: str, cpus: set[int]) -> None:
    assert features.parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "2-1", "0-", "-1", "0,,1", "8192", "0-99999", "٣"])
def test_bad_cpu_lists(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract
        features.parse_cpus(text)


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-40-amd64", (6, 1)), ("6.18.44", (6, 18)), ("7", (0, 0)), ("custom", (0, 0))],
)
def test_releases(release: str, version: tuple[int, int]) -> None:
    assert features.parse_release(release) == version


def test_meminfo() -> None:
    found = features.parse_meminfo("MemTotal:  16 kB\nHugePages_Total:  0\nMemFree: 4 kB\n")
    assert found == {"MemTotal": 16384, "MemFree": 4096}


def test_the_facts_of_this_host() -> None:
    facts = features.read_facts()
    assert facts.cpus
    assert facts.memory > 0
    assert facts.rlimits["nofile"] > 0
    assert facts.kernel > (4, 0)
