"""``.dockerignore``: docker's own cases, the standard library as oracle, and hostile rules."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.model import ignore
from wirt.model.ignore import TOP, Ignore


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("**", "file", True),
        ("**/", "file", True),
        ("**", "dir/file", True),
        ("**/**", "dir/file", True),
        ("dir/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("dir/**", "dir", False),
        ("**/dir", "dir", True),
        ("**/dir", "dir/file", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**/dir2/**", "dir/dir2/dir3/file", True),
        ("**file", "file", True),
        ("**file", "dir/dir/file", True),
        ("**file", "dir/afile", True),
        ("**/file", "dir/afile", False),
        ("**file*", "dir/afile", False),
        ("**/file*", "dir/dir/file.txt", True),
        ("**/file*.txt*", "dir/dir/file.txt", True),
        ("**/**/*.txt", "dir/dir/file.txt", True),
        ("**/**/*.txt2", "dir/dir/file.txt", False),
        ("**/*.txt", "file.txt", True),
        ("a**/*.txt", "a/file.txt", True),
        ("a**/*.txt", "a/dir/dir/file.txt", True),
        ("a/*.txt", "a/dir/file.txt", False),
        ("a/*.txt**", "a/file.txt", True),
        ("a[b-d]e", "ae", False),
        ("a[b-d]e", "ace", True),
        ("a[b-d]e", "aae", False),
        ("a[^b-d]e", "aze", True),
        ("a[^b-d]e", "ace", False),
        ("a[^b]e", "a/e", False),
        ("a[\\]\\-]e", "a-e", True),
        ("a[d-b]e", "ace", False),
        (".*", ".foo", True),
        (".*", "foo", False),
        ("abc.def", "abcZdef", False),
        ("abc?def", "abcZdef", True),
        ("abc?def", "abc/def", False),
        ("a\\\\", "a\\", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("**/foo/bar", "foo/bar", True),
        ("**/foo/bar", "dir/dir2/foo/bar", True),
        ("abc/**", "abc/def/ghi", True),
        ("**/.foo", "bar.foo", False),
        ("a(b)c/def", "a(b)c/def", True),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
        ("a+", "aa", False),
        ("^a*", "^ab", True),
        ("dist/*.whl", "dist/p.py-2.4+g08-none.whl", True),
        ("docs", "docs/a/b", True),
        ("docs/", "docs/a", True),
        ("/docs", "docs/a", True),
        ("./docs/../docs//x", "docs/x", True),
        ("  docs  ", "docs", True),
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/temp*", "temp", False),
        ("temp?", "tempa", True),
        (".", "a", False),
        ("/", "a", False),
        ("../a", "a", False),
        ("# docs", "docs", False),
        (" # docs", "# docs", True),
        ("\ufeffdocs", "docs", True),
        ("docs\r\nx", "docs", True),
        ("*.go\n!f.go", "f.go", False),
        ("!f.go\n*.go", "f.go", True),
        ("docs\n!docs/README.md", "docs/README.md", False),
        ("docs\n!docs/README.md", "docs/other", True),
        ("docs\n! docs/README.md", "docs/README.md", False),
        ("docs/*\n!docs/README.md", "docs/README.md", False),
        ("**\n!util/docker/web", "util/docker/web/foo", False),
        ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", True),
        ("*\n!a\n!b\na/x", "a/x/y", True),
        ("*\n!a\n!b\na/x", "a/z", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("x\n!x/y\nx*", "x/y", True),
        ("한?어", "한국어", True),
    ],
)
def test_rules(rules: str, path: str, out: bool) -> None:
    assert Ignore.parse(rules).leaves_out(path) is out


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("a\n!", ".dockerignore:2: a lone '!'"),
        ("[", ".dockerignore:1: the pattern '['"),
        ("a\n\nb[", ".dockerignore:3:"),
        ("[]a]", "malformed"),
        ("[a-]", "malformed"),
        ("[-a]", "malformed"),
        ("[a", "malformed"),
        ("[^]", "malformed"),
        ("a\\", "malformed"),
        ("a" * 5000, "malformed"),
        ("*a" * 17, "17 stars"),
        ("a\n" * 10_001, "are allowed"),
        ("a" * (ignore.MAX_BYTES + 1), "larger"),
    ],
)
def test_malformed_rules(rules: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        Ignore.parse(rules)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("rules", "directory", "walked"),
    [
        ("docs", "docs", False),
        ("docs\n!docs/a", "docs", True),
        ("docs\n!other/a", "docs", False),
        ("!docs/a\ndocs", "docs", False),
        ("docs\n!docs/a/b/c", "docs/a", True),
        ("docs\n!docs/a/b/c", "docs/x", False),
        ("docs\n!*/a", "docs", True),
        ("docs\n!d?cs/a", "docs", True),
        ("docs\n!x*/a", "docs", False),
        ("docs\n!**/a", "docs", True),
        ("docs\n!a", "docs", False),
        ("docs\n![d]ocs/a", "docs", True),
        ("node_modules\n!*.md", "node_modules", False),
    ],
)
def test_which_excluded_directories_are_walked(rules: str, directory: str, walked: bool) -> None:
    rule = Ignore.parse(rules)
    state = rule.step(directory)
    above = directory.split("/")[0]
    state = rule.step(directory, rule.step(above)) if above != directory else state
    assert rule.is_out(state)
    assert rule.may_take_back_below(directory, state) is walked


def test_the_file_beside_the_dockerfile_comes_first() -> None:
    assert ignore.names_for("d/Dockerfile") == ("d/Dockerfile.dockerignore", ".dockerignore")


def _oracle(rules: list[str], path: str) -> bool:
    """The definition, rule by rule and parent by parent, with regular expressions."""
    out = False
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for rule in rules:
        text = rule.removeprefix("!")
        expression = ""
        at = 0
        while at < len(text):
            if text.startswith("**", at):
                at += 2 + (text[at + 2 : at + 3] == "/")
                expression += ".*" if at >= len(text) else "(.*/)?"
                continue
            expression += {"*": "[^/]*", "?": "[^/]"}.get(text[at], re.escape(text[at]))
            at += 1
        if any(re.fullmatch(expression, each) for each in above):
            out = not rule.startswith("!")
    return out


components = st.text("ab*?", min_size=1, max_size=4).filter(lambda t: "***" not in t)
deep = st.lists(st.just("**") | components, min_size=1, max_size=4).map("/".join)
rules_of = st.lists(
    st.tuples(st.sampled_from(["", "!"]), deep.filter(lambda t: not re.match(r"\*\*[ab]+$", t))),
    max_size=4,
).map(lambda found: ["".join(each) for each in found])
paths = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@settings(deadline=None)
@given(rules_of, paths)
def test_the_last_match_decides(rules: list[str], path: str) -> None:
    assert Ignore(rules).leaves_out(path) == _oracle(rules, path)


@settings(deadline=None)
@given(rules_of, paths)
def test_a_walk_that_prunes_finds_what_is_wanted(rules: list[str], path: str) -> None:
    """Going down directory by directory, leaving out what need not be walked, misses nothing."""
    rule = Ignore(rules)
    parts = path.split("/")
    state = TOP
    for count in range(1, len(parts)):
        directory = "/".join(parts[:count])
        state = rule.step(directory, state)
        if rule.is_out(state) and not rule.may_take_back_below(directory, state):
            assert _oracle(rules, path)
            return
    assert rule.is_out(rule.step(path, state)) == _oracle(rules, path)


@settings(deadline=None)
@given(st.text("ab/*?[]^-\\!# \ufeff\n.", max_size=30), paths)
def test_every_text_is_read_or_refused(text: str, path: str) -> None:
    with contextlib.suppress(Invalid):
        assert Ignore.parse(text).leaves_out(path) in {True, False}


@pytest.mark.timeout(30)
def test_hostile_stars_end() -> None:
    rules = Ignore.parse("*a*a*a*a*a*a*a*a*a*b\n" + "**/a/" * 15 + "b\n" + "**a" * 14 + "?b")
    assert not rules.leaves_out("a" * 255)
    assert not rules.leaves_out("a/" * 100 + "a")


@pytest.mark.timeout(60)
def test_a_hundred_thousand_files_take_seconds() -> None:
    lines = ["node_modules", "**/*.pyc", "*.log", "!keep.log", ".git", "dist/**", "**/__pycache__"]
    lines += [f"old{n}/*.tmp" for n in range(30)] + ["docs/*", "!docs/*.md"]
    rules = Ignore.parse("\n".join(lines))
    started = time.process_time()
    kept = 0
    for top in range(100):
        directory = f"package{top}"
        state = rules.step(directory)
        for number in range(1000):
            kept += not rules.is_out(rules.step(f"{directory}/file{number}.py", state))
    assert kept == 100_000
    assert time.process_time() - started < 20
