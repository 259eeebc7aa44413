"""Kill -9 at the steps of starts with volumes and ports, of machines, of stop, rm, load and rmi."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import instance as local
from e2e.test_crash import answers, clean, faulty
from e2e.test_life import eventually, inspect, state
from live import Live
from needs import needs

__all__ = ["faulty"]

MACHINE = ("qemu", "agent", "guest-kernel", "erofs")
PLUGGED = ("-v", "kept:/kept", "-p", "127.0.0.1:8099:80", "busybox", "sh", "-c",
           "echo $0 >> /kept/lines; cat /kept/lines")  # fmt: skip
Faulty = tuple[Live, Path]


def cut(faulty: Faulty, point: str, *words: str) -> None:
    """Run a command during which the daemon or the helper is killed at ``point``."""
    live, order = faulty
    order.write_text(point)
    live.wirt(*words, code=None, timeout=120)
    reached = order.read_text() == ""
    order.write_text("")
    eventually(lambda: answers(live))
    assert reached, f"{point} is not on the way of wirt {' '.join(words)}"


def names(live: Live) -> set[str]:
    return {guest["name"] for guest in live.ask("GET", "/v1/guests?all=1")[1]}


def run_twice(faulty: Faulty, point: str, kind: str) -> None:
    """A start with a new volume and a port is cut; the next one of the same name works."""
    live, _ = faulty
    words = ("run", "--rm", "--as", kind, "--name", "cut", *PLUGGED)
    cut(faulty, point, *words, "first")
    live.wirt("rm", "-f", "cut", code=None)
    lines = live.wirt(*words, "second").stdout.splitlines()
    assert lines in (["first", "second"], ["second"])
    live.wirt("volume", "rm", "kept")
    ruled = live.inside("nft", "list", "table", "inet", live.instance.name).stdout
    assert "8099" not in ruled
    clean(live)


@pytest.mark.parametrize(
    "point",
    ["launch.fill", "launch.ports", "launch.publish", "launch.card", "launch.connected",
     "release.unpublished", "release.links", "host.places", "host.let-go"],
)  # fmt: skip
def test_a_container_with_a_volume_and_a_port(faulty: Faulty, point: str) -> None:
    run_twice(faulty, point, "container")


@needs(*MACHINE)
@pytest.mark.parametrize(
    "point",
    ["launch.mounted", "launch.publish", "host.joined", "release.cgroup"],
)  # fmt: skip
def test_a_microvm_with_a_volume_and_a_port(faulty: Faulty, point: str) -> None:
    run_twice(faulty, point, "microvm")


@pytest.mark.parametrize(
    "point", ["host.ended", "host.released", "host.settled", "release.killed", "release.links"]
)
def test_stop(faulty: Faulty, point: str) -> None:
    live, _ = faulty
    live.wirt("run", "-d", "--name", "ends", "-p", "8098:80", "busybox", "sh", "-c",
              "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done")  # fmt: skip
    eventually(lambda: live.wirt("logs", "ends").stdout == "ready\n")
    cut(faulty, point, "stop", "ends")
    live.wirt("stop", "ends")
    eventually(lambda: state(live, "ends") == "exited")
    assert live.wirt("wait", "ends").stdout == "6\n"
    live.wirt("start", "ends")
    assert live.wirt("port", "ends").stdout == "80/tcp -> 0.0.0.0:8098\n"
    clean(live)


@pytest.mark.parametrize(
    "point",
    ["host.removing", "host.forgotten", "host.let-go", "release.killed", "forget.released",
     "volume.dropping"],
)  # fmt: skip
def test_forced_removal(faulty: Faulty, point: str) -> None:
    live, _ = faulty
    live.wirt("run", "-d", "--name", "goes", "-v", "/anon", "-p", "8097:80", "busybox",
              "sleep", "1000")  # fmt: skip
    cut(faulty, point, "rm", "-f", "-v", "goes")
    if "goes" in names(live):
        live.wirt("rm", "-f", "-v", "goes")
    assert names(live) == set()
    eventually(lambda: live.ask("GET", "/v1/volumes")[1] == [])
    words = ("--rm", "--name", "goes", "-p", "8097:80", "-v", "/anon", "busybox", "true")
    live.wirt("run", *words)  # which also clears away what a cut removal has left
    assert not list((live.instance.state / "volumes").iterdir())
    clean(live)


@pytest.fixture(scope="module")
def archive(faulty: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image ``other`` in a file, with a layer of its own."""
    live, _ = faulty
    place = tmp_path_factory.mktemp("image")
    (place / "root").mkdir()
    (place / "root" / "hello").write_text("hello\n")
    (place / "root" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (place / "root" / "busybox").chmod(0o755)
    packed = place / "root.tar"
    os.system(f"tar -C {place}/root -cf {packed} .")
    live.wirt("import", "-c", 'ENTRYPOINT ["/busybox"]', str(packed), "other:1")
    live.wirt("save", "-o", str(place / "other.tar"), "other:1")
    live.wirt("rmi", "other:1")
    return place / "other.tar"


def layers(live: Live) -> int:
    return len(list((live.instance.state / "layers").iterdir()))


@pytest.mark.parametrize("point", ["layer.unpacked", "layer.renamed"])
def test_load(faulty: Faulty, archive: Path, point: str) -> None:
    live, _ = faulty
    before = layers(live)
    cut(faulty, point, "load", "-i", str(archive))
    assert "other" not in live.wirt("images").stdout
    live.wirt("load", "-i", str(archive))
    assert live.wirt("run", "--rm", "other:1", "cat", "/hello").stdout == "hello\n"
    live.wirt("rmi", "other:1")
    eventually(lambda: layers(live) == before)


@pytest.mark.parametrize("point", ["layer.dropping"])
def test_rmi(faulty: Faulty, archive: Path, point: str) -> None:
    live, _ = faulty
    before = layers(live)
    live.wirt("load", "-i", str(archive))
    cut(faulty, point, "rmi", "other:1")
    assert "other" not in live.wirt("images").stdout
    live.wirt("load", "-i", str(archive))
    assert live.wirt("run", "--rm", "other:1", "cat", "/hello").stdout == "hello\n"
    live.wirt("rmi", "other:1")
    eventually(lambda: layers(live) == before)


@needs(*MACHINE)
def test_the_disk_of_an_image(faulty: Faulty, archive: Path) -> None:
    live, _ = faulty
    live.wirt("load", "-i", str(archive))
    disks = live.instance.state / "disks"
    words = ("run", "--rm", "--as", "microvm", "other:1", "cat", "/hello")
    before = set(disks.iterdir()) if disks.exists() else set()
    cut(faulty, "disk.made", *words)
    clean(live)
    assert live.wirt(*words).stdout == "hello\n"
    live.wirt("rmi", "other:1")
    eventually(lambda: set(disks.iterdir()) == before)


def kill_argv(word: str, guest: str) -> None:
    """``kill -9`` the one process of this program whose command line names the guest."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if argv.split(b"\0")[0].endswith(word.encode()) and guest.encode() in argv:
                found.append(int(entry.name))
    assert found, f"no {word} of {guest}"
    os.kill(min(found), 9)


@needs(*MACHINE)
def test_running_microvms_survive_and_tell_the_truth(faulty: Faulty) -> None:
    live, _ = faulty
    script = "trap 'exit 4' TERM; while :; do echo tick; sleep 0.2; done"
    words = ("run", "-d", "--as", "microvm", "-v", "kept:/kept", "--name")
    live.wirt(*words, "stays", "-p", "8096:80", "busybox", "sh", "-c", script)
    live.wirt(
        *words, "goes", "busybox", "sh", "-c", "until [ -e /kept/go ]; do sleep 0.1; done; exit 6"
    )
    before = inspect(live, "stays")["status"]
    for role in (local.DAEMON, local.HELPER):
        live.kill(role)
    live.wirt("exec", "goes", "touch", "/kept/go", code=None)
    eventually(lambda: answers(live))
    live.wirt("exec", "stays", "touch", "/kept/go")
    after = inspect(live, "stays")["status"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    ticks = live.wirt("logs", "stays").stdout.count("tick")
    eventually(lambda: live.wirt("logs", "stays").stdout.count("tick") > ticks)
    assert live.wirt("port", "stays").stdout == "80/tcp -> 0.0.0.0:8096\n"
    eventually(lambda: state(live, "goes") == "exited")
    assert live.wirt("wait", "goes").stdout == "6\n"
    live.wirt("stop", "stays")
    assert live.wirt("wait", "stays").stdout == "4\n"
    clean(live)
    live.wirt("volume", "rm", "kept")


@needs(*MACHINE)
@pytest.mark.parametrize(
    ("kill", "text"),
    [
        (lambda guest: kill_argv("qemu-system-x86_64", guest[:12]), "without an exit status"),
        (lambda guest: kill_argv("wirt-keeper", guest), "keeper"),
    ],
    ids=["qemu", "keeper"],
)
def test_a_microvm_that_is_shot_is_said_to_be(
    faulty: Faulty, kill: Callable[[str], None], text: str
) -> None:
    live, _ = faulty
    live.wirt("run", "-d", "--as", "microvm", "--name", "shot", "-v", "kept:/kept", "busybox",
              "sleep", "1000")  # fmt: skip
    kill(str(inspect(live, "shot")["id"]))
    eventually(lambda: state(live, "shot") == "exited")
    status = inspect(live, "shot")["status"]
    assert isinstance(status, dict)
    assert status["exit_code"] == 137
    assert text in str(status["error"])
    live.wirt("start", "shot")
    assert live.wirt("exec", "shot", "echo", "back").stdout == "back\n"
    clean(live)
    live.wirt("volume", "rm", "kept")
