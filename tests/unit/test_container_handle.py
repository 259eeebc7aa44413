"""What a container's handle makes of its input: the exec'd process, ps' table, alias, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wirt.engine._container_handle import cannot_run, exec_process
from wirt.engine._ps import parse
from wirt.errors import Invalid
from wirt.linux.interface import Interfaces
from wirt.model.guest import ExecSpec
from wirt.model.resources import Resources, merge
from wirt.model.terminal import parse_detach_keys
from wirt.privileged.protocol import ResolvedUser

MAIN: dict[str, Any] = {
    "terminal": True,
    "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
    "args": ["server"],
    "env": ["PATH=/bin", "A=1", "HOME=/srv"],
    "cwd": "/srv",
    "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "permitted": []},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
    "noNewPrivileges": True,
}
OTHER = ResolvedUser(uid=1, gid=2, groups=(3,), home="/srv/o")


def made(user: ResolvedUser | None = None, *, explicit_home: bool = False, **wish: Any) -> Any:
    spec = ExecSpec(command=("a", "b"), **wish)
    return exec_process(
        MAIN, spec, user=user, every=frozenset({"KILL"}), explicit_home=explicit_home
    )


def test_an_exec_is_like_the_main_process() -> None:
    assert made() == {
        **MAIN,
        "terminal": False,
        "args": ["a", "b"],
    }


def test_another_user_has_another_home() -> None:
    process = made(OTHER)
    assert process["user"] == {"uid": 1, "gid": 2, "additionalGids": [3]}
    assert process["env"] == ["PATH=/bin", "A=1", "HOME=/srv/o"]
    assert made(OTHER, explicit_home=True)["env"][-1] == "HOME=/srv"
    assert made(OTHER, env=("HOME=/x",))["env"][-1] == "HOME=/x"


def test_wishes_of_an_exec() -> None:
    process = made(env=("A=2", "B=3"), working_dir="/a/../b/", privileged=True)
    assert process["env"] == ["PATH=/bin", "A=2", "HOME=/srv", "B=3"]
    assert process["cwd"] == "/b"
    assert process["capabilities"]["effective"] == ["CAP_KILL"]
    assert process["noNewPrivileges"]


def test_a_terminal() -> None:
    process = made(tty=True, rows=25, columns=80)
    assert process["terminal"]
    assert process["consoleSize"] == {"height": 25, "width": 80}
    assert process["env"][-1] == "TERM=xterm"
    assert "consoleSize" not in made(tty=True, rows=0, columns=80)
    assert made(tty=True, env=("TERM=dumb",))["env"][-1] == "TERM=dumb"


def test_limits_are_merged_by_value() -> None:
    old = Resources(memory=5, pids=7)
    assert merge(old, Resources(memory=6, cpu_millis=10)) == Resources(
        memory=6, pids=7, cpu_millis=10
    )


PS = """UID          PID    PPID CMD
root           1       0 /sbin/init with  two spaces
app          42       1 sleep 100
app         420       1 sleep 100
broken
"""


def test_only_the_guests_rows_are_shown() -> None:
    titles, rows = parse(PS, {42, 1})
    assert titles == ("UID", "PID", "PPID", "CMD")
    assert rows == (
        ("root", "1", "0", "/sbin/init with  two spaces"),
        ("app", "42", "1", "sleep 100"),
    )
    assert parse(PS, ()) == (titles, ())


@pytest.mark.parametrize("text", ["", "\n", "COMMAND\nsleep\n", "PIDX\n1\n"])
def test_a_table_without_pids_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="no column PID"):
        parse(text, {1})


def card(root: Path, name: str, alias: str, received: int, sent: int) -> None:
    (root / name / "statistics").mkdir(parents=True)
    (root / name / "ifalias").write_text(alias + "\n")
    (root / name / "statistics/rx_bytes").write_text(f"{received}\n")
    (root / name / "statistics/tx_bytes").write_text(f"{sent}\n")


def test_traffic_of_a_guests_cards(tmp_path: Path) -> None:
    interfaces = Interfaces(root=tmp_path)
    assert interfaces.traffic("wirt:a") is None
    card(tmp_path, "v1", "wirt:a", 5, 7)
    card(tmp_path, "v2", "wirt:b", 1, 1)
    card(tmp_path, "v3", "wirt:a", 10, 20)
    (tmp_path / "bonding_masters").write_text("")
    assert interfaces.named("wirt:a") == ("v1", "v3")
    assert interfaces.traffic("wirt:a") == (15, 27)
    (tmp_path / "v1").rename(tmp_path.parent / "gone")
    assert interfaces.traffic("wirt:a") == (10, 20)


def test_a_card_is_found_though_it_was_seen_before_it_had_its_alias(tmp_path: Path) -> None:
    """An alias is set by a second message to the kernel, and somebody else may look in between."""
    interfaces = Interfaces(root=tmp_path)
    card(tmp_path, "v1", "", 5, 7)
    assert interfaces.named("wirt:a") == ()
    (tmp_path / "v1" / "ifalias").write_text("wirt:a\n")
    assert interfaces.named("wirt:a") == ("v1",)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b""), ("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("CTRL-A,x", b"\x01x"),
        ("ctrl-@,ctrl-[,ctrl-_", b"\x00\x1b\x1f"), ("ctrl-\\", b"\x1c"),
    ],
)  # fmt: skip
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", [",", "ctrl-", "ctrl-1", "ab", "é", "ctrl-pp", "a," * 20 + "a"])
def test_bad_detach_keys(text: str) -> None:
    with pytest.raises(Invalid, match="detach key"):
        parse_detach_keys(text)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "executable file `sh` not found in $PATH: No such file or directory",
            'exec: "sh": executable file not found in $PATH',
        ),
        ("open executable: Operation not permitted", 'exec: "sh": is no regular file'),
        ("exec: Permission denied", 'exec: "sh": exec: Permission denied'),
        ("open executable: Permission denied", 'exec: "sh": open executable: Permission denied'),
        ("chdir `/x`: Permission denied", "chdir `/x`: Permission denied"),
    ],
)
def test_what_cannot_be_run_is_named(said: str, told: str) -> None:
    assert cannot_run(said, "sh") == told
