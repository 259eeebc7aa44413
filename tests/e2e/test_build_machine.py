"""``wirt build --as microvm``: RUN steps on a kernel of their own, with all that they may mount."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from live import Live
from needs import needs
from waiting import until
from wirt.host.build.caches import name_of

pytestmark = needs("qemu", "agent", "guest-kernel", "erofs", "virtiofsd")

SAME = """\
FROM busybox
WORKDIR /work
ENV WHO=me
RUN echo $WHO > a; mkdir -p /deep/er; echo x > /deep/er/x; ln /deep/er/x /deep/twin
RUN rm /etc/group; rm -r /home; mkdir /home; chown 5:6 a; chmod 4750 a; ln -s /away /deep/link
USER 1:1
RUN id -u > /tmp/who; pwd >> /tmp/who
"""
SECRET = "correct-horse-battery-staple"


def build(live: Live, place: Path, text: str, *words: str, code: int | None = 0) -> str:
    """Build it in machines; what the client said."""
    (place / "Dockerfile").write_text("FROM busybox\n" + text)
    given = ("build", "--no-cache", "--as", "microvm", "--progress", "plain", *words, str(place))
    done = live.wirt(*given, code=code, timeout=300)
    return done.stdout + done.stderr


def cache(live: Live, name: str) -> Path:
    """The files of the cache that a Dockerfile calls so."""
    return live.instance.state / "caches" / name_of(name) / "_data"


def disks(live: Live) -> set[str]:
    """Names of the images of which there are disks."""
    return {path.stem for path in (live.instance.state / "disks").iterdir()}


@pytest.fixture
def live(shared_instance: Live) -> Live:
    return shared_instance


def test_the_same_image_as_by_containers(live: Live, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(SAME)
    words = ("build", "--no-cache", "-q")
    before = disks(live)
    try:
        first = live.wirt(*words, "--as", "microvm", "-t", "vm:1", str(tmp_path), timeout=300)
        assert first.stdout == live.wirt(*words, "-t", "vm:2", str(tmp_path)).stdout
        look = "cat /tmp/who a; stat -c '%a %u %g' a; ls /etc/group; stat -c %h /deep/twin"
        said = live.wirt("run", "--rm", "-u", "0", "vm:1", "sh", "-c", look, code=0)
        assert said.stdout.splitlines() == ["1", "/work", "me", "4750 5 6", "2"]
        known = json.loads(live.wirt("image", "inspect", "vm:1").stdout)[0]["id"]
        assert disks(live) <= {*before, known.removeprefix("sha256:")}
    finally:
        live.wirt("rmi", "-f", "vm:1", "vm:2", code=None)


def test_layers_are_bound_read_only_or_for_the_moment(live: Live, tmp_path: Path) -> None:
    (tmp_path / "src/deep").mkdir(parents=True)
    (tmp_path / "src/file").write_text("of the context\n")
    (tmp_path / "src/deep/x").write_text("deep\n")
    (tmp_path / "src/link").symlink_to("/etc/passwd")
    said = build(
        live,
        tmp_path,
        "RUN mkdir /out; echo stage > /out/f; chmod 640 /out/f;"
        " chown 7:8 /out/f; touch -d @77 /out/f\n"
        "FROM busybox\n"
        "RUN --mount=type=bind,source=src,target=/ro --mount=type=bind,source=src,target=/rw,rw "
        "--mount=type=bind,from=0,source=/out,target=/st "
        "--mount=type=bind,from=busybox,source=/etc/passwd,target=/new/one "
        "--mount=type=bind,source=src/file,target=/file,rw "
        "(touch /ro/x || echo a-refused); cat /ro/file /ro/deep/x; readlink /ro/link; "
        "echo y > /rw/deep/new; rm /rw/file; mv /rw/deep /rw/moved; ls -R /rw; "
        "stat -c '%a %u %g %Y' /st/f; (rm /st/f || echo b-refused); head -c 4 /new/one; "
        "echo over > /file; cat /file /ro/file\n",
    )
    lines = {line.split(" ", 1)[-1].strip() for line in said.splitlines()}
    wanted = {"a-refused", "b-refused", "of the context", "deep", "/etc/passwd", "new", "moved:",
              "over", "640 7 8 77"}  # fmt: skip
    assert {word for word in wanted if not any(line.endswith(word) for line in lines)} == set()
    assert (tmp_path / "src/file").read_text() == "of the context\n"


def test_caches_outlive_steps_even_those_that_fail(live: Live, tmp_path: Path) -> None:
    mount = "--mount=type=cache,target=/c,id=../x,uid=7,gid=8,mode=1770"
    said = build(live, tmp_path, f"RUN {mount} stat -c '%a %u %g' /c; echo 1 > /c/f; exit 3\n",
                 code=None)  # fmt: skip
    assert "exit code 3" in said
    assert "1770 7 8" in said
    assert (cache(live, "../x") / "f").read_text() == "1\n"
    said = build(
        live, tmp_path,
        f"RUN {mount} cat /c/f > /got; ln /c/f /c/g; mkfifo /c/p; chown 5 /c/f\n"
        f"RUN {mount},readonly (echo no > /c/f || echo r-refused); stat -c '%h %u' /c/g\n"
        "RUN --mount=type=cache,target=/d,id=filled,from=busybox,source=/etc "
        "grep -q root /d/passwd && echo was-filled\n",
    )  # fmt: skip
    assert "r-refused" in said
    assert "2 5" in said
    assert "was-filled" in said
    container = ("build", "--no-cache", "--progress", "plain", str(tmp_path))
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN {mount} cat /c/g && ls -l /c/p\n")
    assert "prw" in live.wirt(*container).stderr


def test_two_machines_do_not_share_a_cache_at_once(live: Live, tmp_path: Path) -> None:
    """A lock on a file is known to one machine's kernel, so the second machine waits."""
    script = "test -e /c/busy && touch /c/met; touch /c/busy; sleep 1; rm /c/busy"
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    runs = [
        threading.Thread(
            target=build,
            args=(live, place, f"RUN --mount=type=cache,target=/c,id=both {script}\n"),
        )
        for place in places
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert list(cache(live, "both").iterdir()) == []


def test_nothing_around_what_is_shared_can_be_written(live: Live, tmp_path: Path) -> None:
    """The machine's root mounts the whole share, past the one directory that is a cache."""
    (tmp_path / "file").write_text("x\n")
    said = build(
        live,
        tmp_path,
        "RUN --mount=type=cache,target=/c,id=only --mount=type=bind,source=file,target=/f,rw "
        "for tag in fs0 fs1 fs2; do mkdir /$tag; mount -t virtiofs $tag /$tag || continue; "
        "echo mounted-$tag; touch /$tag/new || echo top-refused; rm -rf /$tag/it/..; "
        "mknod /$tag/dev b 8 0; mv /$tag/it /$tag/away; echo evil > /$tag/it; "
        "echo in > /$tag/it/in; chmod 777 /$tag; mkdir /$tag/it/../up; "
        "cat /$tag/../../../../etc/shadow | grep root:; ls -a /$tag; done; true\n",
    )
    assert said.count("mounted-fs") == 2
    assert said.count("top-refused") == 2
    assert "root:" not in said.replace("grep root:", "")
    own = cache(live, "only")
    assert [path.name for path in own.iterdir()] == ["in"]
    assert sorted(path.name for path in own.parent.iterdir()) == ["_data", "about"]
    assert (tmp_path / "file").read_text() == "x\n"


def found(place: Path, needle: bytes) -> list[Path]:
    """Files below ``place`` that hold these bytes."""
    return [
        path
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink() and needle in path.read_bytes()
    ]


def test_secrets_are_nowhere_on_the_host(live: Live, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "raw").write_bytes(b"\0\1\xff=\x1f" * 9)
    context = tmp_path / "context"
    context.mkdir()
    mounts = (
        "--mount=type=secret,id=key,target=/run/k,mode=0440,uid=1,gid=2 "
        "--mount=type=secret,id=key,env=TOKEN --mount=type=secret,id=raw "
        "--mount=type=cache,target=/c,id=signal"
    )
    script = (
        "stat -c '%a %u %g' /run/k; test $(cat /run/k) = $TOKEN && echo both-same;"
        " wc -c < /run/secrets/raw; (echo x > /run/k || echo w-refused);"
        " touch /c/up; while ! test -e /c/go; do sleep 0.2; done"
    )
    secrets = ("--secret", f"id=key,src={tmp_path}/key", "--secret", f"id=raw,src={tmp_path}/raw")
    told: list[str] = []
    own = cache(live, "signal")
    run = threading.Thread(
        target=lambda: told.append(
            build(live, context, f"RUN {mounts} {script}\n", *secrets, "-t", "secret:1")
        )
    )
    run.start()
    try:
        until((own / "up").exists, "the step runs", within=90)
        places = (live.instance.state, live.socket.parent)
        assert [path for place in places for path in found(place, SECRET.encode())] == []
        lines = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdecimal()]  # noqa: PTH208
        assert not any(SECRET.encode() in read(line) for line in lines)
    finally:
        (own / "go").touch()
        run.join()
    (said,) = told
    for line in ("440 1 2", "both-same", "45", "w-refused"):
        assert line in said
    assert SECRET not in said
    assert SECRET not in live.log()
    assert SECRET.encode() not in live.pipe("save", "secret:1")
    live.wirt("rmi", "secret:1")


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended
        return b""


def test_what_a_machine_cannot_give_is_said(live: Live, tmp_path: Path) -> None:
    said = build(live, tmp_path, "RUN --network=host true\n", code=None)
    assert "a microVM has a network of its own and cannot use --network=host" in said
    assert "exit code 7" in build(live, tmp_path, "RUN exit 7\n", code=None)
    many = " ".join(f"--mount=type=cache,target=/c{n}" for n in range(17))
    said = build(live, tmp_path, f"RUN {many} true\n", code=None)
    assert "17 bind and cache mounts are more than a microVM has room for" in said
    said = build(live, tmp_path, "RUN --mount=type=bind,source=nosuch,target=/m true\n", code=None)
    assert "nosuch" in said


def test_as_many_mounts_as_are_promised(live: Live, tmp_path: Path) -> None:
    many = " ".join(f"--mount=type=cache,target=/c{n},id=many{n}" for n in range(16))
    said = build(live, tmp_path, f"RUN {many} for n in $(seq 0 15); do echo x > /c$n/x; done\n")
    assert "DONE" in said
    assert all((cache(live, f"many{n}") / "x").exists() for n in range(16))


def test_networks_of_steps(live: Live, tmp_path: Path) -> None:
    script = "ls /sys/class/net | tr '\\n' ' '"
    said = build(live, tmp_path, f"RUN --network=none {script}\nRUN {script}\n")
    assert "lo \n" in said
    assert "eth0 lo" in said
