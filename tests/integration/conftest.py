"""A booted machine for the modules that only ask it things, and a witness of the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from machinebox import BOOT, SECRET, Box, Session, boxed, host, make_erofs, make_root, plan_of
from needs import require
from wirt.engine.protocol import ResolvedMount
from wirt.model.guest import GuestSpec
from wirt.model.resources import Resources
from wirt.model.volume import MountKind


def _bind(target: str, source: Path) -> ResolvedMount:
    return ResolvedMount(kind=MountKind.BIND, target=target, source=str(source))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, session_tag: str) -> Iterator[Box]:
    """A microVM that sleeps, with a folder, a file and a tmpfs mounted."""
    require(
        "root",
        "mountns",
        "qemu",
        "erofs",
        "busybox",
        "keeper",
        "agent",
        "guest-kernel",
        "virtiofsd",
    )
    base = tmp_path_factory.mktemp("machine")
    make_erofs(make_root(base / "tree"), base / "image.erofs")
    for name in ("rw", "ro"):
        (base / name).mkdir()
        (base / name / "note").write_text(SECRET)
    (base / "single").write_text("one file\n")
    mounts = (
        _bind("/mnt/rw", base / "rw"),
        replace(_bind("/mnt/ro", base / "ro"), read_only=True),
        replace(_bind("/etc/app.conf", base / "single"), is_file=True),
        ResolvedMount(kind=MountKind.TMPFS, target="/scratch", size=1 << 20, mode=0o700),
    )
    spec = GuestSpec(
        image="busybox",
        hostname="inside",
        ulimits={"nofile": (64, 128)},
        sysctls={"kernel.panic_on_oops": "1"},
        cap_drop=("NET_RAW",),
        security_opt=("no-new-privileges",),
        resources=Resources(pids=60),
        shm_size=2 << 20,
    )
    with boxed(base / "box", f"wt{session_tag}", base / "image.erofs") as made:
        made.launch(*plan_of(host(base), "sleep", "10000", spec=spec, mounts=mounts))

        async def boot() -> None:
            async with made.session(boot=True):
                pass

        asyncio.run(boot())
        yield made


@pytest.fixture
def tell(machine: Box) -> Callable[[Callable[[Session], Awaitable[None]]], None]:
    """Run a story in the machine."""

    def run(story: Callable[[Session], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(BOOT), machine.session() as session:
                await story(session)

        asyncio.run(whole())

    return run


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file of the host that attacks aim at."""
    victim = tmp_path / "canary"
    victim.write_text("alive")
    before = victim.stat()
    yield victim
    assert victim.read_text() == "alive"
    after = victim.stat()
    assert (after.st_mode, after.st_uid, after.st_nlink) == (before.st_mode, 0, 1)
    for path in ("/x", "/etc/x", "/wirt-attack", "/etc/wirt-attack", tmp_path / "one"):
        assert not Path(path).exists()
