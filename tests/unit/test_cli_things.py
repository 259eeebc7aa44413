"""Images, networks, volumes, ports, updates: what is asked of the daemon, and what is shown."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.client import Run, client
from fakes.daemon import Exchange, FakeDaemon
from fakes.terminal import wirt
from wirt.cli.app import main

IMAGE: dict[str, Any] = {
    "id": "sha256:" + "1" * 64,
    "manifest": "sha256:" + "2" * 64,
    "architecture": "amd64",
    "os": "linux",
    "config": {},
    "diff_ids": [],
    "chain_ids": [],
    "size": 4_261_000,
    "created_at": 10**18,
    "references": ["docker.io/library/busybox:latest", "docker.io/library/busybox:1"],
    "targets": {"docker.io/library/busybox:latest": "sha256:" + "4" * 64},
}
NONE: dict[str, Any] = {
    **IMAGE,
    "id": "sha256:" + "3" * 64,
    "references": [],
    "targets": {},
    "created_at": 1,
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


def test_images(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/images"] = lambda x: x.answer([NONE, IMAGE])
    _, out, _ = run("images", "--filter", "dangling=false")
    assert daemon.requests[-1].query == [("filter", "dangling=false")]
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [row[:3] for row in rows[1:]] == [
        ["busybox", "latest", "1" * 12],
        ["busybox", "1", "1" * 12],
        ["<none>", "<none>", "3" * 12],
    ]
    assert rows[1][-1] == "4.26MB"
    assert run("images", "-q")[1] == "1" * 12 + "\n" + "3" * 12 + "\n"
    assert run("images", "busybox:1", "--format", "{{.Tag}}")[1] == "1\n"
    assert run("image", "ls", "debian", "-q")[1] == ""
    digests = run("images", "--digests", "--format", "{{.Digest}}")[1].split()
    assert sorted(digest[7] for digest in digests) == ["2", "2", "4"]


def test_load_shows_names_and_fails_with_the_daemons_problem(
    daemon: FakeDaemon, run: Run, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(3 << 20))
    lines = b'{"status":"reading"}\n{"loaded":"a:1"}\n{"loaded":"b:\\u001b[2J"}\n'
    daemon.routes["POST /v1/images/load"] = lambda x: x.answer(lines)
    assert run("load", "-i", str(archive))[:2] == (
        0,
        "Loaded image: a:1\nLoaded image: b:\\x1b[2J\n",
    )
    assert daemon.requests[-1].body == archive.read_bytes()
    problem = {
        "kind": "invalid",
        "code": "image.digest",
        "message": "layer 1 is wrong",
        "hint": "h",
    }
    daemon.routes["POST /v1/images/load"] = lambda x: x.answer(
        b'{"loaded":"a:1"}\n' + json.dumps({"problem": problem}).encode()
    )
    assert run("load", "-i", str(archive)) == (
        2,
        "Loaded image: a:1\n",
        "wirt: layer 1 is wrong\nhint: h\n",
    )
    assert run("load", "-i", "/none")[0] == 2
    assert wirt("load", socket=daemon.path, stdin=b"tar").code == 2
    assert daemon.requests[-1].body == b"tar"


def test_an_early_no_ends_the_upload(daemon: FakeDaemon, run: Run, tmp_path: Path) -> None:
    """The daemon answers and closes while the client still sends."""
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(64 << 20))
    read = daemon._read

    def refuse(reader: Any) -> Any:
        head = reader.peek(10)
        if not head.startswith(b"POST /v1/images/load"):
            return read(reader)
        reader.read(4096)
        raise Refused

    def serve(connection: Any) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                refuse(reader)
            except Refused:
                exchange = Exchange(request=None, connection=connection)  # type: ignore[arg-type]
                exchange.problem("exhausted", "the disk is full", status=507)

    class Refused(Exception):
        pass

    daemon._serve = serve  # type: ignore[method-assign]
    assert run("load", "-i", str(archive)) == (6, "", "wirt: the disk is full\n")


def test_import(daemon: FakeDaemon, run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"tar")
    daemon.routes["POST /v1/images/import"] = lambda x: x.answer(
        b'{"status":"x"}\n{"id":"sha256:9"}'
    )
    words = ["--change", 'CMD ["sh"]', "-c", "ENV A=ü", "-m", "hi", str(archive), "box:1"]
    assert run("import", *words)[:2] == (0, "sha256:9\n")
    assert daemon.requests[-1].query == [
        ("reference", "box:1"),
        ("message", "hi"),
        ("change", 'CMD ["sh"]'),
        ("change", "ENV A=ü"),
    ]
    assert run("import", "https://x/y.tar")[0] == 2


def test_save(daemon: FakeDaemon, run: Run, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    daemon.routes["GET /v1/images/save"] = lambda x: x.answer(data)
    file = tmp_path / "out.tar"
    assert run("save", "-o", str(file), "--format", "oci", "a/b:1", "c")[:2] == (0, "")
    assert file.read_bytes() == data
    assert daemon.requests[-1].query == [("name", "a/b:1"), ("name", "c"), ("format", "oci")]
    assert wirt("save", "a", socket=daemon.path).out == data
    assert run("save", "-o", "/none/x", "a")[0] == 2

    def cut(exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk(b"half")
        exchange.connection.shutdown(socket.SHUT_RDWR)

    daemon.routes["GET /v1/images/save"] = cut
    assert run("save", "-o", str(file), "a")[0] == 8
    assert file.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tar", "s"]


def test_save_writes_to_a_pipe_and_does_not_replace_it(
    daemon: FakeDaemon, run: Run, tmp_path: Path
) -> None:
    daemon.routes["GET /v1/images/save"] = lambda x: x.answer(b"archive")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    assert run("save", "-o", str(pipe), "a")[0] == 0
    assert pipe.is_fifo()
    assert os.read(fd, 100) == b"archive"
    os.close(fd)


def test_names_with_slashes_and_removal(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/images/host:5/a/b:1/tag"] = lambda x: x.answer(status=201)
    assert run("tag", "host:5/a/b:1", "c")[0] == 0
    daemon.routes["DELETE /v1/images/a/b"] = lambda x: x.answer(
        [{"untagged": "a/b:latest"}, {"deleted": "sha256:1"}]
    )
    assert run("rmi", "-f", "a/b", "zz") == (
        3,
        "Untagged: a/b:latest\nDeleted: sha256:1\n",
        "wirt: no route /v1/images/zz\n",
    )
    steps = [
        {
            "id": "sha256:" + "5" * 64,
            "created_at": 1,
            "created_by": "RUN  a \t b" + "c" * 60,
            "comment": "",
            "size": 0,
        }
    ]
    daemon.routes["GET /v1/images/a/history"] = lambda x: x.answer(steps)
    assert f"RUN a b{'c' * 37}…" in run("history", "a")[1]
    assert "c" * 60 in run("history", "--no-trunc", "a")[1]
    daemon.routes["GET /v1/images/a/json"] = lambda x: x.answer(IMAGE)
    assert run("image", "inspect", "-f", "{{.Architecture}}", "a")[1] == "amd64\n"


def test_networks(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/networks"] = lambda x: x.answer({"id": "4" * 64}, status=201)
    words = [
        "--subnet",
        "10.9.0.0/24",
        "--internal",
        "--mtu",
        "1400",
        "--label",
        "a=b",
        "-o",
        "x=y",
    ]
    assert run("network", "create", *words, "web") == (0, "4" * 64 + "\n", "")
    assert daemon.requests[-1].json == {
        "name": "web",
        "subnet": "10.9.0.0/24",
        "internal": True,
        "mtu": 1400,
        "labels": {"a": "b"},
        "options": {"x": "y"},
    }
    nets = [
        {
            "id": "4" * 64,
            "name": "web",
            "subnet": "10.9.0.0/24",
            "gateway": "10.9.0.1",
            "labels": {"a": "b"},
        },
        {
            "id": "5" * 64,
            "name": "bridge",
            "subnet": "10.8.0.0/24",
            "gateway": "10.8.0.1",
            "labels": {},
        },
    ]
    daemon.routes["GET /v1/networks"] = lambda x: x.answer(nets)
    assert [line.split()[1] for line in run("network", "ls")[1].splitlines()] == [
        "ID",
        "bridge",
        "web",
    ]
    assert run("network", "ls", "-q", "--filter", "label=a=b")[1] == "4" * 12 + "\n"
    assert run("network", "ls", "-q", "-f", "id=55", "-f", "name=bri")[1] == "5" * 12 + "\n"
    assert run("network", "ls", "-f", "color=red")[0] == 2
    for verb, words, body in (
        (
            "connect",
            ["--alias", "x", "--ip", "10.9.0.9", "web", "g"],
            {"guest": "g", "aliases": ["x"], "address": "10.9.0.9"},
        ),
        ("disconnect", ["-f", "web", "g"], {"guest": "g", "force": True}),
    ):
        daemon.routes[f"POST /v1/networks/web/{verb}"] = lambda x: x.answer(status=204)
        assert run("network", verb, *words)[0] == 0
        assert daemon.requests[-1].json == body
    daemon.routes["POST /v1/networks/prune"] = lambda x: x.answer({"removed": ["web"]})
    assert run("network", "prune", "-f")[1] == "web\n"
    asked = wirt("network", "prune", socket=daemon.path)
    assert (asked.code, "--force" in asked.err) == (2, True)


def test_volumes(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/volumes"] = lambda x: x.answer({"name": "data"}, status=201)
    assert run("volume", "create", "--label", "a", "data")[1] == "data\n"
    assert daemon.requests[-1].json == {"name": "data", "labels": {"a": ""}}
    assert run("volume", "create", "--name", "a", "b")[0] == 2
    daemon.routes["GET /v1/volumes"] = lambda x: x.answer(
        [{"name": "b"}, {"name": "a", "labels": {"x": "1"}}]
    )
    assert run("volume", "ls", "-q", "-f", "dangling=true")[1] == "a\nb\n"
    assert daemon.requests[-1].query == [("filter", "dangling=true")]
    assert run("volume", "ls", "--format", "{{.Name}}={{.Labels}}")[1] == "a=x=1\nb=\n"
    daemon.routes["POST /v1/volumes/prune"] = lambda x: x.answer({"removed": ["a"], "freed": 1500})
    assert run("volume", "prune", "-af")[1] == "a\nTotal reclaimed space: 1.5kB\n"
    assert daemon.requests[-1].query == [("all", "1")]
    daemon.routes["DELETE /v1/volumes/a"] = lambda x: x.problem(
        "conflict", "in use", status=409, hint="rm it"
    )
    assert run("volume", "rm", "a") == (4, "", "wirt: in use\nhint: rm it\n")


def test_ports(daemon: FakeDaemon, run: Run) -> None:
    maps = [
        {"guest_port": 80, "host_port": 8080},
        {"guest_port": 53, "host_port": 53, "host_ip": "::1", "protocol": "udp"},
    ]
    daemon.routes["GET /v1/guests/w/port"] = lambda x: x.answer(maps)
    assert run("port", "w")[1] == "80/tcp -> 0.0.0.0:8080\n53/udp -> [::1]:53\n"
    assert run("port", "w", "80")[1] == "0.0.0.0:8080\n"
    assert run("port", "w", "53")[0] == 3
    assert run("port", "w", "53/udp")[1] == "[::1]:53\n"
    assert run("port", "w", "http")[0] == 2


def test_update(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["POST /v1/guests/w/update"] = lambda x: x.answer({"warnings": ["swap"]})
    assert run("update", "-m", "64m", "--restart", "no", "w") == (0, "w\n", "warning: swap\n")
    assert daemon.requests[-1].json == {
        "resources": {"memory": 64 << 20},
        "restart": {"name": "no"},
    }
    assert run("update", "w")[0] == 2


def test_top_rename_logs(daemon: FakeDaemon, run: Run) -> None:
    told = {"titles": ["PID", "CMD"], "processes": [["1", "sh \x1b[2J"], ["22", "sleep"]]}
    daemon.routes["GET /v1/guests/w/top"] = lambda x: x.answer(told)
    assert run("top", "w", "-e", "-f")[1] == "PID   CMD\n1     sh \\x1b[2J\n22    sleep\n"
    assert daemon.requests[-1].query == [("ps_args", "-e -f")]
    daemon.routes["POST /v1/guests/w/rename"] = lambda x: x.answer(status=204)
    assert run("rename", "w", "v")[0] == 0
    daemon.routes["GET /v1/guests/w"] = lambda x: x.answer({"spec": {"tty": True}})
    daemon.routes["GET /v1/guests/w/logs"] = lambda x: x.answer(b"\x01\x00raw")
    assert run("logs", "-ft", "-n", "5", "--since", "7", "w")[1] == "\x01\x00raw"
    assert dict(daemon.requests[-1].query) == {
        "stdout": "1",
        "stderr": "1",
        "follow": "1",
        "timestamps": "1",
        "tail": "5",
        "since": "7000000000",
    }
    assert run("logs", "--tail", "x", "w")[0] == 2


def test_info_and_version(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/info"] = lambda x: x.answer(
        {"version": "1", "daemon": {"pid": 7}, "guests": {"total": 0}, "memory": 1 << 30}
    )
    assert json.loads(run("info", "--json")[1])["daemon"]["pid"] == 7
    assert run("info", "-f", "{{.Daemon.Pid}}")[1] == "7\n"
    assert "Daemon:\n  Pid: 7\n" in run("info")[1]
    assert "Memory: 1GiB" in run("info")[1]
    assert run("version")[0] == 3
    daemon.routes["GET /v1/version"] = lambda x: x.answer({"version": "2"})
    assert json.loads(run("version", "--json")[1])["daemon"] == {"version": "2"}


def test_version_needs_no_daemon(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", str(tmp_path / "none"), "version"]) == 0
    assert "Daemon: not reachable" in capfd.readouterr().out
