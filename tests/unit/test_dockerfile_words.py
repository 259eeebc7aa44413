"""What words mean: every form of substitution, quotes, patterns, bounds."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.image.build.dockerfile import glob, shellword
from wirt.image.build.dockerfile.problem import Wrong

ENV = {
    "v": "abc.tar.gz", "empty": "", "path": "/usr/local/bin", "two": "x y", "a*": "no", "n": "1",
    "ports": "1 2", "eq": "a=b",
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$v", "abc.tar.gz"),
        ("${v}x", "abc.tar.gzx"),
        ("$vx", ""),
        ("$v/x", "abc.tar.gz/x"),
        ("\\$v", "$v"),
        ("\\\\$n", "\\1"),
        ("'$v'", "$v"),
        ('"$v"', "abc.tar.gz"),
        ('"\\$v"', "$v"),
        ('"\\a \\" \\\\"', '\\a " \\'),
        ("a\\ b", "a b"),
        ("a' 'b\"c\"", "a bc"),
        ("'a\"b'", 'a"b'),
        ('"it\'s"', "it's"),
        ("$", "$"),
        ("$.", "$."),
        ("$1", ""),
        ("$12x", "x"),
        ("$@$*$#$?$-$$$!$0", ""),
        ("a$", "a$"),
        ("trailing\\", "trailing"),
        ("${none}", ""),
        ("${none-d}", "d"),
        ("${none:-d}", "d"),
        ("${empty-d}", ""),
        ("${empty:-d}", "d"),
        ("${v-d}", "abc.tar.gz"),
        ("${v:-d}", "abc.tar.gz"),
        ("${none+d}", ""),
        ("${empty+d}", "d"),
        ("${empty:+d}", ""),
        ("${v+d}", "d"),
        ("${v:+d}", "d"),
        ("${v?m}", "abc.tar.gz"),
        ("${empty?m}", ""),
        ("${v:?m}", "abc.tar.gz"),
        ("${none:-${n}}", "1"),
        ('${none:-${none:-"a b"}}', "a b"),
        ("${none:-a\\}b}", "a}b"),
        ("${v#*.}", "tar.gz"),
        ("${v##*.}", "gz"),
        ("${v%.*}", "abc.tar"),
        ("${v%%.*}", "abc"),
        ("${v#abc}", ".tar.gz"),
        ("${v#x}", "abc.tar.gz"),
        ("${v%?z}", "abc.tar."),
        ("${v#\\*}", "abc.tar.gz"),
        ("${v/a/_}", "_bc.tar.gz"),
        ("${v//a/_}", "_bc.t_r.gz"),
        ("${v/a*r/_}", "_.gz"),
        ("${path//\\//:}", ":usr:local:bin"),
        ("${v//./}", "abctargz"),
        ("${v/${n}x/_}", "abc.tar.gz"),
        ("${none/a/b}", ""),
        ("${v//?/-}", "----------"),
        ("한국어$n", "한국어1"),
        ("${two}", "x y"),
    ],
)
def test_words(word: str, expected: str) -> None:
    assert shellword.expand(word, ENV) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${}", "bad substitution"),
        ("${{v}", "bad substitution"),
        ("${:v}", "bad substitution"),
        ("${.}", "'.' is not known"),
        ("${v", "'}' is missing"),
        ("${", "'}' is missing"),
        ("${v:", "not known"),
        ("${v:#a}", "':#' is not known"),
        ("${v:%a}", "':%' is not known"),
        ("${v:=a}", "':=' is not known"),
        ("${v:-a", "'}' is missing"),
        ("${v/a}", "'/' is missing"),
        ("${v/a/b", "'}' is missing"),
        ("${v#\\a}", "escapes 'a'"),
        ("'a", "single quote is not closed"),
        ('"a', "double quote is not closed"),
        ("${none?gone}", "none: gone"),
        ("${none?}", "none: must not be unset"),
        ("${empty:?}", "empty: must not be empty"),
        ("${a:-" * 200 + "}" * 200, "are nested"),
    ],
)
def test_words_that_are_refused(word: str, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        shellword.expand(word, ENV)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$two", ["x", "y"]),
        ('"$two"', ["x y"]),
        ("a$two", ["ax", "y"]),
        ("a\\ b", ["a b"]),
        ("$empty", []),
        ("${none:-80 81}", ["80", "81"]),
        ("' '", [" "]),
    ],
)
def test_words_are_split_after_they_are_expanded(word: str, expected: list[str]) -> None:
    assert shellword.expand_words(word, ENV) == expected


def test_the_other_escape() -> None:
    assert shellword.expand("c:\\d`$v\\$n", ENV, escape="`") == "c:\\d$v\\1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\"$n\" '$n'\n", "\"1\" '1'\n"),
        ("\\$n \\\\ \\\n", "$n \\ \n"),
        ("it's ${none:-'}", "it's '"),
    ],
)
def test_heredocs_keep_their_quotes(text: str, expected: str) -> None:
    assert shellword.expand_text(text, ENV) == expected


def test_what_is_asked_for_is_told() -> None:
    seen = shellword.Seen()
    shellword.expand("$v ${none} ${gone:-x} '$quoted' ${other#x}", ENV, seen=seen)
    assert (seen.used, seen.missing) == ({"v"}, {"none", "other"})


def test_a_value_cannot_grow_without_end() -> None:
    env = {"a": "x" * 1000}
    for _ in range(9):
        env["a"] = shellword.expand('"$a$a"', env)
    with pytest.raises(Wrong, match="together"):
        shellword.expand('"$a$a$a"', env)


def _reference(pattern: str) -> str:
    """The pattern as a regular expression, for the standard library."""
    return "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)


patterns = st.text("ab*?", max_size=6)
values = st.text("abc", max_size=10)


@settings(deadline=None)
@given(patterns, values, st.booleans())
def test_patterns_match_as_regular_expressions_do(text: str, value: str, longest: bool) -> None:
    pattern = glob.Pattern(text)
    expression = re.compile(_reference(text), re.DOTALL)
    ends = [i for i in range(len(value) + 1) if expression.fullmatch(value, 0, i)]
    starts = [i for i in range(len(value) + 1) if expression.fullmatch(value, len(value) - i)]
    choose = max if longest else min
    assert pattern.prefix(value, longest=longest) == (choose(ends) if ends else None)
    assert pattern.suffix(value, longest=longest) == (choose(starts) if starts else None)


@settings(deadline=None)
@given(patterns.filter(lambda text: text.strip("*") != ""), values)
def test_patterns_replace_as_regular_expressions_do(text: str, value: str) -> None:
    pattern = glob.Pattern(text)
    expression = re.compile(_reference(text), re.DOTALL)
    assert pattern.replace(value, "_", everywhere=False) == expression.sub("_", value, count=1)
    assert pattern.replace(value, "_", everywhere=True) == expression.sub("_", value)


@pytest.mark.timeout(20)
def test_no_pattern_takes_for_ever() -> None:
    value = "a" * 100_000
    pattern = glob.Pattern("*a" * 30 + "b")
    assert pattern.prefix(value, longest=True) is None
    assert pattern.suffix(value, longest=False) is None
    assert pattern.replace(value, "x", everywhere=True) == value


parts = st.sampled_from([*"${}:-+?#%/\\'\"*v é", "none", "${v", "${none:-"])


@settings(deadline=None)
@given(st.lists(parts, max_size=25).map("".join))
def test_every_word_means_something_or_is_refused(word: str) -> None:
    for meaning in (shellword.expand, shellword.expand_words, shellword.expand_text):
        with contextlib.suppress(Wrong):
            assert isinstance(meaning(word, ENV), str | list)


@settings(deadline=None)
@given(st.text("abc/.-_ é", max_size=20))
def test_words_without_signs_mean_themselves(word: str) -> None:
    assert shellword.expand(word, ENV) == word
