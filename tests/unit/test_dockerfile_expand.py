"""What variables and scopes do to instructions, against tables of cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.image.build.dockerfile import ast, mode
from wirt.image.build.dockerfile.ast import Instruction, Pair
from wirt.image.build.dockerfile.expand import expand, expand_from
from wirt.image.build.dockerfile.invocation import invocation, working_directory
from wirt.image.build.dockerfile.parse import parse
from wirt.image.build.dockerfile.scope import Scope, global_args, platform_args, unused_args
from wirt.image.platform import Platform

ENV = {
    "v": "abc.tar.gz", "empty": "", "path": "/usr/local/bin", "two": "x y", "a*": "no", "n": "1",
    "ports": "1 2", "eq": "a=b",
}  # fmt: skip


def first(text: str) -> Instruction:
    return parse(f"FROM scratch\n{text}\n".encode()).stages[0].instructions[0]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('ENV a="$n b" c=$a', "pairs", (Pair("a", "1 b"), Pair("c", ""))),
        ("ENV a $n   'b'", "pairs", (Pair("a", "1   b"),)),
        ('LABEL "a b"=$n $n=\'$n\'', "pairs", (Pair("a b", "1"), Pair("1", "$n"))),
        ("USER $n:$n", "user", "1:1"),
        ("WORKDIR $path/x", "path", "/usr/local/bin/x"),
        ("VOLUME $path /b", "paths", ("/usr/local/bin", "/b")),
        ('VOLUME ["$path"]', "paths", ("/usr/local/bin",)),
        ("STOPSIGNAL SIG${none:-KILL}", "signal", "SIGKILL"),
        ("STOPSIGNAL rtmin+3", "signal", "rtmin+3"),
        ("EXPOSE 80 81/udp ${n}0-12/TCP 80", "ports",
         ("80/tcp", "81/udp", "10/tcp", "11/tcp", "12/tcp")),
        ("EXPOSE $ports", "ports", ("1/tcp", "2/tcp")),
        ("EXPOSE 127.0.0.1:8080:80 9:8", "ports", ("80/tcp", "8/tcp")),
        ("COPY $v '$v' /x/", "sources", ("abc.tar.gz", "$v")),
        ("COPY a $path", "destination", "/usr/local/bin"),
        ("COPY --chown=$n:2 a b", "chown", "1:2"),
        ("COPY --chmod=0${n}00 a b", "chmod", "0100"),
        ("COPY --chmod=u=rwX,go=rX a b", "chmod", "u=rwX,go=rX"),
        ("COPY --exclude=$v a b", "exclude", ("abc.tar.gz",)),
        (f"ADD --checksum=sha256:{'0' * 64} http://a/b /c", "checksum", f"sha256:{'0' * 64}"),
        ("CMD $v", "command", ast.Command(("$v",), True)),
        ("RUN $v", "command", ast.Command(("$v",), True)),
    ],
)  # fmt: skip
def test_instructions(text: str, name: str, expected: object) -> None:
    found = expand(first(text), ENV, name="Dockerfile").instruction
    assert getattr(found, name) == expected


def test_heredocs_of_copy_are_expanded_unless_quoted() -> None:
    for word, content in (("E", "1\n"), ("'E'", "$n\n")):
        found = expand(first(f"COPY <<{word} /x\n$n\nE"), ENV, name="Dockerfile").instruction
        assert isinstance(found, ast.Copy)
        assert found.inline[0].content == content


def test_mounts_are_read_again_with_values() -> None:
    found = expand(
        first("RUN --mount=type=$kind,target=${path},id=$v,from=f x"),
        {**ENV, "kind": "cache"},
        name="Dockerfile",
    )
    assert isinstance(found.instruction, ast.Run)
    (mount,) = found.instruction.mounts
    assert (mount.kind, mount.target, mount.id) == (ast.MountKind.CACHE, ENV["path"], ENV["v"])
    assert mount.origin == "f"
    assert found.used == {"kind", "path", "v"}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("USER $none", "2:6", "USER '$none' is empty"),
        ("WORKDIR $none", "2:9", "is empty"),
        ("VOLUME /a $none", "2:11", "is empty"),
        ("ENV $none=b", "2:5", "gives no name"),
        ("ENV $eq=b", "2:5", "gives no name"),
        ("EXPOSE 80 x", "2:11", "no port"),
        ("EXPOSE 70000", "2:8", "no port"),
        ("EXPOSE 0-65535", "2:8", "are 65536 ports"),
        ("EXPOSE 1-16000 20000-21000", "2:1", "17001 ports"),
        ("EXPOSE" + " 1-16000" * 100_000, "2:1", "32000 ports"),
        ("EXPOSE 9-8", "2:8", "no port"),
        ("EXPOSE 80/icmp", "2:8", "no protocol"),
        ("EXPOSE a:80", "2:8", "no port"),
        ("EXPOSE x:1:80", "2:8", "no address"),
        ("STOPSIGNAL SIGTREM", "2:12", "no signal 'SIGTREM'"),
        ("STOPSIGNAL 65", "2:12", "no signal"),
        ("COPY $none /x", "2:6", "source '$none' is empty"),
        ("COPY a $none", "2:8", "destination is empty"),
        ("COPY a b c", "2:10", "several sources"),
        ("COPY --chmod=8 a b", "2:14", "no mode"),
        ("COPY --chmod=u+q a b", "2:14", "no mode"),
        ("COPY --chown=: a b", "2:14", "no owner"),
        ("COPY --chown=4294967295 a b", "2:14", "too large"),
        ("COPY <<../x /y\na\n../x", "2:8", "name of a file"),
        ("ADD --checksum=md5:0 a b", "2:16", "no checksum"),
        (f"ADD --checksum=sha256:{'0' * 64} a b c/", "2:5", "one source only"),
        ("RUN --mount=type=cache,target=$none x", "2:13", "no target"),
        ("LABEL a=${v", "2:9", "'}' is missing"),
        ("LABEL a='b", "2:9", "single quote"),
    ],
)
def test_instructions_that_are_refused(text: str, position: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        expand(first(text), ENV, name="Dockerfile")
    assert caught.value.message.startswith(f"Dockerfile:{position}: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "before", "after", "directory"),
    [
        ("755", 0o600, 0o755, False),
        ("1777", 0, 0o1777, True),
        ("u=rwX,go=rX", 0o644, 0o644, False),
        ("u=rwX,go=rX", 0o744, 0o755, False),
        ("u=rwX,go=rX", 0o600, 0o755, True),
        ("+x", 0o644, 0o755, False),
        ("a-w", 0o666, 0o444, False),
        ("u+s,g+s,+t", 0o755, 0o7755, False),
        ("u=", 0o4755, 0o055, False),
        ("g=u", 0o640, 0o660, False),
        ("o=g-w", 0o660, 0o664, False),
        ("go-rwx", 0o777, 0o700, False),
    ],
)
def test_modes(text: str, before: int, after: int, directory: bool) -> None:
    assert oct(mode.parse(text).apply(before, directory=directory)) == oct(after)


AMD = Platform(os="linux", architecture="amd64")
ARM = Platform(os="linux", architecture="arm", variant="v7")
KNOWN = platform_args(ARM, AMD, "last")


def walk(text: str, given: Mapping[str, str], env: tuple[str, ...] = ()) -> dict[str, Any]:
    """The variables at the end of the last stage, stages on stages included."""
    file = parse(text.encode())
    known = global_args(file, given, KNOWN)
    scopes: dict[str, Scope] = {}
    scope = Scope.begin(known, env)
    for stage in file.stages:
        start, _ = expand_from(stage.start, known.values, name=file.name)
        scope = scopes.get(start.image, Scope.begin(known, env))
        for each in stage.instructions:
            if isinstance(each, ast.Arg):
                scope, _ = scope.declare(file, each)
                continue
            done = expand(each, scope.values, name=file.name).instruction
            if isinstance(done, ast.Env):
                scope = scope.set(done)
        if start.name:
            scopes[start.name] = scope
    return {"values": scope.values, "run": scope.run_values, "env": scope.env}


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("ARG a=1\nFROM x", {}, {}),
        ("ARG a=1\nFROM x\nARG a", {}, {"a": "1"}),
        ("ARG a=1\nFROM x\nARG a=2", {}, {"a": "2"}),
        ("ARG a=1\nFROM x\nARG a=2", {"a": "3"}, {"a": "3"}),
        ("ARG a\nFROM x\nARG a", {"a": "3"}, {"a": "3"}),
        ("FROM x", {"a": "3"}, {}),
        ("FROM x\nARG a", {}, {}),
        ("ARG a=1 b=${a}2\nARG c=$b\nFROM x\nARG c", {}, {"c": "12"}),
        ("ARG a=1 b=$a\nFROM x\nARG b", {"a": "7"}, {"b": "7"}),
        ("FROM x\nARG a=1 b=$a", {}, {"a": "1", "b": "1"}),
        ("FROM x\nENV a=1\nARG a=2", {}, {"a": "1"}),
        ("FROM x\nARG a=2\nENV a=${a}x", {"a": "9"}, {"a": "9x"}),
        ("FROM x\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc", {},
         {"abc": "bye", "def": "hello", "ghi": "bye"}),
        ("FROM x\nARG TARGETARCH\nARG BUILDPLATFORM\nARG TARGETPLATFORM TARGETSTAGE", {},
         {"TARGETARCH": "arm", "BUILDPLATFORM": "linux/amd64", "TARGETPLATFORM": "linux/arm/v7",
          "TARGETSTAGE": "last"}),
        ("FROM x\nARG TARGETARCH", {"TARGETARCH": "z"}, {"TARGETARCH": "z"}),
        ("FROM x AS a\nARG b=1\nFROM a", {}, {"b": "1"}),
        ("FROM x AS a\nARG b=1\nFROM y", {}, {}),
        ("FROM x\nARG a=${none:-d}", {}, {"a": "d"}),
    ],
)  # fmt: skip
def test_scopes(text: str, given: dict[str, str], expected: dict[str, str]) -> None:
    assert walk(text, given)["values"] == expected


def test_the_environment_of_the_base_is_seen_and_kept() -> None:
    found = walk("FROM x\nENV PATH=$PATH:/o\nARG p=$PATH", {}, ("PATH=/b", "odd"))
    assert found["env"] == {"PATH": "/b:/o", "odd": ""}
    assert found["values"]["p"] == "/b:/o"


def test_proxies_reach_run_and_nothing_else() -> None:
    given = {"HTTP_PROXY": "p", "no_proxy": "n"}
    found = walk("FROM x\nARG no_proxy", given)
    assert found["values"] == {"no_proxy": "n"}
    assert found["run"] == {"HTTP_PROXY": "p", "no_proxy": "n"}
    assert found["env"] == {}


def test_from_sees_global_arguments() -> None:
    file = parse(b"ARG v=1\nFROM --platform=$TARGETPLATFORM x:${v} AS y\nFROM $none\n")
    known = global_args(file, {}, KNOWN)
    start, missing = expand_from(file.stages[0].start, known.values, name="Dockerfile")
    assert (start.image, start.platform, missing) == ("x:1", "linux/arm/v7", frozenset())
    with pytest.raises(Invalid, match=r"^Dockerfile:3:6: the base image '\$none' is empty"):
        expand_from(file.stages[1].start, known.values, name="Dockerfile")


def test_unused_arguments_are_named() -> None:
    file = parse(b"ARG a\nFROM x\nARG b=1\n")
    given = ("a", "b", "c", "http_proxy", "BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH")
    assert unused_args(file, given) == ("c",)


def test_an_environment_has_a_limit() -> None:
    lines = "".join(f"ENV v{n}=x$big\n" for n in range(40))
    with pytest.raises(Invalid, match="are allowed"):
        walk(f"FROM x\n{lines}", {}, ("big=" + "x" * 60_000,))


@pytest.mark.parametrize(
    ("text", "argv", "script"),
    [
        ("RUN a b", ("/bin/sh", "-c", "a b"), None),
        ('RUN ["a", "b"]', ("a", "b"), None),
        ("RUN <<E\na\nb\nE", ("/bin/sh", "-c", "a\nb\n"), None),
        ("RUN <<E\n#!/x\na\nE", (), "#!/x\na\n"),
        ("RUN c <<E 3<<F\na\nE\nb\nF", ("/bin/sh", "-c", "c <<E 3<<F\na\nE\nb\nF"), None),
    ],
)
def test_invocations(text: str, argv: tuple[str, ...], script: str | None) -> None:
    run = first(text)
    assert isinstance(run, ast.Run)
    found = invocation(run)
    assert found.argv == argv
    assert (found.script.content if found.script else None) == script


PIECES = "ENV|LABEL|EXPOSE|COPY|ADD|USER|VOLUME|WORKDIR|STOPSIGNAL|RUN|--mount=target=|--chmod=|a"
SIGNS = " |=|$v|${none}|${v%|}|'|\"|\\|/|80|-|,|\n|[|]|<<E|\nE\n|--from=x|u+x|$"


@settings(deadline=None)
@given(st.lists(st.sampled_from(f"{PIECES}|{SIGNS}".split("|")), max_size=20).map("".join))
def test_every_instruction_means_something_or_is_refused_with_its_place(text: str) -> None:
    try:
        file = parse(f"FROM scratch\n{text}\n".encode())
    except Invalid:
        return
    for each in file.stages[0].instructions:
        try:
            found = expand(each, ENV, name="Dockerfile").instruction
        except Invalid as error:
            line = int(error.facts["line"])
        else:
            assert type(found) is type(each)
            line = found.at.line
        assert each.at.line <= line <= each.at.end_line


@pytest.mark.parametrize(
    ("current", "wanted", "expected"),
    [
        ("", "a", "/a"), ("/a", "b", "/a/b"), ("/a", "/b/", "/b"), ("/a", "../../..", "/"),
        ("/a", "./b//c", "/a/b/c"), ("", "//x", "/x"),
    ],
)  # fmt: skip
def test_working_directories(current: str, wanted: str, expected: str) -> None:
    assert working_directory(current, wanted) == expected
