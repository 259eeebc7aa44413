#!/usr/bin/env python3
"""The tour: one image digest runs as a container, a microVM and a VM, with the same verbs.

Every line printed comes from the guests or the host; every claim is checked, and the first one that
does not hold ends the tour with exit code 1. Uses an instance of its own (``wirtdemo``), which is
gone afterwards; its images stay in ``.wirt/demo`` for the next time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import instance as local
from ending import Trouble

ROOT = Path(__file__).resolve().parent.parent
WIRT = ROOT / "bin" / "wirt"
KINDS = ("container", "microvm", "vm")
LOOK = "uname -r; cat /proc/sys/kernel/random/boot_id; cat /proc/1/comm; exit"


class Broken(Exception):
    """A claim that did not hold."""


@dataclass
class Facts:
    """What one kind of guest showed."""

    kernel: str
    boot_id: str
    first: str
    seconds: float


@dataclass
class Tour:
    """Runs commands against the demo's daemon and keeps what is needed for the summary."""

    socket: Path
    claims: int = 0
    facts: dict[tuple[str, str], Facts] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the client and say nothing."""
        return subprocess.run(
            [str(WIRT), *words],
            env={**os.environ, "WIRT_HOST": f"unix://{self.socket}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def wirt(self, *words: str, code: int = 0, progress: bool = False) -> str:
        """Run the client as a user would and show the command. Returns what it printed, with
        ``progress`` what it told beside that (standard error).

        Raises :class:`Broken` when it ends with another exit code than ``code``.
        """
        print(f"  $ wirt {' '.join(_quoted(words))}", flush=True)
        done = self.ask(*words)
        if done.returncode != code:
            told = done.stdout + done.stderr
            raise Broken(f"'wirt {' '.join(words)}' ended with {done.returncode}:\n{told}")
        return (done.stderr if progress else done.stdout).rstrip("\n")

    def claim(self, sentence: str, holds: bool) -> None:
        """Print a claim that holds; raise on one that does not."""
        if not holds:
            raise Broken(f"this does not hold: {sentence}")
        self.claims += 1
        print(f"    ✓ {sentence}")


def _quoted(words: Sequence[str]) -> list[str]:
    return [f"'{w}'" if set(w) & set(" ;$<>|") else w for w in words]


def title(text: str) -> None:
    print(f"\n── {text} {'─' * max(0, 76 - len(text))}", flush=True)


def show(text: str) -> None:
    for line in text.splitlines():
        print(f"    {line}")


# --- the stations ---------------------------------------------------------------------------


def clear_away(tour: Tour) -> None:
    """Remove what a tour that was cut short has left."""
    for guest in tour.ask("ps", "-aq").stdout.split():
        tour.ask("rm", "-f", guest)


def hardware(tour: Tour) -> None:
    title("What this host can do")
    report = json.loads(tour.wirt("doctor", "--json"))
    assert report
    show(tour.wirt("doctor"))


def look_inside(tour: Tour, image: str, kind: str) -> None:
    """One command in one kind: whose kernel, which boot, who is process 1, how long."""
    title(f"{image} as {kind}")
    began = time.monotonic()
    seen = tour.wirt("run", "--rm", "--as", kind, image, "sh", "-c", LOOK).splitlines()
    seconds = time.monotonic() - began
    facts = Facts(kernel=seen[0], boot_id=seen[1], first=seen[2].strip(), seconds=seconds)
    tour.facts[image, kind] = facts
    print(f"    kernel   {facts.kernel}")
    print(f"    boot id  {facts.boot_id}")
    print(f"    pid 1    {facts.first}")
    print(f"    the whole command took {seconds * 1000:.0f} ms")
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if kind == "container":
        tour.claim("a container has the host's kernel", facts.kernel == os.uname().release)
        tour.claim("a container has the host's boot id", facts.boot_id == host)
    else:
        others = {f.boot_id for key, f in tour.facts.items() if key != (image, kind)}
        tour.claim(f"this {kind} booted a kernel of its own", facts.boot_id not in others | {host})


def life(tour: Tour, kind: str, folder: Path) -> None:
    """The verbs, on a guest that runs for a while."""
    title(f"The life of a {kind}")
    name = f"demo-{kind}"
    script = "echo hello from $(hostname); echo and a complaint >&2; exec sleep 600"
    options = ["-d", "--name", name, "--hostname", name, "--as", kind]
    began = time.monotonic()
    tour.wirt("run", *options, "busybox", "sh", "-c", script)
    print(f"    it runs after {(time.monotonic() - began) * 1000:.0f} ms")
    table = tour.wirt("ps")
    show(table)
    row = next((line for line in table.splitlines() if name in line), "")
    tour.claim(f"ps shows {name} as a running {kind}", kind in row and "Up" in row)

    told = tour.wirt("exec", name, "sh", "-c", "echo $((6 * 7)); hostname").split()
    show(" ".join(told))
    tour.claim("exec runs a further command inside", told == ["42", name])
    tour.wirt("exec", name, "sh", "-c", "exit 3", code=3)
    tour.claim("exec hands the exit code back", True)

    deadline = time.monotonic() + 10
    while f"hello from {name}" not in (log := tour.wirt("logs", name)):
        if time.monotonic() > deadline:
            break
    show(log)
    tour.claim("logs has what it wrote", f"hello from {name}" in log)
    tour.images[kind] = json.loads(tour.wirt("inspect", name))[0]["image_id"]

    letter = folder / "letter"
    letter.write_text(f"to {name}, {os.urandom(8).hex()}\n")
    tour.wirt("cp", str(letter), f"{name}:/root/letter")
    inside = tour.wirt("exec", name, "cat", "/root/letter")
    tour.wirt("cp", f"{name}:/root/letter", str(folder / "back"))
    tour.claim(
        "cp brings a file in and out unchanged",
        inside + "\n" == letter.read_text() == (folder / "back").read_text(),
    )

    began = time.monotonic()
    tour.wirt("stop", "-t", "2", name)
    print(f"    stopped after {(time.monotonic() - began) * 1000:.0f} ms")
    tour.claim("stop ends it", name not in tour.wirt("ps"))
    tour.wirt("rm", name)
    tour.claim("rm leaves nothing", name not in tour.wirt("ps", "-a"))


DOCKERFILE = """\
FROM debian:12 AS maker
RUN echo "baked in $(cat /etc/debian_version)" >/bread
FROM busybox
COPY --from=maker /bread /
CMD ["cat", "/bread"]
"""


def images_travel(tour: Tour, folder: Path) -> None:
    """An image is built, pushed to a registry, forgotten, pulled again, and runs as any kind."""
    title("From a Dockerfile to a registry and back")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    show(DOCKERFILE)
    port = free_port()
    name = f"127.0.0.1:{port}/bread"
    build = ("build", "--progress", "plain", "-t", name, "--iidfile", str(folder / "id"))
    show(tour.wirt(*build, str(folder), progress=True))
    again = tour.wirt(*build, str(folder), progress=True)
    tour.claim("a second build does nothing anew", "CACHED" in again and "DONE" not in again)
    built = (folder / "id").read_text()
    tour.wirt("registry", "serve", "--listen", f"127.0.0.1:{port}")
    try:
        tour.wirt("push", name)
        tour.wirt("rmi", name)
        show(tour.wirt("pull", name))
    finally:
        tour.wirt("registry", "stop")
    pulled = json.loads(tour.wirt("image", "inspect", name))[0]["id"]
    tour.claim("what was pulled is what was built", pulled == built)
    for kind in KINDS:
        said = tour.wirt("run", "--rm", "--as", kind, name)
        show(said)
        tour.claim(f"it runs as a {kind}", said.startswith("baked in 12"))
    tour.wirt("rmi", name)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def summary(tour: Tour, seconds: float) -> None:
    title("Summary")
    print(f"    {'image':<12} {'as':<10} {'kernel':<28} {'pid 1':<26} {'ms':>6}")
    for (image, kind), facts in tour.facts.items():
        first = facts.first[:24]
        print(
            f"    {image:<12} {kind:<10} {facts.kernel:<28} {first:<26} {facts.seconds * 1e3:>6.0f}"
        )
    print()
    tour.claim(f"all kinds ran {tour.images['container']}", len(set(tour.images.values())) == 1)
    print(f"\n    {tour.claims} claims held, {seconds:.1f} s. 'make up' leaves a daemon running.")


# --- the frame ------------------------------------------------------------------------------


def main() -> int:
    began = time.monotonic()
    if os.geteuid() != 0:
        print(
            "demo: starting guests needs root, for the helper\nhint: sudo make demo",
            file=sys.stderr,
        )
        return 1
    demo = local.readable(
        local.Instance(
            name="wirtdemo", state=ROOT / ".wirt/demo", run=Path("/run/wirtdemo"), user="wirt"
        )
    )
    try:
        local.up(demo)
        local.images(demo, "busybox:latest", "debian:12")
        tour = Tour(demo.socket)
        clear_away(tour)
        hardware(tour)
        for image in ("busybox", "debian:12"):
            for kind in KINDS:
                look_inside(tour, image, kind)
        with tempfile.TemporaryDirectory() as folder:
            for kind in KINDS:
                life(tour, kind, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            images_travel(tour, Path(folder))
        tour.claim("no guest is left", len(tour.wirt("ps", "-a").splitlines()) <= 1)
        summary(tour, time.monotonic() - began)
    except (Broken, Trouble) as trouble:
        print(f"\ndemo: {trouble}", file=sys.stderr)
        if isinstance(trouble, Trouble):
            print(f"hint: {trouble.hint}", file=sys.stderr)
        return 1
    finally:
        local.down(demo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
