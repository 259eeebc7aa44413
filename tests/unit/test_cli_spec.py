"""From typed flags to the GuestSpec: each form once, judged by the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.words import refused, spec
from wirt.model.guest import (
    GuestSpec,
    HealthCheck,
    Isolation,
    LogOptions,
    RestartName,
    RestartPolicy,
)
from wirt.model.network import Attachment, PortMap
from wirt.model.resources import Resources
from wirt.model.volume import Mount, MountKind


def test_nothing_typed_is_the_models_default() -> None:
    assert spec("busybox") == GuestSpec(image="busybox")


def volume(target: str, source: str = "", **more: Any) -> Mount:
    return Mount(kind=MountKind.VOLUME, target=target, source=source, **more)


def bind(source: str, target: str, **more: Any) -> Mount:
    return Mount(kind=MountKind.BIND, target=target, source=source, **more)


def tmpfs(target: str, **more: Any) -> Mount:
    return Mount(kind=MountKind.TMPFS, target=target, **more)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["x", "echo", "-n", "a"], "command", ("echo", "-n", "a")),
        (["--as", "microvm", "x"], "isolation", Isolation.MICROVM),
        (["--entrypoint", "sh", "x"], "entrypoint", ("sh",)),
        (["--entrypoint", "", "x"], "entrypoint", ()),
        (["-u", "1000:100", "x"], "user", "1000:100"),
        (["-w", "/srv", "x"], "working_dir", "/srv"),
        (["-h", "box", "x"], "hostname", "box"),
        (["-t", "x"], "tty", True),
        (["-i", "x"], "stdin_open", True),
        (["--rm", "x"], "remove_on_exit", True),
        (["--read-only", "x"], "read_only", True),
        (["--init", "x"], "init", True),
        (["-P", "x"], "publish_all", True),
        (["--userns", "private", "x"], "userns", "private"),
        (["--userns", "host", "x"], "userns", ""),
        (["--stop-signal", "INT", "--stop-timeout", "3", "x"], "stop_timeout", 3),
        (["--stop-timeout", "0", "x"], "stop_timeout", 0),
        (["--shm-size", "1g", "x"], "shm_size", 1 << 30),
        (["--disk-size", "10g", "x"], "disk_size", 10 << 30),
        (["-l", "a=1", "--label", "b", "-l", "a=2=3", "x"], "labels", {"a": "2=3", "b": ""}),
        (["--annotation", "run.x=1", "x"], "annotations", {"run.x": "1"}),
        (["--sysctl", "net.core.somaxconn=10", "x"], "sysctls", {"net.core.somaxconn": "10"}),
        (["--cap-add", "cap_net_admin", "--cap-add", "all", "x"], "cap_add", ("NET_ADMIN", "ALL")),
        (["--cap-drop", "NET_RAW", "x"], "cap_drop", ("NET_RAW",)),
        (
            ["--ulimit", "nofile=1:2", "--ulimit", "core=-1", "x"],
            "ulimits",
            {"nofile": (1, 2), "core": (-1, -1)},
        ),
        (["--security-opt", "no-new-privileges", "x"], "security_opt", ("no-new-privileges",)),
        (["--security-opt", "no-new-privileges:true", "x"], "security_opt", ("no-new-privileges",)),
        (["--security-opt", "no-new-privileges=false", "x"], "security_opt", ()),
        (["--security-opt", "seccomp=unconfined", "x"], "security_opt", ("seccomp=unconfined",)),
        (["--security-opt", "apparmor=unconfined", "x"], "security_opt", ()),
        (["--restart", "no", "--rm", "x"], "restart", RestartPolicy()),
        (["--restart", "always", "x"], "restart", RestartPolicy(name=RestartName.ALWAYS)),
        (["--restart", "on-failure", "x"], "restart", RestartPolicy(name=RestartName.ON_FAILURE)),
        (
            ["--restart", "on-failure:3", "x"],
            "restart",
            RestartPolicy(name=RestartName.ON_FAILURE, maximum_retries=3),
        ),
        (
            ["--log-opt", "max-size=10m", "--log-opt", "max-file=3", "x"],
            "log",
            LogOptions(size=10 << 20, files=3),
        ),
        (["--dns", "9.9.9.9", "--dns", "::1", "x"], "dns", ("9.9.9.9", "::1")),
        (
            [
                "--add-host",
                "a:10.0.0.1",
                "--add-host",
                "b=host-gateway",
                "--add-host",
                "c:[::1]",
                "x",
            ],
            "extra_hosts",
            ("a:10.0.0.1", "b:host-gateway", "c:::1"),
        ),
        (
            ["--health-cmd", "true", "--health-retries", "2", "--health-interval", "1s", "x"],
            "health",
            HealthCheck(test=("CMD-SHELL", "true"), retries=2, interval=10**9),
        ),
        (["--health-timeout", "2s", "x"], "health", HealthCheck(test=(), timeout=2 * 10**9)),
        (["--no-healthcheck", "x"], "health", HealthCheck(test=("NONE",))),
        (
            [
                "--cpus",
                "0.5",
                "-c",
                "512",
                "-m",
                "64m",
                "--memory-swap",
                "-1",
                "--memory-reservation",
                "32m",
                "--pids-limit",
                "9",
                "--cpuset-cpus",
                "0-1",
                "x",
            ],
            "resources",
            Resources(
                cpu_millis=500,
                cpu_shares=512,
                memory=64 << 20,
                memory_swap=-1,
                memory_reservation=32 << 20,
                pids=9,
                cpuset="0-1",
            ),
        ),
        (["--pids-limit", "0", "-m", "0", "x"], "resources", Resources(pids=0, memory=0)),
        (["--pids-limit", "-1", "x"], "resources", Resources(pids=-1)),
    ],
)
def test_flags(words: list[str], field: str, value: object) -> None:
    assert getattr(spec(*words), field) == value


@pytest.mark.parametrize(
    ("words", "mounts"),
    [
        (["-v", "/data"], [volume("/data")]),
        (["-v", "data:/d"], [volume("/d", "data")]),
        (["-v", "data:/d:ro,nocopy"], [volume("/d", "data", read_only=True, nocopy=True)]),
        (["-v", "/h:/d"], [bind("/h", "/d", create_source=True)]),
        (["-v", "/h:/d/../e/"], None),
        (["-v", "/h/./x//:/d//e/"], [bind("/h/x", "/d/e", create_source=True)]),
        (
            ["-v", "/h:/d:ro,rslave"],
            [bind("/h", "/d", create_source=True, read_only=True, propagation="rslave")],
        ),
        (["--mount", "type=bind,src=/h,dst=/d"], [bind("/h", "/d")]),
        (["--mount", "type=bind,source=/h,target=/d,readonly"], [bind("/h", "/d", read_only=True)]),
        (["--mount", "type=bind,source=/h,target=/d,ro=false"], [bind("/h", "/d")]),
        (
            ["--mount", "type=bind,source=/h,target=/d,bind-propagation=shared"],
            [bind("/h", "/d", propagation="shared")],
        ),
        (["--mount", "source=v,target=/d,volume-nocopy"], [volume("/d", "v", nocopy=True)]),
        (["--mount", "target=/d"], [volume("/d")]),
        (["--mount", 'type=bind,"source=/a,b",target=/d'], [bind("/a,b", "/d")]),
        (["--mount", 'type=bind,"source=/a""b",target=/d'], [bind('/a"b', "/d")]),
        (
            ["--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777"],
            [tmpfs("/t", size=1 << 20, mode=0o1777)],
        ),
        (["--tmpfs", "/t"], [tmpfs("/t")]),
        (
            ["--tmpfs", "/t:size=1m,mode=700,noexec,ro"],
            [tmpfs("/t", size=1 << 20, mode=0o700, options=("noexec",), read_only=True)],
        ),
        (
            ["-v", "a:/a", "--mount", "target=/b", "--tmpfs", "/c"],
            [volume("/a", "a"), volume("/b"), tmpfs("/c")],
        ),
    ],
)
def test_mounts(words: list[str], mounts: list[Mount] | None) -> None:
    if mounts is None:
        refused(*words, "x")
    else:
        assert spec(*words, "x").mounts == tuple(mounts)


def test_relative_sources_start_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = spec("-v", ".:/a", "-v", "./b/..:/c", "--mount", "type=bind,src=./d,dst=/d", "x").mounts
    assert [one.source for one in made] == [str(tmp_path), str(tmp_path), f"{tmp_path}/d"]


@pytest.mark.parametrize(
    ("typed", "maps"),
    [
        ("80", [PortMap(guest_port=80)]),
        ("8080:80", [PortMap(guest_port=80, host_port=8080)]),
        ("8080:80/udp", [PortMap(guest_port=80, host_port=8080, protocol="udp")]),
        ("127.0.0.1:8080:80", [PortMap(guest_port=80, host_port=8080, host_ip="127.0.0.1")]),
        ("127.0.0.1::80", [PortMap(guest_port=80, host_ip="127.0.0.1")]),
        ("[::1]:8080:80/TCP", [PortMap(guest_port=80, host_port=8080, host_ip="::1")]),
        ("[::1]::80", [PortMap(guest_port=80, host_ip="::1")]),
        ("8000-8002:80-82", [PortMap(guest_port=80 + i, host_port=8000 + i) for i in range(3)]),
        ("80-81", [PortMap(guest_port=80), PortMap(guest_port=81)]),
        ("8000-8010:80", [PortMap(guest_port=80, host_port=8000, host_port_end=8010)]),
        ("0:80", [PortMap(guest_port=80)]),
    ],
)
def test_ports(typed: str, maps: list[PortMap]) -> None:
    assert spec("-p", typed, "x").ports == tuple(maps)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        ":",
        "a",
        "0",
        "65536",
        "80:",
        "80:x",
        "1:2:3:4",
        "::1:80:80",
        "300.1.1.1:80:80",
        "80/sctp",
        "80/",
        "82-80",
        "8000-8002:80-81",
        "8000:80-81",
        "-80",
        "80-",
        "[::1:80:80",
        "[x]:80:80",
        "\uff11:80",
        "localhost:1:2",
    ],
)
def test_wrong_ports_name_what_was_typed(typed: str) -> None:
    assert f"-p {typed}" in refused("-p", typed, "x")


@pytest.mark.parametrize(
    ("words", "mode", "attachments"),
    [
        (["--network", "web"], "", [Attachment(network="web")]),
        (["--network", "default"], "", [Attachment(network="bridge")]),
        (["--network", "none"], "none", []),
        (["--network", "host"], "host", []),
        (["--network", "container:db"], "guest:db", []),
        (["--network", "guest:db"], "guest:db", []),
        (
            ["--network", "a", "--network", "b"],
            "",
            [Attachment(network="a"), Attachment(network="b")],
        ),
        (
            [
                "--network",
                "web",
                "--network-alias",
                "x",
                "--network-alias",
                "y",
                "--ip",
                "10.0.0.9",
            ],
            "",
            [Attachment(network="web", aliases=("x", "y"), address="10.0.0.9")],
        ),
        (["--ip", "10.0.0.9"], "", [Attachment(network="bridge", address="10.0.0.9")]),
        (
            ["--network", "name=web,alias=a,alias=b,ip=10.0.0.9,mac-address=02:00:00:00:00:01"],
            "",
            [
                Attachment(
                    network="web", aliases=("a", "b"), address="10.0.0.9", mac="02:00:00:00:00:01"
                )
            ],
        ),
    ],
)
def test_networks(words: list[str], mode: str, attachments: list[Attachment]) -> None:
    made = spec(*words, "x")
    assert (made.network_mode, made.attachments) == (mode, tuple(attachments))


def test_environment_comes_from_files_then_flags_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "env"
    file.write_text("\ufeff# comment\n\nA=1\n  B=two words \nHERE\nGONE\r\nE=\n")
    import posix

    monkeypatch.setitem(posix.environ, b"HERE", b"yes")
    monkeypatch.delitem(posix.environ, b"GONE", raising=False)
    made = spec(
        "-e", "A=3", "-e", "HERE", "-e", "GONE", "-e", "Z=a=b", "--env-file", str(file), "x"
    )
    assert made.env == ("A=3", "B=two words ", "HERE=yes", "E=", "Z=a=b")


def test_label_files(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("a=1\n# no\nb\n")
    assert spec("--label-file", str(file), "-l", "a=2", "x").labels == {"a": "2", "b": ""}


def test_a_seccomp_profile_is_read_here(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }\n')
    made = spec("--security-opt", f"seccomp={file}", "x").security_opt
    assert made == ('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',)
    file.write_text("[1]")
    assert str(file) in refused("--security-opt", f"seccomp={file}", "x")
    file.write_text("{")
    assert str(file) in refused("--security-opt", f"seccomp={file}", "x")
    assert "/none" in refused("--security-opt", "seccomp=/none", "x")
