"""The grammar of Dockerfiles: tables of what is read, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.image.build.dockerfile import ast, lines
from wirt.image.build.dockerfile.ast import Command, Declaration, Instruction, MountKind, Pair
from wirt.image.build.dockerfile.parse import KEYWORDS, parse, parse_trigger


def one(text: str) -> Instruction:
    """The only instruction of a stage."""
    (found,) = parse(f"FROM scratch\n{text}\n".encode()).stages[0].instructions
    return found


def fields(text: str, *names: str) -> list[Any]:
    found = one(text)
    return [getattr(found, name) for name in names]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("RUN echo hi", "command", Command(("echo hi",), True)),
        ("run  echo   'a  b' ", "command", Command(("echo   'a  b'",), True)),
        ('RUN ["a", "b c"]', "command", Command(("a", "b c"), False)),
        ("RUN ['a']", "command", Command(("['a']",), True)),
        ('RUN ["a",]', "command", Command(('["a",]',), True)),
        ('RUN ["a"] # why', "command", Command(("a",), False)),
        ("RUN [ -f x ]", "command", Command(("[ -f x ]",), True)),
        ("RUN a \\\n  b", "command", Command(("a   b",), True)),
        ("RUN a \\\n# no\n  # no\n b", "command", Command(("a  b",), True)),
        ("RUN a \\  \n b", "command", Command(("a  b",), True)),
        ("RUN a \\\r\n b\r", "command", Command(("a  b",), True)),
        ("RUN a \\\n\n b", "command", Command(("a  b",), True)),
        ("RUN a \\\\", "command", Command(("a \\\\",), True)),
        ("RU\\\nN a", "command", Command(("a",), True)),
        ("RUN a # b", "command", Command(("a # b",), True)),
        ("RUN a \\", "command", Command(("a",), True)),
        ("RUN -- --x", "command", Command(("--x",), True)),
        ("RUN --network=none x", "network", "none"),
        ("RUN --security=insecure x", "security", "insecure"),
        ("CMD []", "command", Command((), False)),
        ("ENTRYPOINT a", "command", Command(("a",), True)),
        ("ENV a=b", "pairs", (Pair("a", "b"),)),
        (
            "ENV a=b c='d e' f=\\ g",
            "pairs",
            (Pair("a", "b"), Pair("c", "'d e'"), Pair("f", "\\ g")),
        ),
        ("ENV a=", "pairs", (Pair("a", ""),)),
        ('ENV a="b=c"', "pairs", (Pair("a", '"b=c"'),)),
        ("ENV a b  c=d", "pairs", (Pair("a", "b  c=d"),)),
        ("LABEL \"a b\"=c d='e'", "pairs", (Pair('"a b"', "c"), Pair("d", "'e'"))),
        ("LABEL a=b\\\nc", "pairs", (Pair("a", "bc"),)),
        ("ARG a", "declarations", (Declaration("a", None),)),
        ("ARG a= b='c d'", "declarations", (Declaration("a", ""), Declaration("b", "'c d'"))),
        ("EXPOSE 80 81/udp", "ports", ("80", "81/udp")),
        ("VOLUME /a /b", "paths", ("/a", "/b")),
        ('VOLUME ["/a b"]', "paths", ("/a b",)),
        ("USER a:b", "user", "a:b"),
        ("WORKDIR /a b", "path", "/a b"),
        ("STOPSIGNAL SIGTERM", "signal", "SIGTERM"),
        ('SHELL ["a", "-c"]', "words", ("a", "-c")),
        ("MAINTAINER a <b@c>", "name", "a <b@c>"),
        ("COPY a b c/", "sources", ("a", "b")),
        ("COPY a b c/", "destination", "c/"),
        ('COPY ["a b", "c"]', "sources", ("a b",)),
        ("COPY --from=x a b", "origin", "x"),
        ("COPY --link a b", "link", True),
        ("COPY --link=FALSE a b", "link", False),
        ("COPY a b", "link", None),
        ("COPY --parents --exclude=a --exclude=*.b c d", "exclude", ("a", "*.b")),
        ("COPY --chown='a b' c d", "chown", "a b"),
        ("ADD --keep-git-dir=true a b", "keep_git_dir", True),
        ("ADD --unpack=false a b", "unpack", False),
        ("ADD --checksum=sha256:00 a b", "checksum", "sha256:00"),
        ("HEALTHCHECK NONE", "command", None),
        ("HEALTHCHECK CMD a b", "command", Command(("a b",), True)),
        ('HEALTHCHECK cmd ["a"]', "command", Command(("a",), False)),
        ("HEALTHCHECK --interval=1m30s CMD a", "interval", 90 * 10**9),
        ("HEALTHCHECK --timeout=0s CMD a", "timeout", 0),
        ("HEALTHCHECK --start-period=1ms CMD a", "start_period", 1_000_000),
        ("HEALTHCHECK --start-interval=5s CMD a", "start_interval", 5 * 10**9),
        ("HEALTHCHECK --retries=0 CMD a", "retries", 0),
        ("ONBUILD RUN a", "trigger", "RUN a"),
        ("onbuild  run  a \\\n b", "trigger", "run  a  b"),
        ("ONBUILD RUN <<E\na\nE", "trigger", "RUN <<E\na\nE"),
    ],
)
def test_what_is_read(text: str, name: str, expected: object) -> None:
    assert fields(text, name) == [expected]


@pytest.mark.parametrize(
    ("line", "image", "name", "platform"),
    [
        ("FROM a", "a", None, None),
        ("from a as B", "a", "b", None),
        ("FROM --platform=$P a:1@sha256:0 AS b.c-d_e", "a:1@sha256:0", "b.c-d_e", "$P"),
    ],
)  # fmt: skip
def test_from(line: str, image: str, name: str | None, platform: str | None) -> None:
    start = parse(line.encode()).stages[0].start
    assert (start.image, start.name, start.platform) == (image, name, platform)


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("", "1:1", "no instructions", "begin with FROM"),
        ("# only this", "1:1", "no instructions", "begin with FROM"),
        ("ARG a", "1:1", "no FROM", None),
        ("RUN a", "1:1", "RUN stands before the first FROM", "only ARG may"),
        ("FORM a", "1:1", "no instruction 'FORM'", "did you mean FROM?"),
        ("FROM a\n  RUNN b", "2:3", "no instruction 'RUNN'", "did you mean RUN?"),
        ("FROM a\nqqq", "2:1", "no instruction 'qqq'", "expected one of: ADD"),
        ("FROM", "1:1", "FROM has no argument", "FROM image"),
        ("FROM a b", "1:8", "stands 'b'", "FROM image AS name"),
        ("FROM a is b", "1:8", "stands 'is b'", "FROM image AS name"),
        ("FROM a AS 1b", "1:11", "no name of a stage", "begins with a letter"),
        ("FROM a AS b/c", "1:11", "no name of a stage", None),
        ("FROM --platfrom=a b", "1:6", "no flag --platfrom", "did you mean --platform?"),
        ("FROM a\nRUN", "2:1", "RUN has no argument", "RUN command"),
        ("FROM a\nRUN []", "2:5", "empty list", None),
        ("FROM a\nRUN [1]", "2:5", "no string", "quote every word"),
        ('FROM a\nRUN ["\\u0000"]', "2:5", "no program can be given", None),
        ("FROM a\nRUN --mount=type=cach,target=/x b", "2:13", "'cach'", "did you mean cache?"),
        ("FROM a\nRUN --mount=typ=cache b", "2:13", "no key 'typ'", "did you mean type?"),
        ("FROM a\nRUN --mount=type=bind b", "2:13", "no target", "target=PATH"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/a,id=b c", "2:13", "no key 'id'", "size"),
        ("FROM a\nRUN --mount=target b", "2:13", "no value", "target=VALUE"),
        ("FROM a\nRUN --mount=type=secret b", "2:13", "which secret", "id=NAME"),
        ("FROM a\nRUN --mount=type=secret,id=a,source=b c", "2:13", "both id and source", None),
        ("FROM a\nRUN --mount=target=/a,from=$b c", "2:23", "hold a variable", "FROM $IMAGE"),
        ("FROM a\nRUN --mount=type=cache,target=/a,mode=9 b", "2:34", "no mode", "0755"),
        ("FROM a\nRUN --mount=type=cache,target=/a,uid=-1 b", "2:34", "number of a user", None),
        ("FROM a\nRUN --mount=type=tmpfs,target=/a,size=x b", "2:34", "invalid size", "512m"),
        ("FROM a\nRUN --mount=type=cache,target=/a,sharing=x b", "2:34", "no sharing", "shared"),
        ("FROM a\nRUN --mount=target=/a,ro=maybe b", "2:23", "not clear", "true or false"),
        ('FROM a\nRUN --mount=\\"a b', "2:14", "no list", None),
        ("FROM a\nRUN --network=hots b", "2:5", "'hots'", "did you mean host?"),
        ("FROM a\nRUN --device=x b", "2:5", "not supported", None),
        ("FROM a\nRUN --network=none --network=none b", "2:5", "a second time", None),
        ("FROM a\nRUN --network b", "2:5", "no value", "--network=VALUE"),
        ("FROM a\nCMD", "2:1", "CMD has no argument", "CMD []"),
        ("FROM a\nCMD --x", "2:5", "takes no flags", None),
        ("FROM a\nENV a", "2:5", "'a' has no value", "key=value"),
        ("FROM a\nENV a=b c", "2:9", "no key=value", "quotes"),
        ("FROM a\nENV =b", "2:5", "no name", None),
        ("FROM a\nARG =b", "2:5", "no name", "name=default"),
        ("FROM a\nCOPY a", "2:6", "has 1 argument", "source ... destination"),
        ("FROM a\nCOPY", "2:1", "has 0 arguments", None),
        ("FROM a\nCOPY --link=maybe a b", "2:6", "'maybe'", "true or false"),
        ("FROM a\nCOPY --from=$x a b", "2:6", "cannot hold a variable", "FROM $IMAGE"),
        ("FROM a\nCOPY --keep-git-dir a b", "2:6", "no flag --keep-git-dir", "--from"),
        ("FROM a\nADD --from=x a b", "2:5", "no flag --from", None),
        ("FROM a\nCOPY a <<E\nE", "2:8", "destination '<<E' is a heredoc", None),
        ("FROM a\nSHELL sh -c", "2:7", "no list", 'SHELL ["program"'),
        ("FROM a\nSHELL []", "2:7", "no list", None),
        ('FROM a\nVOLUME [""]', "2:8", "empty path", None),
        ("FROM a\nHEALTHCHECK", "2:1", "no argument", "CMD command"),
        ("FROM a\nHEALTHCHECK NONE x", "2:18", "nothing else", None),
        ("FROM a\nHEALTHCHECK RUN x", "2:13", "no kind 'RUN'", "CMD or NONE"),
        ("FROM a\nHEALTHCHECK CMD", "2:13", "no command", None),
        ("FROM a\nHEALTHCHECK --interval=1us CMD a", "2:13", "--interval is 1us", "1ms"),
        ("FROM a\nHEALTHCHECK --interval=x CMD a", "2:13", "invalid duration", None),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD a", "2:13", "--retries is '-1'", None),
        ("FROM a\nHEALTHCHECK --intervall=1s CMD a", "2:13", "--intervall", "--interval?"),
        ("FROM a\nONBUILD", "2:1", "no instruction", None),
        ("FROM a\nONBUILD ONBUILD RUN a", "2:9", "ONBUILD cannot be a trigger", None),
        ("FROM a\nONBUILD FROM a", "2:9", "FROM cannot be a trigger", None),
        ("FROM a\nONBUILD maintainer a", "2:9", "MAINTAINER cannot be a trigger", None),
        ("FROM a\nONBUILD COPY a", "2:14", "COPY has 1 argument", None),
        ("FROM a\nRUN <<E\na", "2:1", "heredoc 'E' does not end", "only 'E'"),
        ("FROM a\nRUN <<-E\na\n E", "2:1", "heredoc 'E' does not end", None),
        ("# escape=x\nFROM a", "1:10", "escape character 'x'", "\\ or `"),
        ("# syntax=a/b\nFROM a", "1:10", "syntax 'a/b'", "no frontend image"),
        ("#escape=\\\n#ESCAPE=`\nFROM a", "2:2", "second time", None),
        ("# check=skp=all\nFROM a", "1:9", "'skp'", "did you mean skip?"),
        ("# check=error=x\nFROM a", "1:9", "'error' is 'x'", "true or false"),
        ("FROM a\nRUN a\0b", "2:1", "NUL byte", None),
        ("FROM a\nRUN a \\\n  --x \\\n  && [1 \\\nRUM b\nCOPY x", "6:6", "has 1 argument", None),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, position: str, message: str, hint: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text.encode(), "some/Dockerfile")
    assert caught.value.message.startswith(f"some/Dockerfile:{position}: ")
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
    assert f"{caught.value.facts['line']}:{caught.value.facts['column']}" == position


def test_a_word_is_found_behind_continuations() -> None:
    text = "FROM a\nCOPY \\\n  # comment\n    --from=x \\\n  --chwon=b c d\n"
    with pytest.raises(Invalid, match=r"^Dockerfile:5:3: COPY has no flag --chwon") as caught:
        parse(text.encode())
    assert caught.value.hint == "did you mean --chown?"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# escape=`\nFROM a\nRUN b `\n c", {"escape": "`"}),
        ("#  ESCAPE = \\ \nFROM a", {"escape": "\\"}),
        ("# syntax=docker/dockerfile:1.7-labs\nFROM a", {"syntax": "docker/dockerfile:1.7-labs"}),
        ("# syntax=docker.io/docker/dockerfile-upstream:master\nFROM a", {}),
        ("# check=skip=A,b ;error=true\nFROM a", {"skip": {"a", "b"}, "failing": True}),
        ("# check=experimental=all\nFROM a", {"experimental": {"all"}}),
        ("# other\n# escape=`\nFROM a", {"escape": "\\"}),
        ("\n# escape=`\nFROM a", {"escape": "\\"}),
        ("# unknown=x\n# syntax=a/b\nFROM a", {"syntax": None}),
        ("FROM a\n# syntax=a/b", {"syntax": None}),
        ("\ufeff# escape=`\r\nFROM a\r\n", {"escape": "`"}),
    ],
)
def test_directives(text: str, found: dict[str, object]) -> None:
    directives = parse(text.encode()).directives
    assert {name: getattr(directives, name) for name in found} == found


@pytest.mark.parametrize(
    ("line", "heredocs"),
    [
        ("RUN <<EOF", [("EOF", True, False)]),
        ("RUN <<-EOF cat", [("EOF", True, True)]),
        ("RUN <<'EOF'", [("EOF", False, False)]),
        ('RUN <<E"O"F', [("EOF", False, False)]),
        ("RUN cat 3<<A <<B", [("A", True, False), ("B", True, False)]),
        ("COPY <<a <<b /c/", [("a", True, False), ("b", True, False)]),
        ("ADD <<a /c", [("a", True, False)]),
        ("ONBUILD COPY <<a /c", [("a", True, False)]),
        ("RUN echo '<<EOF'", []),
        ("RUN echo a<<EOF", []),
        ("RUN echo << EOF", []),
        ("RUN echo <<<EOF", []),
        ("RUN echo it's <<EOF", []),
        ('RUN ["<<EOF"]', []),
        ("CMD <<EOF", []),
        ("ENV a=<<EOF", []),
    ],
)
def test_heredocs_announced(line: str, heredocs: list[tuple[str, bool, bool]]) -> None:
    body = "".join(f"x\n{name}\n" for name, _, _ in heredocs)
    found = one(f"{line}\n{body}")
    if isinstance(found, ast.Onbuild):
        found = found.instruction
    got = getattr(found, "heredocs", ()) or getattr(found, "inline", ())
    assert [(h.name, h.expand, h.chomp) for h in got] == heredocs
    assert all(h.content == "x\n" for h in got)


def test_heredoc_contents_and_positions() -> None:
    text = "FROM a\nCOPY <<A <<-B c /d/\n# no comment \\\n\nA\n\t\tone\n\ttwo\n\tB\nRUN e\n"
    copy, run = parse(text.encode()).stages[0].instructions
    assert isinstance(copy, ast.Copy)
    assert [(h.content, h.line) for h in copy.inline] == [
        ("# no comment \\\n\n", 3),
        ("one\ntwo\n", 6),
    ]
    assert copy.sources == ("c",)
    assert (copy.at.line, copy.at.end_line, run.at.line) == (2, 8, 9)
    assert copy.at.source == text.split("FROM a\n")[1].split("\nRUN")[0]


@pytest.mark.parametrize(
    ("line", "script"),
    [("RUN <<E", True), ("RUN --network=none <<E", True), ("RUN <<E cat", False)],
)
def test_a_heredoc_alone_is_the_script(line: str, script: bool) -> None:
    assert fields(f"{line}\necho\nE", "script") == [script]


def test_mounts() -> None:
    run = one(
        "RUN --mount=type=cache,target=/a,id=b,sharing=locked,mode=0700,uid=1,gid=2,ro "
        "--mount=src=c,dst=/d,from=e,rw --mount=type=tmpfs,target=/f,size=1m "
        "--mount=type=secret,id=g,required,env=H --mount=type=ssh "
        '--mount=type=bind,\\"source=i,j\\",target=/k --mount=from=l,target=$m x'
    )
    assert isinstance(run, ast.Run)
    a, b, c, d, e, f, g = run.mounts
    assert (a.kind, a.target, a.id, a.sharing) == (MountKind.CACHE, "/a", "b", "locked")
    assert (a.mode, a.uid, a.gid, a.readonly) == (0o700, 1, 2, True)
    assert (b.kind, b.source, b.target, b.origin) == (MountKind.BIND, "c", "/d", "e")
    assert b.readonly is False
    assert (c.kind, c.size, c.readonly) == (MountKind.TMPFS, 2**20, None)
    assert (d.kind, d.id, d.required, d.env) == (MountKind.SECRET, "g", True, "H")
    assert e.kind is MountKind.SSH
    assert f.source == "i,j"
    assert (g.origin, g.target, g.text) == ("l", None, "from=l,target=$m")


def test_comments_above_are_kept_until_a_gap() -> None:
    file = parse(b"# check=skip=x\n# a is\n# b\nARG a\n\n# lost\n\n# lost\n#\nFROM c\n")
    assert file.args[0].at.comment == ("a is", "b")
    assert file.stages[0].start.at.comment == ()


def test_blank_continuations_are_noted_once_each() -> None:
    file = parse(b"FROM a\nRUN b \\\n\n\n c \\\n\n d\nRUN e\n")
    assert [p.line for p in file.blank_continuations] == [3]


def test_stages_are_found_by_name_and_number() -> None:
    file = parse(b"FROM a AS x\nFROM b\nFROM c AS X\n")
    assert [s and s.index for s in map(file.stage, ("x", "X", "0", "1", "3", "y", "00"))] == [
        2, 2, 0, 1, None, None, 0,
    ]  # fmt: skip


def test_latin_comments_are_let_be_and_latin_instructions_are_not() -> None:
    assert parse(b"# Gr\xfc\xdfe\nFROM a\n").stages
    with pytest.raises(Invalid, match=r"^Dockerfile:3:1: found bytes that are not UTF-8"):
        parse(b"FROM a\n\nLABEL b=\xfc\n")
    with pytest.raises(Invalid, match=r"^Dockerfile:3:1: found bytes that are not UTF-8"):
        parse(b"FROM a\nCOPY <<b /b\n\xfc\nb\n")


@pytest.mark.parametrize(
    "data",
    [
        b"FROM a\n" + b"#" * lines.MAX_BYTES,
        b"FROM a\n" + b"\n" * lines.MAX_LINES,
        b"FROM a\n" + b"RUN b\n" * lines.MAX_INSTRUCTIONS,
        b"FROM a\n" * 1001,
        b"FROM a\nRUN " + b" ".join(b"<<a%d" % n for n in range(2000)),
    ],
)
def test_files_have_limits(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"are allowed|may have|more than"):
        parse(data)


def test_deep_json_is_text() -> None:
    found = one("RUN " + "[" * 100_000)
    assert isinstance(found, ast.Run)
    assert found.command.shell


def test_triggers() -> None:
    found = parse_trigger("COPY <<a /b\n1\na", "ONBUILD of x")
    assert isinstance(found, ast.Copy)
    assert found.inline[0].content == "1\n"
    for bad in ("RUN a\nRUN b", "FROM a", "ONBUILD RUN a", "", "COPY a"):
        with pytest.raises(Invalid, match=r"^ONBUILD of x"):
            parse_trigger(bad, "ONBUILD of x")


MARKS = '<<E|E|<<-|\n|\\\n|# | |\t|"|\'|\\|${a:-|}|$a|[|]|"b"|,|=|a|/|AS|CMD|80|`|\r|\0|\x85|é'
FLAGS = ("--mount=", "--from=", "type=cache,", "target=/a", "# escape=`\n", "FROM a\n")
pieces = st.sampled_from([*KEYWORDS, *map(str.lower, KEYWORDS), *FLAGS, *MARKS.split("|")])
texts = st.lists(pieces, max_size=30).map("".join) | st.text(max_size=60)


@settings(deadline=None)
@given(texts)
def test_every_text_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        file = parse(text.encode("utf-8", "surrogatepass"))
    except Invalid as error:
        line, column = error.facts["line"], error.facts["column"]
        physical = text.encode("utf-8", "surrogatepass").split(b"\n")
        assert 1 <= int(line) <= len(physical)
        assert 1 <= int(column) <= len(physical[int(line) - 1]) + 1
        return
    last = 0
    for stage in file.stages:
        for each in (stage.start, *stage.instructions):
            assert last < each.at.line <= each.at.end_line <= len(file.lines)
            last = each.at.end_line
            assert file.lines[each.at.line - 1 :][:1][0][each.at.column - 1 :]
            assert each.at.source == "\n".join(file.lines[each.at.line - 1 : each.at.end_line])


@settings(deadline=None)
@given(texts)
def test_every_letter_of_a_logical_line_is_where_its_position_says(text: str) -> None:
    try:
        found = lines.split(text.encode("utf-8", "surrogatepass"), "Dockerfile")
    except Invalid:
        return
    for logical in found.logical:
        for offset, letter in enumerate(logical.at.text):
            place = logical.at.at(offset)
            assert found.lines[place.line - 1].removeprefix("\ufeff")[place.column - 1] == letter
