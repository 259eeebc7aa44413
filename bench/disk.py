"""The row about the disk: an image with ten images derived from it, as du(1) sees them."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import Row
from peers import LAB, Peer, Wirt
from rows import quietly

DERIVED = 10
FILES = 4000
OWN = 2_000_000
"""Bytes of text that each derived image brings."""
SETTLE = 15.0
"""Seconds after the last build, for what a peer does in the background."""


def _text(chance: random.Random, size: int) -> bytes:
    """Text that compresses about as well as programs do."""
    words = [b"%x" % chance.getrandbits(40) for _ in range(2000)]
    made = bytearray()
    while len(made) < size:
        made += chance.choice(words) + b" "
    return bytes(made[:size])


def _base() -> Path:
    """A compressed root file system of some 60 MB."""
    path = LAB / "disk-base.tar.gz"
    if path.exists():
        return path
    chance = random.Random(1)
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for number in range(FILES):
            data = _text(chance, 15_000)
            info = tarfile.TarInfo(f"usr/share/{number % 40}/{number}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _contexts() -> list[str]:
    """The directories of ten builds."""
    made = []
    for number in range(DERIVED):
        place = LAB / f"disk-context-{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "Dockerfile").write_text("FROM disk-base\nCOPY own /own\n")
        (place / "own").write_bytes(_text(random.Random(number + 2), OWN))
        made.append(str(place))
    return made


def _megabytes(peer: Peer) -> float:
    os.sync()
    words = ["du", "-s", "--block-size=1", str(LAB / peer.name)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return int(done.stdout.split()[0]) / 1e6


def derived(peers: Sequence[Peer], rounds: int) -> list[Row]:
    """Right after the builds, and when what can be made again was let go."""
    base, contexts = str(_base()), _contexts()
    built: dict[str, list[float]] = {}
    trimmed: dict[str, list[float]] = {}
    for peer in peers:
        if peer.name == "podman":  # the promise is about docker
            continue
        before = _megabytes(peer)
        quietly(peer, "import", base, "disk-base")
        for number, context in enumerate(contexts):
            quietly(peer, "build", "-q", "-t", f"disk-{number}", context)
        time.sleep(SETTLE)
        built[peer.name] = [_megabytes(peer) - before] * min(rounds, 1)
        if isinstance(peer, Wirt):
            quietly(peer, "store", "trim")
        trimmed[peer.name] = [_megabytes(peer) - before] * min(rounds, 1)
        names = [f"disk-{number}" for number in range(DERIVED)]
        quietly(peer, "rmi", "-f", *names, "disk-base")
    note = f"one reading by du, {SETTLE:.0f} s after the last build"
    return [
        Row(
            key="disk-built", title="disk of an image with 10 derived ones, just built", unit="MB",
            samples=built, against="docker", must=1, aim=0.6, note=note,
        ),
        Row(
            key="disk", title="the same after `store trim`", unit="MB",
            samples=trimmed, against="docker", must=1, aim=0.6, note=note,
        ),
    ]  # fmt: skip
