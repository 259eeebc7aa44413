"""The parser against docker's own (the package ``dockerfile`` wraps it): same words, same flags.

That parser is older than heredocs and than the rule that an escaped escape continues no line, and
it checks no arguments, so files without these are compared which both accept.
"""

from __future__ import annotations

import re
from typing import Any

import dockerfile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.image.build.dockerfile import ast, words
from wirt.image.build.dockerfile.lines import Logical, split
from wirt.image.build.dockerfile.parse import parse


def _values(logical: Logical, escape: str) -> tuple[str, ...]:
    """The arguments cut as the other parser cuts them."""
    keyword = logical.keyword.lower()
    _, rest = words.flags(logical.rest)
    if keyword in {"from", "expose"}:
        return tuple(words.fields(rest))
    if keyword in {"arg"}:
        return tuple(words.quoted_words(rest, escape))
    if keyword in {"user", "workdir", "maintainer", "stopsignal"}:
        return (rest,) if rest else ()
    listed = words.json_list(rest)
    if keyword in {"run", "cmd", "entrypoint", "shell"}:
        return listed if listed is not None else ((rest,) if rest else ())
    if keyword not in {"copy", "add", "volume"}:
        return ("",)
    return listed if listed is not None else tuple(words.fields(rest))


def _compare(text: str) -> None:
    try:
        theirs = dockerfile.parse_string(text)
    except dockerfile.GoParseError:
        return
    try:
        found = split(text.encode(), "Dockerfile")
        ours = [(each, _values(each, found.directives.escape)) for each in found.logical]
    except (Invalid, ValueError):
        return
    assert [each.cmd.lower() for each in theirs] == [one.keyword.lower() for one, _ in ours]
    for each, (one, values) in zip(theirs, ours, strict=True):
        assert (each.start_line, each.end_line) == (one.at.line, one.at.end_line)
        assert list(each.flags) == words.flags(one.rest)[0]
        assert tuple(each.value) == values, each
        if one.keyword.lower() in {"run", "cmd", "entrypoint"}:
            rest = words.flags(one.rest)[1]
            assert each.json == (words.json_list(rest) is not None)


@pytest.mark.parametrize(
    "text",
    [
        'FROM a\nCMD ["a"] # b\n',
        "FROM a\nRUN --x='a b' --y=\\ c -- d\n",
        "FROM --platform=x a AS b\n",
        "FROM a\nCOPY --from=b c\td  e/\n",
        "FROM a\nARG b='c d' e=f\\ g\n",
        "FROM a\nRUN b \\\n # c\n\n  d \\\n",
        "# escape=`\nFROM a\nCOPY c:\\ `\n d\n",
        "\ufeffFROM a\r\nRUN b \\\r\n c\r\n",
        'FROM a\nVOLUME ["/b", "/c d"]\nSHELL ["a", "b"]\n',
    ],
)
def test_files_that_people_write(text: str) -> None:
    _compare(text)


KEYWORDS = ["from", "arg", "copy", "add", "run", "cmd", "entrypoint", "expose", "user", "workdir"]
PIECES = '--a=b|--|-|\'|"|\\|["a", "b"]|[|]|a|b=c|$d| |  |\t|\\\n|#|é|,|='
rests = st.lists(st.sampled_from(PIECES.split("|")), max_size=8).map("".join)
lines = st.tuples(st.sampled_from([*KEYWORDS, "volume", "shell"]), rests).map(
    lambda pair: f"{pair[0]} a{pair[1]}\n"
)
files = st.lists(lines | st.sampled_from(["\n", "# c\n", "  # c\n"]), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(files.map("".join).filter(lambda text: not re.search(r"\\\\[ \t]*\n", text)))
def test_files_that_nobody_writes(text: str) -> None:
    _compare(f"from a\n{text}")


PAIRS: list[tuple[str, list[tuple[str, str]]]] = [
    ("ENV a=b c='d e'", [("a", "b"), ("c", "'d e'")]),
    ("ENV a b  c", [("a", "b  c")]),
    ('LABEL "a b"=c d=\\"', [('"a b"', "c"), ("d", '\\"')]),
    ("LABEL a= b=''", [("a", ""), ("b", "''")]),
]


@pytest.mark.parametrize(("line", "pairs"), PAIRS)
def test_pairs(line: str, pairs: list[tuple[str, str]]) -> None:
    (_, each) = dockerfile.parse_string(f"FROM x\n{line}\n")
    (ours,) = parse(f"FROM x\n{line}\n".encode()).stages[0].instructions
    assert isinstance(ours, ast.Env | ast.Label)
    theirs: list[Any] = list(zip(each.value[::2], each.value[1::2], strict=True))
    assert theirs == pairs == [(pair.key, pair.value) for pair in ours.pairs]
