"""Images of what containers have become, their roots as archives, and lists of changes."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.test_kinds import KINDS
from e2e.test_life import state
from e2e.test_terminal import require_kind
from live import Live
from needs import needs


@pytest.fixture
def live(shared_instance: Live) -> Iterator[Live]:
    """The instance, without the guests and images that a test made."""
    yield shared_instance
    for guest in shared_instance.wirt("ps", "-aq").stdout.split():
        shared_instance.wirt("rm", "-fv", guest)
    names = shared_instance.wirt("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    for name in names:
        if name.startswith("made"):
            shared_instance.wirt("rmi", "-f", name)


def config(live: Live, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live.wirt("image", "inspect", image).stdout)[0]
    return found


def test_a_stopped_container_becomes_an_image(live: Live) -> None:
    script = "echo mine > /etc/mine; rm /etc/group; chmod 700 /tmp"
    live.wirt("run", "--name", "one", "-e", "A=1", "-l", "kept=yes", "busybox", "sh", "-c", script)
    done = live.wirt(
        "commit", "-a", "Jane <j@example.com>", "-m", "by hand", "-c", 'CMD ["cat", "/etc/mine"]',
        "-c", "ENV B=2", "one", "made:1",
    )  # fmt: skip
    assert done.stdout.startswith("sha256:")
    assert live.wirt("run", "--rm", "made:1").stdout == "mine\n"
    look = "echo $A$B; ls /etc/group; stat -c %a /tmp"
    said = live.wirt("run", "--rm", "made:1", "sh", "-c", look)
    assert said.stdout == "12\n700\n"
    found = config(live, "made:1")
    assert found["raw"]["author"] == "Jane <j@example.com>"
    assert found["raw"]["history"][-1]["comment"] == "by hand"
    assert found["config"]["labels"]["kept"] == "yes"
    assert len(found["diff_ids"]) == len(config(live, "busybox")["diff_ids"]) + 1


def test_a_running_container_is_paused_meanwhile(live: Live) -> None:
    live.wirt("run", "-d", "--name", "two", "busybox", "sh", "-c", "echo x > /x; sleep 1000")
    live.wirt("commit", "two", "made:2")
    told = live.wirt("events", "--since", "1m", "--until", "0s", "--filter", "guest=two").stdout
    words = [line.split() for line in told.splitlines()]
    seen = [word for line in words for word in line if word in {"pause", "unpause", "commit"}]
    assert seen == ["pause", "unpause", "commit"]
    assert state(live, "two") == "running"
    live.wirt("commit", "--pause=false", "two", "made:3")
    assert live.wirt("run", "--rm", "made:2", "cat", "/x").stdout == "x\n"


def test_diff_shows_what_changed_and_nothing_of_the_engine(live: Live) -> None:
    live.wirt("run", "--name", "three", "-v", "/vol/ume", "--tmpfs", "/mem", "busybox", "true")
    assert live.wirt("diff", "three").stdout == ""
    live.wirt("run", "--name", "four", "busybox", "sh", "-c", "echo x > /tmp/x; rm /etc/group")
    assert live.wirt("diff", "four").stdout.splitlines() == [
        "C /etc", "D /etc/group", "C /tmp", "A /tmp/x",
    ]  # fmt: skip
    assert "no such guest: nobody" in live.wirt("diff", "nobody", code=3).stderr


def test_images_are_compared(live: Live) -> None:
    live.wirt("run", "--name", "five", "busybox", "sh", "-c", "echo 123 > /tmp/x; rm /etc/group")
    live.wirt("commit", "five", "made:5")
    lines = live.wirt("image", "diff", "busybox", "made:5").stdout.splitlines()
    assert [line.split()[0] + line.split()[-1] for line in lines[:-1]] == [
        "C/etc", "D/etc/group", "C/tmp", "A/tmp/x",
    ]  # fmt: skip
    assert lines[-1].startswith("1 added, 2 changed, 1 deleted, ")
    assert live.wirt("image", "diff", "made:5", "made:5").stdout.startswith("0 added, 0 changed")


def test_export_is_the_root_without_mounts(live: Live, tmp_path: Path) -> None:
    live.wirt(
        "run", "-d", "--name", "six", "-v", "/vol", "busybox",
        "sh", "-c", "echo x > /x; echo y > /vol/y; sleep 1000",
    )  # fmt: skip
    out = tmp_path / "root.tar"
    live.wirt("export", "-o", str(out), "six")
    with tarfile.open(out) as archive:
        names = archive.getnames()
    assert {"x", "bin/busybox", "etc/passwd"} <= set(names)
    assert not any(name.startswith(("vol/", "proc/", "sys/", "/")) for name in names)
    live.wirt("import", str(out), "made:6")
    assert live.wirt("run", "--rm", "made:6", "cat", "/x").stdout == "x\n"
    live.wirt("stop", "-t", "0", "six")
    again = live.pipe("export", "six")
    with tarfile.open(fileobj=io.BytesIO(again)) as archive:
        assert archive.getnames() == names


@pytest.mark.parametrize("verb", ["commit", "diff", "export"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "container"])
def test_machines_that_do_not_run_say_what_can_be_done(live: Live, kind: str, verb: str) -> None:
    require_kind(kind)
    live.wirt("create", "--as", kind, "--name", "seven", "busybox", "true")
    options = ["-o", "/dev/null"] if verb == "export" else []
    done = live.wirt(verb, *options, "seven", code=None)
    assert done.returncode != 0
    assert f"seven: a {kind} must run for it" in done.stderr
    assert "wirt start seven" in done.stderr


SCRIPT = (
    "echo mine > /etc/mine; rm /etc/group; chmod 700 /tmp; ln /etc/mine /twin; mkdir -p /a/b;"
    " echo v > /vol/v; rm -r /home; mkdir /home; touch -d @7 /a/old; mknod /c c 1 3; ln -s x /l;"
    " i=0; while true; do echo $i > /a/b/$((i % 50)); i=$((i + 1)); test -e /stop && break; done;"
    " rm -r /a/b /stop; touch -d @9 /; sleep 1000"
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "container"])
def test_what_a_running_machine_has_become(live: Live, tmp_path: Path, kind: str) -> None:
    """As an image, a list and an archive, the same as of a container that did the same."""
    require_kind(kind)
    for name, words in (("box", ()), ("vm", ("--as", kind))):
        live.wirt("run", "-d", "--name", name, *words, "-v", "/vol", "--tmpfs", "/mem", "busybox",
                  "sh", "-c", SCRIPT, timeout=300)  # fmt: skip
    live.wirt("exec", "vm", "sh", "-c", "until test -e /a/b/9; do sleep 0.1; done")
    live.wirt("commit", "vm", "made:busy", timeout=300)  # while it writes
    for name in ("box", "vm"):
        stop = "touch /stop; while test -e /stop; do sleep 0.1; done; rmdir /x 2> /dev/null; true"
        live.wirt("exec", name, "sh", "-c", stop, timeout=120)
    assert live.wirt("diff", "vm").stdout == live.wirt("diff", "box").stdout
    assert "A /twin\n" in live.wirt("diff", "vm").stdout
    commit = ("commit", "--timestamp", "1000000000")
    made = [
        config(live, live.wirt(*commit, name, f"made:{name}", timeout=300).stdout.strip())
        for name in ("vm", "box")
    ]
    assert made[0]["diff_ids"] == made[1]["diff_ids"]
    assert live.wirt(*commit, "vm", "made:again", timeout=300).stdout.strip() == made[0]["id"]
    said = live.wirt(
        "run", "--rm", "made:vm", "sh", "-c", "cat /etc/mine; ls /a; ls -d /vol || true"
    ).stdout
    assert said == "mine\nold\n"
    members = []
    for name in ("vm", "box"):
        with tarfile.open(fileobj=io.BytesIO(live.pipe("export", name, timeout=300))) as archive:
            members.append({m.name: (m.type, m.mode, m.uid, m.size, m.linkname) for m in archive})
    ours = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}
    assert {name: what for name, what in members[0].items() if name not in ours} == {
        name: what for name, what in members[1].items() if name not in ours
    }
    live.wirt("pause", "vm")
    assert "it is paused" in live.wirt("commit", "vm", code=None).stderr
    live.wirt("unpause", "vm")


def test_a_time_makes_the_image_the_same(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    live.wirt("run", "--name", "timed", "busybox", "sh", "-c", "echo x > /x; touch -d @5 /old")
    words = ("commit", "--timestamp", "1000000000", "timed")
    first = live.wirt(*words, "made:t1").stdout
    assert live.wirt(*words, "made:t2").stdout == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert live.wirt("commit", "timed", "made:t3").stdout == first
    found = config(live, "made:t1")["raw"]
    assert found["created"].startswith("2001-09-09T01:46:40")
    assert found["history"][-1]["created"].startswith("2001-09-09T01:46:40")
    said = live.wirt("run", "--rm", "made:t1", "stat", "-c", "%Y", "/x", "/old").stdout
    assert said == "1000000000\n5\n"
    wrong = live.wirt("commit", "--timestamp", "soon", "timed", code=None)
    assert "timestamp='soon' is no number" in wrong.stderr


@needs("skopeo", "umoci")
def test_a_judge_reads_a_committed_image(live: Live, tmp_path: Path) -> None:
    live.wirt(
        "run",
        "--name",
        "eight",
        "busybox",
        "sh",
        "-c",
        "echo x > /x; cd /; rm -r home; mkdir home; echo y > home/w",
    )
    live.wirt("commit", "eight", "made:8")
    live.wirt("save", "-o", str(tmp_path / "saved.tar"), "made:8")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{tmp_path}/saved.tar",
         f"oci:{tmp_path}/layout:1"],
        check=True,
    )  # fmt: skip
    unpack = ["umoci", "unpack", "--image", f"{tmp_path}/layout:1", str(tmp_path / "bundle")]
    subprocess.run(unpack, check=True, capture_output=True)
    root = tmp_path / "bundle/rootfs"
    assert (root / "x").read_text() == "x\n"
    assert [path.name for path in (root / "home").iterdir()] == ["w"]


def test_a_private_user_namespace_is_mapped_back(live: Live) -> None:
    live.wirt("run", "--name", "nine", "--userns", "private", "busybox", "sh", "-c",
              "echo x > /x; chown 5:6 /x")  # fmt: skip
    live.wirt("commit", "nine", "made:9")
    said = live.wirt("run", "--rm", "made:9", "stat", "-c", "%u %g", "/x")
    assert said.stdout == "5 6\n"
    assert live.wirt("diff", "nine").stdout == "A /x\n"
