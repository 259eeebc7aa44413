"""Tables, templates, figures, and the pages made from the tables."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.client import Run, client
from fakes.daemon import FakeDaemon
from fakes.terminal import argv, environment
from wirt import __version__
from wirt.cli import completion, usage
from wirt.cli.app import known, load, main
from wirt.cli.exit import EXIT, code
from wirt.cli.flags import Command, Group
from wirt.errors import BY_KIND, Kind

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


GUESTS: list[dict[str, Any]] = [
    {
        "id": "a" * 64,
        "name": "old",
        "image": "busybox",
        "image_id": "sha256:1",
        "isolation": "container",
        "command": ["sh", "-c", "sleep 1000000000000"],
        "created_at": 10**18,
        "state": "exited",
        "status": "Exited (1) 2 hours ago",
        "pid": 0,
        "exit_code": 1,
        "health": "",
        "accelerator": "",
        "ports": [],
        "networks": {},
        "labels": {},
        "mounts": [],
        "started_at": 0,
        "finished_at": 0,
    },
    {
        "id": "b" * 64,
        "name": "web",
        "image": "debian:12",
        "image_id": "sha256:2",
        "isolation": "microvm",
        "command": ["nginx"],
        "created_at": 2 * 10**18,
        "state": "running",
        "status": "Up 3 minutes",
        "pid": 9,
        "exit_code": 0,
        "health": "",
        "accelerator": "tcg",
        "ports": [
            {"guest_port": 80, "host_port": 8080},
            {"guest_port": 81, "host_port": 8081},
            {"guest_port": 53, "host_port": 53, "host_ip": "127.0.0.1", "protocol": "udp"},
        ],
        "networks": {"bridge": "10.0.0.2"},
        "labels": {"tier": "front", "x": ""},
        "mounts": ["/data"],
        "started_at": 0,
        "finished_at": 0,
    },
]


def test_ps(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/guests"] = lambda x: x.answer(GUESTS)
    code, out, _ = run("ps", "-a", "--filter", "status=exited", "-f", "label=a=b")
    lines = out.splitlines()
    assert code == 0
    assert daemon.requests[-1].query == [
        ("all", "1"),
        ("filter", "status=exited"),
        ("filter", "label=a=b"),
    ]
    assert lines[0].split() == [
        "GUEST",
        "ID",
        "IMAGE",
        "KIND",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    assert lines[1].startswith('bbbbbbbbbbbb   debian:12   microvm (tcg)   "nginx" ')
    assert lines[1].endswith(" 0.0.0.0:8080-8081->80-81/tcp, 127.0.0.1:53->53/udp   web")
    assert '"sh -c sleep 1000000…"' in lines[2]
    assert [line.index("STATUS") for line in lines[:1]] == [lines[1].index("Up 3")]


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["-q"], "bbbbbbbbbbbb\naaaaaaaaaaaa\n"),
        (["-q", "--no-trunc"], "b" * 64 + "\n" + "a" * 64 + "\n"),
        (["--format", "{{.Names}} {{.Kind}}"], "web microvm (tcg)\nold container\n"),
        (
            ["--format", "table {{.Names}}\\t{{.State}}"],
            "NAMES   STATE\nweb     running\nold     exited\n",
        ),
        (["--format", '{{.Label "tier"}}|{{.Labels}}'], "front|tier=front,x\n|\n"),
        (["-l", "--format", "{{.Names}}"], "web\n"),
        (["-n", "5", "--format", "{{.ExitCode}}"], "0\n1\n"),
    ],
)
def test_ps_forms(daemon: FakeDaemon, run: Run, words: list[str], out: str) -> None:
    daemon.routes["GET /v1/guests"] = lambda x: x.answer(GUESTS)
    assert run("ps", *words) == (0, out, "")


HOSTILE = "\x1b]0;owned\x07\x9b2J\x7f\nroot\tx"


@pytest.mark.parametrize(
    "words",
    [
        ["ps", "--no-trunc"],
        ["ps", "--format", "table {{.Names}}\\t{{.Labels}}\\t{{.Command}}"],
        ["ps", "--format", "{{.Labels}} {{.Image}} {{.Label `k`}}"],
        ["ps", "--format", "{{range $k, $v := .Labels}}{{$v}}{{end}}{{json .}}{{upper .Labels}}"],
        ["ps", "--format", "json"],
        ["inspect", "x"],
        ["inspect", "-f", "{{.Labels}} {{.Name}} {{json .}}", "x"],
        ["top", "x"],
    ],
)
def test_words_of_a_guest_do_not_drive_the_terminal(
    daemon: FakeDaemon, run: Run, words: list[str]
) -> None:
    guest = {**GUESTS[1], "image": HOSTILE, "command": [HOSTILE], "labels": {"k": HOSTILE}}
    daemon.routes["GET /v1/guests"] = lambda x: x.answer([guest])
    daemon.routes["GET /v1/guests/x"] = lambda x: x.answer(guest)
    daemon.routes["GET /v1/guests/x/top"] = lambda x: x.answer(
        {"titles": ["PID", "CMD"], "processes": [["1", HOSTILE]]}
    )
    code, out, _ = run(*words)
    assert code == 0
    assert "owned" in out.lower()
    assert [char for char in out if not char.isprintable() and char not in "\n\t"] == []
    if words == ["inspect", "x"]:
        assert json.loads(out)[0]["labels"]["k"] == HOSTILE, "JSON is the same for programs"
    if "json" in words:
        assert json.loads(out)["Image"] == HOSTILE
    if "--no-trunc" in words or words[0] == "top":
        assert len(out.splitlines()) == 2, "a row is a line"


def test_ps_as_json_lines_and_empty(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/guests"] = lambda x: x.answer(GUESTS)
    rows = [json.loads(line) for line in run("ps", "--format", "json")[1].splitlines()]
    assert [row["Names"] for row in rows] == ["web", "old"]
    daemon.routes["GET /v1/guests"] = lambda x: x.answer([])
    assert run("ps")[1].startswith("GUEST ID")
    assert run("ps", "--format", "table {{.Names}}\t{{.Ports}}")[1] == "NAMES   PORTS\n"
    assert run("ps", "-q")[1] == ""
    assert run("ps", "--filter", "running")[0] == 2


def test_events(daemon: FakeDaemon, run: Run) -> None:
    event = {
        "sequence": 1, "time": 1_769_860_800_000_000_001, "type": "guest", "action": "die",
        "subject": "abc", "attributes": {"name": "web", "exitCode": "3"},
    }  # fmt: skip
    lines = json.dumps(event).encode() + b'\n{"lagged":2}\n'
    daemon.routes["GET /v1/events"] = lambda x: x.answer(lines)
    code, out, err = run("events", "--since", "0", "--until", "1", "-f", "type=guest")
    assert (code, out) == (
        0,
        "2026-01-31T12:00:00.000000001Z guest die abc (exitCode=3, name=web)\n",
    )
    assert err == "warning: 2 events were lost: this reader was too slow\n"
    assert daemon.requests[-1].query == [
        ("since", "0"),
        ("until", "1000000000"),
        ("follow", "0"),
        ("filter", "type=guest"),
    ]
    form = "{{.Action}} {{.Actor.Attributes.name}}"
    assert run("events", "--until", "1", "--format", form)[1] == "die web\n"
    assert json.loads(run("events", "--until", "1", "--format", "json")[1]) == event


def test_stats(daemon: FakeDaemon, run: Run) -> None:
    samples = [
        {
            "id": "a" * 64,
            "name": "web",
            "cpu_percent": 12.5,
            "usage": {
                "memory": 1 << 20,
                "memory_limit": 4 << 20,
                "pids": 2,
                "net_received": 1500,
                "net_sent": 0,
            },
        },
        {"id": "b" * 64, "name": "db", "usage": None, "cpu_percent": None},
    ]
    daemon.routes["GET /v1/stats"] = lambda x: x.answer(samples)
    _, out, _ = run("stats", "--no-stream")
    assert out.splitlines()[1].split() == [
        "bbbbbbbbbbbb",
        "db",
        *["--", "--", "/", "--", "--", "--", "/", "--", "--", "/", "--", "--"],
    ]
    assert "12.50%   1MiB / 4MiB         25.00%   1.5kB / 0B" in out.splitlines()[2]
    daemon.routes["GET /v1/guests/web"] = lambda x: x.answer({"id": "a" * 64})
    assert run("stats", "--no-stream", "--format", "{{.Name}}", "web")[1] == "web\n"
    daemon.routes["GET /v1/stats"] = lambda x: x.answer(json.dumps(samples).encode() + b"\n" * 2)
    assert run("stats", "--format", "{{.Name}}")[1] == "db\nweb\n"


def test_inspect_looks_everywhere(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/guests/web"] = lambda x: x.answer({"name": "web", "labels": {"ü": "1"}})
    daemon.routes["GET /v1/networks/net"] = lambda x: x.answer({"name": "net"})
    code, out, err = run("inspect", "web", "none", "net")
    assert code == 3
    assert json.loads(out) == [{"name": "web", "labels": {"ü": "1"}}, {"name": "net"}]
    assert "there is no guest, image, network or volume 'none'" in err
    assert run("inspect", "--type", "image", "web")[0] == 3
    assert run("inspect", "-f", "{{.Name}}", "web", "net")[1] == "web\nnet\n"
    assert run("inspect", "--plan", "web")[0] == 0
    assert daemon.requests[-1].query == [("plan", "1")]


def test_every_kind_of_error_has_its_exit_code() -> None:
    assert set(EXIT) == set(Kind)
    assert len(set(EXIT.values())) == len(EXIT)
    error = BY_KIND[Kind.INVALID]("x", exit=127)
    assert (code(error, 125), code(error, None)) == (127, 2)


def test_every_command_file_has_one_command() -> None:
    names = known()
    shown = {verb for _, verbs in usage.GROUPS for verb in verbs}
    assert set(names) == shown
    for name in names:
        thing = load(name)
        if isinstance(thing, Command):
            assert thing.path == name
            assert not thing.summary.endswith(".")
        else:
            assert isinstance(thing, Group)
    for command in completion.commands().values():
        flags = [flag.name for flag in command.flags]
        shorts = [flag.short for flag in command.flags if flag.short]
        assert len(flags) == len(set(flags))
        assert len(shorts) == len(set(shorts))


def test_help(run: Run) -> None:
    code, out, _ = run("--help")
    assert (code, "wirt [--host SOCKET]" in out) == (0, True)
    assert run("help")[1] == out == run()[1]
    assert run("run", "--help")[1] == run("help", "run")[1]
    assert run("network", "--help")[1] == run("network")[1] == run("help", "network")[1]
    assert "Usage:  wirt network create [FLAGS] NAME" in run("help", "network", "create")[1]
    assert run("image", "ls", "--help")[1] == run("images", "--help")[1]
    assert all(len(line) <= 100 for line in run("run", "--help")[1].splitlines())


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["rnu"], "wirt: 'rnu' is not a wirt command\nhint: did you mean 'wirt run'?\n"),
        (["../x"], "wirt: '../x' is not a wirt command\nhint: see 'wirt --help'\n"),
        (
            ["network", "creat"],
            "wirt: 'network creat' is not a wirt command\n"
            "hint: did you mean 'wirt network create'?\n",
        ),
        (["--nope", "ps"], "wirt: unknown flag: --nope\nhint: see 'wirt --help'\n"),
        (["--host"], "wirt: flag needs an argument: -H, --host\nhint: see 'wirt --help'\n"),
        (
            ["--host", "tcp://x", "ps"],
            "wirt: cannot reach a daemon at 'tcp://x'\n"
            "hint: write unix:///path/to/wirt.sock or an absolute path\n",
        ),
    ],
)
def test_wrong_commands(words: list[str], err: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capfd.readouterr().err == err


def test_bash_completion(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(completion.bash())

    def complete(*words: str) -> list[str]:
        line = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _wirt; "
            "echo ${COMPREPLY[@]}"
        )
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("wirt", "unp") == ["unpause"]
    assert complete("wirt", "network", "co") == ["connect"]
    assert complete("wirt", "run", "--network-") == ["--network-alias"]
    assert complete("wirt", "network", "create", "--sub") == ["--subnet"]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_launcher_works_through_links_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "far").symlink_to(ROOT / "bin" / "wirt")
    (tmp_path / "bin" / "wirt").symlink_to("../far")
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "WIRT_HOST": str(tmp_path / "none")}
    for words in (["wirt"], ["bin/wirt"], ["./bin/wirt"], [str(ROOT / "bin" / "wirt")]):
        line = ["sh", "-c", 'exec "$@"', "sh", *words, "version", "--format", "{{.Client.Version}}"]
        done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == f"{__version__}\n".encode()


def test_closed_standard_streams_are_no_trap(daemon: FakeDaemon) -> None:
    daemon.routes["GET /v1/guests"] = lambda x: x.answer([])
    line = f"exec {shlex.join(argv(['ps']))} <&- >&- 2>&-"
    env = environment(daemon.path)
    assert subprocess.run(["sh", "-c", line], env=env, check=False).returncode == 0
