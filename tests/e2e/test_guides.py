"""What the tutorial and the guides tell a reader to type works, line by line, in the order in which
they tell it. A line whose comment says that it fails, or is refused, must fail; others must not."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from live import ROOT, Live
from needs import needs

pytestmark = pytest.mark.timeout(300)
MACHINES = needs("qemu", "agent", "guest-kernel")

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FAILS = re.compile(r"# *(fails|refused)\b")
TYPED = ("wirt ", "wget ")
STAYS = "busybox sleep 1000"
PLACE = "PLACE"
"""Stands for the directory in which everything is typed."""
ENDLESS = "it goes on until it is left"
NO_TERMINAL = "there is no terminal"


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A page below ``docs/``.

    ``instead``: what stands in for what only the reader has, or for an answer on a terminal.
    ``before``: what is typed first, ``after``: at last. ``files``: what the reader has. ``toml``:
    the file that the page's last TOML is. ``not_here``: beginnings of lines that this host cannot
    try, and why. ``says``: what a line that begins so must answer.
    """

    page: str
    instead: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    toml: str = ""
    not_here: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)


TUTORIAL = Guide(
    page="tutorial/first-guest.md",
    not_here={"wirt run --rm -it debian:12 bash": NO_TERMINAL, "wirt exec -it web sh": NO_TERMINAL},
    says={
        "wirt images": "busybox",
        "wirt doctor": "container",
        "wirt run --rm busybox echo": "hello\n",
        "wirt run --rm --as vm": "cloud-amd64",
        "wirt ps": "0.0.0.0:8080->80/tcp",
        "wget ": "it works\n",
        "wirt stats": "web",
    },
)
PORTS = Guide(
    page="howto/publish-a-port.md",
    after=("wirt port web", "wget -q --retry-connrefused -O- http://127.0.0.1:8081/hostname"),
    says={"wirt port web": "80/tcp -> 0.0.0.0:8080"},
)
FOLDERS = Guide(
    page="howto/share-a-folder.md",
    instead={"/srv/data": f"{PLACE}/data"},
    files={"data/here": ""},
    says={
        "wirt run --rm -v /srv": "here\n",
        "wirt run --rm --as microvm": "here\n",
        "wirt volume ls": "notes",
    },
)
DISK = Guide(
    page="howto/keep-the-disk-free.md",
    instead={"prune  ": "prune --force "},
    not_here={"wirt image prune -a": "other tests need the image"},
    says={"wirt df": "Together", "wirt store check": "0 wrong"},
)
HOST = Guide(
    page="howto/share-the-host.md",
    instead={"IMAGE": STAYS},
    after=("wirt rm -f $(wirt ps -aq)", "wirt group rm sales/web", "wirt group rm sales"),
    not_here={"wirt governor policy set FILE": "there is one zram for the whole machine"},
    says={"wirt inspect dc": '"memory_reservation"', "wirt group tree": "expandable"},
)  # fmt: skip
WATCH = Guide(
    page="howto/watch-the-governor.md",
    before=(
        f"wirt run -d --name dc -m 4g {STAYS}", f"wirt run -d --name backup {STAYS}",
        "wirt group create sales", "sleep 3",
    ),
    after=("wirt rm -f dc backup", "wirt group rm sales"),
    instead={"calendar rm ID": "calendar rm $(wirt calendar ls | sed -n '2s/ .*//p')"},
    toml="other.toml",
    not_here={
        "wirt top  ": ENDLESS,
        "wirt top --plain": ENDLESS,
        "wirt top --json": ENDLESS,
        "wirt top --tree": ENDLESS,
        "wirt governor record --for": ENDLESS,
        "wirt host plot --trace": "its trace is made below",
    },
    says={
        "wirt top --once": "GUEST",
        "wirt host plot --since": "time,guest,resource",
        "wirt replay": "as recorded > as replayed",
        "wirt boost --list": "dc",
        "wirt calendar ls": "backup",
    },
)  # fmt: skip
BUILD = Guide(
    page="howto/build-an-image.md",
    files={
        "Dockerfile": "FROM busybox:latest\nCOPY docker /docker\n"
        'RUN cat /docker/* > /made\nCMD ["echo", "made"]\n',
        "docker/Dockerfile.release": "FROM busybox:latest\nRUN echo > /released\n",
        ".token": "secret\n",
    },
    before=(f"tar -czf {PLACE}/context.tar.gz Dockerfile docker",),
    instead={
        "$HOME": PLACE,
        "/var/cache/app": f"{PLACE}/cache",
        "- < Dockerfile": "- < docker/Dockerfile.release",
    },
    not_here={
        "wirt build -t app:1 https://": "nothing here serves it",
        "wirt build -t app:1 --cache-from type=registry": "nothing here serves it",
    },
    after=("wirt rmi -f app:1 tiny:1",),
    says={"wirt run --rm --as microvm app:1": "made\n"},
)  # fmt: skip
REGISTRY = Guide(
    page="howto/serve-a-registry.md",
    not_here={"wirt registry serve --listen": "it needs an address that others reach"},
    after=("wirt registry stop", "wirt rmi localhost:5000/team/busybox:1"),
    says={"wirt registry ls": "team/busybox"},
)
LOAD = Guide(
    page="howto/load-an-image-from-docker.md",
    files={"root/etc/os-release": "ID=debian\n"},
    before=(
        "wirt tag busybox:latest app:1.0", "wirt save -o app.tar app:1.0", "wirt rmi app:1.0",
        "tar -C root -cf debian.tar .",
    ),
    after=("wirt image inspect debian:12", "wirt rmi app:1.0 debian:12"),
    says={"wirt load": "app:1.0", "wirt image inspect": '"bash"'},
)  # fmt: skip
GUIDES = (
    pytest.param(TUTORIAL, marks=MACHINES),
    PORTS,
    pytest.param(FOLDERS, marks=MACHINES),
    DISK,
    pytest.param(HOST, marks=MACHINES),
    WATCH,
    pytest.param(BUILD, marks=MACHINES),
    REGISTRY,
    LOAD,
)


def blocks(guide: Guide, language: str) -> list[str]:
    text = (ROOT / "docs" / guide.page).read_text()
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def lines(guide: Guide) -> Iterator[str]:
    """What is typed, continuation lines joined."""
    for body in blocks(guide, ""):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith(TYPED) and not line.startswith(tuple(guide.not_here)):
                yield line


def typed(live: Live, line: str, place: Path) -> subprocess.CompletedProcess[str]:
    """In the instance's own network."""
    environment = {**os.environ, "WIRT_HOST": f"unix://{live.socket}"}
    environment["PATH"] = f"{ROOT / 'bin'}:{environment['PATH']}"
    return subprocess.run(
        [*live.instance.enter, "bash", "-c", f"cd {place} && {line.replace(PLACE, str(place))}"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def tried(live: Live, guide: Guide, line: str, place: Path) -> None:
    words = line
    for theirs, ours in guide.instead.items():
        words = words.replace(theirs, ours)
    done = typed(live, words, place)
    told = f"{guide.page}: {line}\n{done.stdout}{done.stderr}"
    assert (done.returncode != 0) == bool(FAILS.search(line)), told
    for begin, answer in guide.says.items():
        if line.startswith(begin) and not FAILS.search(line):
            assert answer in done.stdout, told


@pytest.fixture
def clean(shared_instance: Live) -> Iterator[Live]:
    """Whatever a guide leaves, or an error in it, is gone afterwards."""
    try:
        yield shared_instance
    finally:
        left = shared_instance.wirt("ps", "-aq").stdout.split()
        shared_instance.wirt("rm", "-f", "-v", *left, code=None)
        shared_instance.wirt("registry", "stop", code=None)
        for group in ("sales/web", "sales"):
            shared_instance.wirt("group", "rm", group, code=None)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.page)
def test_what_is_told_to_type_works(guide: Guide, clean: Live, tmp_path: Path) -> None:
    for name, text in guide.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if guide.toml:
        (tmp_path / guide.toml).write_text(blocks(guide, "toml")[-1])
    for line in (*guide.before, *lines(guide), *guide.after):
        tried(clean, guide, line, tmp_path)
