"""`install.sh --uninstall` in namespaces with places of their own: nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from live import ROOT, apart
from needs import needs, require
from waiting import until
from wirt.linux import zram
from wirt.linux.cgroup import Cgroups

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper", "zram"),
    pytest.mark.timeout(240),
]
PLACES = f"""
mount -t tmpfs none /mnt; mkdir /mnt/new /mnt/work
mount -t overlay none -o lowerdir=/etc,upperdir=/mnt/new,workdir=/mnt/work /etc
for place in /opt /run /var/lib /usr/local/bin; do mount -t tmpfs -o mode=755 none $place; done
mkdir -p /opt/wirt /etc/wirt
cp -r {ROOT}/tools /opt/wirt/
ln -s {ROOT}/.venv {ROOT}/build {ROOT}/src /opt/wirt/
ln -s {ROOT}/bin/wirt /usr/local/bin/wirt
umount -l /mnt
"""
"""An installed wirt that can be deleted: only links lead to the checkout."""
NAME = "wirt"
WHO = ("--name", NAME, "--state", "/var/lib/wirt", "--run", "/run/wirt", "--no-images")
IDLE = ("--network", "none", "--idle", "pause", "--idle-after", "1s")


class House:
    """The places, and who is in them."""

    def __init__(self, enter: tuple[str, ...]) -> None:
        self._enter = enter

    def do(self, *argv: str, code: int = 0, feed: str | None = None) -> str:
        done = subprocess.run(
            [*self._enter, "env", "WIRT_HOST=unix:///run/wirt/wirt.sock", *argv],
            input=feed, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def wirt(self, *words: str) -> str:
        return self.do(f"{ROOT}/bin/wirt", *words)

    def settings(self, text: str) -> None:
        self.do("tee", f"/etc/wirt/{NAME}.toml", feed=text)

    def there(self, path: str) -> bool:
        return self.do("sh", "-c", f"test -e {path} && echo yes || echo no").strip() == "yes"


def groups() -> list[Path]:
    """The instance's control groups."""
    return [one for one in Cgroups.detect().directories(f"/{NAME}") if one.exists()]


def pids() -> list[int]:
    return list(Cgroups.detect().processes(f"/{NAME}")) if groups() else []


@pytest.fixture
def house() -> Iterator[House]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    if Path("/opt/wirt").exists() or groups():
        pytest.skip("an instance of this name is installed here")
    before = set(zram.devices())
    with apart(PLACES.strip()) as enter:
        made = House(enter)
        try:
            yield made
        finally:
            if made.there("/opt/wirt/tools/instance.py"):
                made.settings("")
                made.do("/opt/wirt/tools/instance.py", "down", *WHO)
    assert groups() == []
    assert set(zram.devices()) <= before


def fill(house: House) -> None:
    """Start it, with swap, and with guests that run, sleep and are paused."""
    house.settings('[governor.pool]\nzram = "8m"\n')
    house.do("/opt/wirt/tools/instance.py", "up", *WHO)
    house.do(f"{ROOT}/tools/images", "busybox:latest")
    house.wirt("run", "-d", "--name", "runs", "-p", "127.0.0.1:0:80", "busybox", "sleep", "1000")
    house.wirt("run", "-d", "--name", "sleeps", *IDLE, "busybox", "sleep", "1000")
    house.wirt("run", "-d", "--name", "waits", "busybox", "sleep", "1000")
    house.wirt("pause", "waits")
    until(lambda: "(Paused, idle)" in house.wirt("ps"), "one sleeps", 20)
    assert "zram" in Path("/proc/swaps").read_text()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "broken"])
def test_nothing_is_left(house: House, whole: bool) -> None:
    before = set(zram.devices())
    fill(house)
    if not whole:  # it does not even start any more
        instance = local.Instance(
            name=NAME, state=Path("/var/lib/wirt"), run=Path("/run/wirt"), user="wirt"
        )
        house.settings("[governor]\ntick = 'no'\n")
        for role in (local.SUPERVISOR, local.DAEMON, local.HELPER):
            for pid, has in local.processes(instance).items():
                if has == role:
                    os.kill(pid, signal.SIGKILL)
    guests = pids()
    assert len(guests) >= 3
    told = house.do(f"{ROOT}/install.sh", "--uninstall")
    assert "is uninstalled" in told
    assert ("not an orderly end" in told) is not whole
    assert pids() == []
    assert groups() == []
    assert set(zram.devices()) <= before
    assert not any(house.there(path) for path in ("/opt/wirt", "/usr/local/bin/wirt", "/run/wirt"))
    assert "wirt" not in house.do("nft", "list", "ruleset")
    links = house.do("ip", "-o", "link").splitlines()
    assert len(links) == 1, "the loopback alone is left"
    assert house.there("/var/lib/wirt/wirt.db"), "what is on disk is kept"
    purged = house.do(f"{ROOT}/install.sh", "--purge")
    assert "its settings in /etc/wirt are left" in purged
    assert not house.there("/var/lib/wirt")
    if "the user wirt is left" not in purged:  # others may run here
        house.do("id", "wirt", code=1)


def test_the_programs_stay_while_something_is_left(house: House) -> None:
    before = set(zram.devices())
    fill(house)
    (device,) = {one for one in zram.devices() if one.swapping} - before
    with device.path.open("rb"):
        told = house.do(f"{ROOT}/install.sh", "--uninstall", code=1)
        assert "kept open by another program" in told
        assert "its programs stay" in told
        assert house.there("/opt/wirt/tools/instance.py")
    assert "is uninstalled" in house.do(f"{ROOT}/install.sh", "--uninstall")
    assert set(zram.devices()) <= before
