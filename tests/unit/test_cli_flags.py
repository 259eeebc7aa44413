"""The flag parser: docker's rules, and messages that name what was typed."""

from __future__ import annotations

import pytest

from wirt.cli.command.ps import COMMAND as PS
from wirt.cli.command.run import COMMAND as RUN
from wirt.cli.flags import Command, Flag, nearest
from wirt.errors import Invalid


def parse(*words: str, command: Command = RUN) -> tuple[list[str], dict[str, object]]:
    args, values = command.parse(words)
    return args, dict(values)


@pytest.mark.parametrize(
    ("words", "args", "values"),
    [
        (["busybox"], ["busybox"], {}),
        (["-it", "busybox", "sh"], ["busybox", "sh"], {"interactive": True, "tty": True}),
        (["--rm", "busybox", "ls", "-l"], ["busybox", "ls", "-l"], {"rm": True}),
        (["busybox", "--rm"], ["busybox", "--rm"], {}),
        (["--", "busybox", "--rm"], ["busybox", "--rm"], {}),
        (["busybox", "--", "x"], ["busybox", "--", "x"], {}),
        (["--name", "a", "b"], ["b"], {"name": "a"}),
        (["--name=a", "b"], ["b"], {"name": "a"}),
        (["--name=", "b"], ["b"], {"name": ""}),
        (["--name", "--rm", "b"], ["b"], {"name": "--rm"}),
        (["--rm=false", "b"], ["b"], {"rm": False}),
        (["--rm=1", "b"], ["b"], {"rm": True}),
        (
            ["-e", "A=1", "-eB=2", "-e=C=3", "--env", "D", "x"],
            ["x"],
            {"env": ["A=1", "B=2", "C=3", "D"]},
        ),
        (["-itp80:80", "x"], ["x"], {"interactive": True, "tty": True, "publish": ["80:80"]}),
        (["-itp", "80:80", "x"], ["x"], {"interactive": True, "tty": True, "publish": ["80:80"]}),
        (["-t=false", "x"], ["x"], {"tty": False}),
        (["-m", "512m", "--cpus", "1.5", "x"], ["x"], {"memory": 512 << 20, "cpus": 1500}),
        (["--memory-swap", "-1", "x"], ["x"], {"memory-swap": -1}),
        (["--pids-limit", "-1", "x"], ["x"], {"pids-limit": -1}),
        (["--health-interval", "1m30s", "x"], ["x"], {"health-interval": 90 * 10**9}),
        (["--net", "web", "x"], ["x"], {"network": ["web"]}),
        (["-", "x"], ["-", "x"], {}),
    ],
)
def test_forms(words: list[str], args: list[str], values: dict[str, object]) -> None:
    assert parse(*words) == (args, values)


def test_flags_may_follow_arguments_where_there_is_no_command() -> None:
    command = Command(
        "rm",
        summary="",
        takes=(1, None),
        flags=(Flag("force", "f", kind="bool", help=""),),
        run=lambda call: 0,
    )
    assert parse("a", "-f", "b", command=command) == (["a", "b"], {"force": True})
    assert parse("a", "--", "-f", command=command) == (["a", "-f"], {})


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--foo", "x"], "unknown flag: --foo", "see 'wirt run --help'"),
        (
            ["--nmae", "a", "x"],
            "unknown flag: --nmae",
            "did you mean --name? see 'wirt run --help'",
        ),
        (["-Q", "x"], "unknown shorthand flag: 'Q'", "see 'wirt run --help'"),
        (["-iQ", "x"], "unknown shorthand flag: 'Q' in -iQ", "see 'wirt run --help'"),
        (["--name"], "flag needs an argument: --name", "see 'wirt run --help'"),
        (["-e"], "flag needs an argument: -e, --env", "see 'wirt run --help'"),
        (
            ["--rm=maybe", "x"],
            "invalid value 'maybe' for --rm: it is neither true nor false",
            "write true or false",
        ),
        (
            ["--stop-timeout", "soon", "x"],
            "invalid value 'soon' for --stop-timeout: it is no whole number",
            "write digits, as 10",
        ),
        (
            ["-m", "5q", "x"],
            "invalid value '5q' for -m, --memory: invalid size '5q'",
            "write a number with b, k, m or g, as 512m",
        ),
        (
            ["--as", "jail", "x"],
            "invalid value 'jail' for --as",
            "write one of: container, microvm, vm",
        ),
        ([], "'wirt run' requires at least 1 argument", "see 'wirt run --help'"),
    ],
)
def test_what_is_refused(words: list[str], message: str, hint: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse(*words)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_numbers_of_arguments() -> None:
    with pytest.raises(Invalid, match="takes no arguments"):
        parse("web", command=PS)
    two = Command("rename", summary="", takes=(2, 2), run=lambda call: 0)
    with pytest.raises(Invalid, match="requires exactly 2 arguments"):
        parse("a", command=two)


def test_help_is_no_miscount() -> None:
    assert parse("--help") == ([], {"help": True})


@pytest.mark.parametrize(
    ("word", "near"),
    [("rnu", "run"), ("sotp", "stop"), ("imagse", "images"), ("xyzzy", ""), ("p", "ps")],
)
def test_nearest(word: str, near: str) -> None:
    assert nearest(word, ["run", "rm", "stop", "images", "ps"]) == near


def test_json_is_a_format_where_there_are_formats() -> None:
    with pytest.raises(Invalid, match="unknown flag: --json") as caught:
        parse("--json", command=PS)
    assert caught.value.hint == "write --format json"
