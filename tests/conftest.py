"""Rules that every test lives by: needs are probed, and nothing outlives its test."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator

import pytest

import leaks
from live import Live, running
from needs import require


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): capabilities of the host, see needs.py")
    leaks.become_subreaper()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What fails shows what the instances that it used have logged."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for used in item.funcargs.values():
            if isinstance(used, Live):
                report.sections.append((f"log of {used.instance.name}", used.log()))
    return report


@pytest.fixture(scope="session")
def session_tag() -> str:
    """Four hex digits by which the kernel objects of this session are recognised."""
    return secrets.token_hex(2)


@pytest.fixture
def instance_name(session_tag: str) -> str:
    """A fresh instance name: ``wt``, the session's tag, four more hex digits."""
    return f"wt{session_tag}{secrets.token_hex(2)}"


@pytest.fixture
def instance(instance_name: str) -> Iterator[Live]:
    """A whole wirt of this test alone, with the busybox image."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with running(instance_name) as live:
        yield live


@pytest.fixture(scope="session")
def shared_instance(session_tag: str) -> Iterator[Live]:
    """A whole wirt for tests that leave nothing behind in it; started once."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with running(f"wt{session_tag}") as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_leaks(
    request: pytest.FixtureRequest, session_tag: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """After each integration and e2e test: nothing that the test made may still exist."""
    parts = request.path.parts
    if not {"integration", "e2e"} & set(parts):
        yield
        return
    base = str(tmp_path_factory.getbasetemp())
    before = leaks.look(tag=session_tag, base=base)
    yield
    left = leaks.settle(before, tag=session_tag, base=base)
    if left:
        pytest.fail("left behind by this test:\n  " + "\n  ".join(left), pytrace=False)
