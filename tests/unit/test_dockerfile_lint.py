"""The checks of Dockerfiles: each rule with what it tells, where, and what it lets be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.image.build.dockerfile.lint import report
from wirt.image.build.dockerfile.lint.rules import RULES, check, refuse_if_failing
from wirt.image.build.dockerfile.lint.subject import Subject
from wirt.image.build.dockerfile.parse import parse
from wirt.image.build.dockerfile.scope import platform_args
from wirt.image.platform import Platform
from wirt.model.ignore import Ignore

AMD = Platform(os="linux", architecture="amd64")
KNOWN = platform_args(AMD, AMD, "")


def subject(text: str, given: Mapping[str, str] | None = None, ignore: str = "") -> Subject:
    return Subject(
        file=parse(text.encode()),
        given=given or {},
        known=KNOWN,
        bases={"debian": ("PATH=/usr/bin", "LANG=C")},
        ignore=Ignore.parse(ignore),
    )


def told(text: str, given: Mapping[str, str] | None = None, ignore: str = "") -> list[str]:
    """``RULE line:column`` of every warning."""
    return [
        f"{each.rule} {each.position.line}:{each.position.column}"
        for each in check(subject(text, given, ignore))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a AS Bad", ["StageNameCasing 1:11"]),
        ("FROM a as b", ["FromAsCasing 1:8"]),
        ("from a AS b", ["FromAsCasing 1:8"]),
        ("from a as b", []),
        ("FROM a\n# x\nCOPY b \\\n\n.\nCOPY c \\\n.", ["NoEmptyContinuation 3:1"]),
        ("FROM a\nCOPY <<b .\n\nb", []),
        ("From a\nFROM b", ["ConsistentInstructionCasing 1:1"]),
        ("FROM a\ncopy b .\nCOPY c .", ["ConsistentInstructionCasing 2:1"]),
        ("frOM a\nfrom b", ["ConsistentInstructionCasing 1:1"]),
        ("from a\nCOPY b .\ncopy c .", ["ConsistentInstructionCasing 2:1"]),
        ("FROM a\ncopy b .\ncopy c .", ["ConsistentInstructionCasing 1:1"]),
        ("from a\ncopy b .", []),
        ("arg a=b\nFROM $a\nCOPY c .", []),
        ("FROM a AS b\nFROM a AS B", ["StageNameCasing 2:11", "DuplicateStageName 2:11"]),
        ("FROM a AS b\nFROM a AS c", []),
        ("FROM a AS scratch", ["ReservedStageName 1:11"]),
        ("FROM a AS context", ["ReservedStageName 1:11"]),
        ("FROM scratch", []),
        ("FROM a\nCMD b", ["JSONArgsRecommended 2:1"]),
        ("FROM a\nENTRYPOINT b", ["JSONArgsRecommended 2:1"]),
        ('FROM a\nCMD ["b"]', []),
        ('FROM a\nSHELL ["s"]\nCMD b', []),
        ('FROM a AS b\nSHELL ["s"]\nFROM b\nCMD c', []),
        ("FROM a\nMAINTAINER b", ["MaintainerDeprecated 2:1"]),
        ("FROM --platform=$BULIDPLATFORM a", ["UndefinedArgInFrom 1:18"]),
        ("FROM --platform=$BUILDPLATFORM a", []),
        ("ARG tag=1\nFROM a:${tag}${version}", ["UndefinedArgInFrom 2:16"]),
        ("ARG d\nFROM a${d}", []),
        ("FROM a${d:-b}", []),
        ("FROM a\nWORKDIR b/", ["WorkdirRelativePath 2:9"]),
        ("FROM a\nWORKDIR /a\nWORKDIR b", []),
        ("FROM a AS b\nWORKDIR /a\nFROM b\nWORKDIR c", []),
        ("FROM a\nWORKDIR $b", []),
        ("FROM scratch\nCOPY $foo .\nARG foo=bar\nRUN echo $foo $bar", ["UndefinedVar 2:7"]),
        ("FROM scratch\nARG foo\nCOPY b${foo} .", []),
        ("FROM scratch\nCOPY b${foo:-} .", []),
        ("FROM scratch AS b\nARG foo=c\nFROM b\nCOPY $foo .", []),
        ("FROM scratch\nENV PATH=$PAHT:/b", ["UndefinedVar 2:11"]),
        ("FROM debian\nLABEL a=$LANG b=$GOPATH", ["UndefinedVar 2:18"]),
        ("FROM unknown\nLABEL a=$GOPATH b=$PAHT", ["UndefinedVar 2:20"]),
        ("ARG V=1\nFROM unknown\nLABEL a=$V", ["UndefinedVar 3:10"]),
        ("ARG V=1\nFROM unknown\nARG V\nLABEL a=$V", []),
        ("FROM scratch\nLABEL a='$b' c=\\$d", []),
        ('FROM a\nCMD ["b"]\nCMD ["c"]', ["MultipleInstructionsDisallowed 2:1"]),
        ('FROM a\nENTRYPOINT []\nRUN x\nENTRYPOINT []', ["MultipleInstructionsDisallowed 2:1"]),
        ("FROM a\nHEALTHCHECK CMD b\nHEALTHCHECK NONE", ["MultipleInstructionsDisallowed 2:1"]),
        ('FROM a AS b\nCMD ["b"]\nFROM b\nCMD ["c"]', []),
        ("FROM a\nENV b c\nLABEL d e", ["LegacyKeyValueFormat 2:1", "LegacyKeyValueFormat 3:1"]),
        ("FROM a\nENV b=c", []),
        ("FROM --platform=$TARGETPLATFORM a", ["RedundantTargetPlatform 1:6"]),
        ("FROM --platform=${TARGETPLATFORM} a", ["RedundantTargetPlatform 1:6"]),
        ("FROM a\nARG SECRET_PASSPHRASE", ["SecretsUsedInArgOrEnv 2:5"]),
        ("FROM a\nENV password=b secret=c",
         ["SecretsUsedInArgOrEnv 2:5", "SecretsUsedInArgOrEnv 2:16"]),
        ("FROM a\nENV git_key=", ["SecretsUsedInArgOrEnv 2:5"]),
        ("ARG api_token\nFROM a", ["SecretsUsedInArgOrEnv 1:5"]),
        ("FROM a\nENV PUBLIC_KEY= sunflower=foo KEY_FILE=b TOKEN_VERSION=1\nARG public_token", []),
        ("ARG V\nFROM a:$V", ["InvalidDefaultArgInFrom 2:6"]),
        ("ARG IMAGE\nFROM $IMAGE", ["InvalidDefaultArgInFrom 2:6"]),
        ("ARG V=1\nFROM a:$V", []),
        ("FROM a AS b\nARG c\nFROM ${d:-b}", []),
        ("FROM --platform=linux/amd64 a", ["FromPlatformFlagConstDisallowed 1:6"]),
        ("FROM --platform=linux/amd64 a AS my_amd64_stage", []),
        ("FROM --platform=linux/amd64 a AS linux", []),
        ("FROM a\nEXPOSE 80/TCP 81/udp", ["ExposeProtoCasing 2:8"]),
        ("FROM a\nEXPOSE 80:80 127.0.0.1:81:81 82",
         ["ExposeInvalidFormat 2:8", "ExposeInvalidFormat 2:14"]),
        ("# check=experimental=InvalidDefinitionDescription\n# foo is\nARG foo=b\n\n# b is\n"
         "FROM a AS b\n# baz is\nARG foo=c baz=d\n#\nARG bit=e\n# other\nCOPY f .", []),
        ("# check=experimental=all\n# bar is\nARG foo=b\n# B\nFROM a AS b\n# no\nARG c d",
         ["InvalidDefinitionDescription 3:1", "InvalidDefinitionDescription 5:1",
          "InvalidDefinitionDescription 7:1"]),
        ("# bar is\nARG foo=b\nFROM a", []),
    ],
)  # fmt: skip
def test_rules(text: str, expected: list[str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        ("Dockerfile", ["CopyIgnoredFile 3:6", "CopyIgnoredFile 4:5"]),
        ("other", []),
        ("", []),
        ("*\n!a", []),
    ],
)
def test_ignored_files(ignore: str, expected: list[str]) -> None:
    text = (
        "# check=experimental=CopyIgnoredFile\nFROM a AS b\nCOPY Dockerfile .\n"
        "ADD ./Dockerfile /c\nCOPY --from=b Dockerfile /d\nCOPY . /e\n"
    )
    assert told(text, ignore=ignore) == expected


@pytest.mark.parametrize(
    ("first", "given", "expected"),
    [
        ("", {}, ["FromAsCasing 2:8", "ConsistentInstructionCasing 3:1"]),
        ("# check=skip=all", {}, []),
        ("# check=skip=fromascasing", {}, ["ConsistentInstructionCasing 3:1"]),
        ("# check=skip=FromAsCasing,ConsistentInstructionCasing;error=true", {}, []),
        ("# check=skip=all", {"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing"},
         ["ConsistentInstructionCasing 3:1"]),
    ],
)  # fmt: skip
def test_skipping(first: str, given: dict[str, str], expected: list[str]) -> None:
    assert told(f"{first or '# x'}\nFROM a as b\ncopy c .\n", given) == expected


def test_warnings_fail_a_build_only_when_that_is_asked_for() -> None:
    bad = "FROM a as b\nRUN c\n"
    for first, arguments, fails in (
        ("# x", {}, False),
        ("# check=error=true", {}, True),
        ("# check=error=true", {"BUILDKIT_DOCKERFILE_CHECK": "skip=all"}, False),
        ("# x", {"BUILDKIT_DOCKERFILE_CHECK": "error=true"}, True),
    ):
        about = subject(f"{first}\n{bad}", arguments)
        if not fails:
            refuse_if_failing(about, check(about))
            continue
        with pytest.raises(Invalid, match=r"^Dockerfile:2:8: the checks failed: FromAsCasing$"):
            refuse_if_failing(about, check(about))
    about = subject(bad, {"BUILDKIT_DOCKERFILE_CHECK": "nonsense"})
    with pytest.raises(Invalid, match="BUILDKIT_DOCKERFILE_CHECK:1:1"):
        check(about)


def test_there_are_the_21_rules() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) == 21
    assert all(rule.description for rule in RULES)


def test_messages_say_what_would_be_right() -> None:
    for text, message in (
        ("FROM scratch\nENV A_B=1\nLABEL c=$AB", "'$AB' is not defined (did you mean $A_B?)"),
        ("ARG V=1\nFROM scratch\nLABEL a=$V", "declare it again with ARG V"),
        ("FROM --platform=$BULIDPLATFORM a", "did you mean BUILDPLATFORM?"),
        ('FROM a\nCMD ["b"]\n\nCMD ["c"]', "line 4 replaces it"),
    ):
        (found,) = check(subject(text))
        assert message in found.message


def test_the_report() -> None:
    about = subject("FROM a as b\nRUN c \\\n d\nCMD e\n")
    assert report.text(about.file, check(about)) == (
        "warning: Dockerfile:1:8: 'as' should be written like 'FROM' (FromAsCasing)\n"
        "   1 | >>> FROM a as b\n"
        "   2 |     RUN c \\\n"
        "   3 |      d\n"
        "\n"
        "warning: Dockerfile:4:1: CMD runs in a shell that keeps signals; "
        'write CMD ["...", "..."] (JSONArgsRecommended)\n'
        "   2 |     RUN c \\\n"
        "   3 |      d\n"
        "   4 | >>> CMD e\n"
        "\n"
        "Dockerfile: 2 warnings\n"
    )
    clean = subject("FROM a\n")
    assert report.text(clean.file, check(clean)) == "Dockerfile: no warnings\n"


def test_an_excerpt_is_short_and_printable() -> None:
    shown = report.excerpt([f"\x1b[31m{n}" + "x" * 999 for n in range(500)], 100, 400)
    assert len(shown.splitlines()) <= 13
    assert all(len(line) < 200 and "\x1b" not in line for line in shown.splitlines())


WORDS = "FROM|from|AS|a|b|$a|${b:-c}|ARG|ENV|LABEL|=|CMD|COPY|EXPOSE|80/TCP|\\\n|\n|# x|WORKDIR| "


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS.split("|")), max_size=25).map("".join))
def test_every_file_that_is_read_can_be_checked(text: str) -> None:
    try:
        about = subject(f"FROM a\n{text}\n")
    except Invalid:
        return
    for each in check(about):
        assert 1 <= each.position.line <= each.end_line <= len(about.file.lines)
        assert report.one_line("Dockerfile", each)
    assert report.text(about.file, check(about))
