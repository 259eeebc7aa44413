"""``--format`` templates, and figures for people."""

from __future__ import annotations

import json

import pytest

from wirt.cli import moment
from wirt.cli.view import human
from wirt.cli.view.template import Template
from wirt.errors import Invalid

DATA = {
    "id": "abc",
    "exit_code": 3,
    "state": {"running": True, "pid": 7},
    "labels": {"b": "2", "a": "1"},
    "ports": [{"guest_port": 80}, {"guest_port": 81}],
    "empty": [],
    "nothing": None,
    "Name": "web",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}}", "web"),
        ("{{ .Name }}!", "web!"),
        ("{{.ExitCode}}", "3"),
        ("{{.State.Running}}", "true"),
        ("{{.nothing}}", "<no value>"),
        ("{{.nothing.deeper}}", "<no value>"),
        ("{{.labels}}", "map[a:1 b:2]"),
        ("{{.empty}}", "[]"),
        ("{{json .labels}}", '{"b":"2","a":"1"}'),
        ("{{json .}}", json.dumps(DATA, separators=(",", ":"))),
        ('{{index .labels "a"}}', "1"),
        ('{{.labels "a"}}', "1"),
        ('{{.labels "z"}}', ""),
        ("{{(index .ports 1).GuestPort}}", "81"),
        ("{{range .ports}}{{.GuestPort}} {{end}}", "80 81 "),
        ("{{range $i, $p := .ports}}{{$i}}={{$p.GuestPort}},{{end}}", "0=80,1=81,"),
        ("{{range $k, $v := .labels}}{{$k}}{{$v}}{{end}}", "a1b2"),
        ("{{range .empty}}x{{else}}none{{end}}", "none"),
        ("{{range .ports}}{{$.Name}}{{end}}", "webweb"),
        ("{{if .state.running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .exit_code 1 3}}bad{{else if .empty}}x{{end}}", "bad"),
        ("{{if not .empty}}empty{{end}}", "empty"),
        ("{{with .state}}{{.pid}}{{end}}", "7"),
        ("{{with .empty}}x{{else}}y{{end}}", "y"),
        ('{{.Name | upper | printf "<%s>"}}', "<WEB>"),
        ('{{printf "%-5s|%d" .Name .exit_code}}', "web  |3"),
        ('{{join (split "a,b" ",") "+"}}', "a+b"),
        ("{{len .ports}}{{len .nothing}}", "20"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* nothing */}}x", "x"),
        ('{{`raw`}}{{"a\\tb"}}', "rawa\tb"),
        ("{{and .Name .empty}}{{or .empty .Name}}", "[]web"),
        ("{{slice .Name 1}}{{slice .Name 0 1}}{{truncate .Name 2}}", "ebwwe"),
        ("{{.Name}}}", "web}"),
        ("", ""),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert Template(template).render(DATA) == text


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{{.Nmae}}", "there is no field 'Nmae'"),
        ("{{.Name.x}}", "'x' is asked of something that has no fields"),
        ("{{.Name", "'{{' is not closed"),
        ("{{if .Name}}x", "{{end}} is missing"),
        ("x{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{}}", "an empty action"),
        ("{{shout .Name}}", "unknown function 'shout'"),
        ("{{.Name | }}", "an empty action"),
        ("{{(.Name}}", "')' is missing"),
        ("{{.Name)}}", "unexpected ')'"),
        ("{{$x}}", "unknown variable $x"),
        ('{{template "x"}}', "{{template}} is not supported"),
        ("{{index .ports 9}}", "index: "),
        ("{{.Name ~}}", "cannot read '~'"),
        ("{{range $a, $b, $c := .ports}}{{end}}", "bad variables"),
        ("{{if .Name}}" * 60, "nested too deeply"),
        ('{{join .exit_code ","}}', "join: "),
    ],
)
def test_wrong_templates(template: str, part: str) -> None:
    with pytest.raises(Invalid) as caught:
        Template(template).render(DATA)
    assert part in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (179, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (172_800, "2 days"),
        (1_209_600, "2 weeks"),
        (5_184_000, "2 months"),
        (63_072_000, "2 years"),
    ],
)
def test_spans(seconds: int, text: str) -> None:
    assert human.span(seconds * 10**9) == text


def test_sizes() -> None:
    assert [human.decimal_size(size) for size in (0, 999, 4_261_000, 10**12)] == [
        "0B",
        "999B",
        "4.26MB",
        "1TB",
    ]
    assert human.binary_size(1536) == "1.5KiB"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("10m", 10**18 - 600 * 10**9),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("2026-01-31T12:00:00Z", 1_769_860_800 * 10**9),
        ("2026-01-31T12:00:00.123456789Z", 1_769_860_800_123_456_789),
        ("2026-01-31T13:00:00+01:00", 1_769_860_800 * 10**9),
    ],
)
def test_moments(text: str, nanoseconds: int) -> None:
    assert moment.parse(text, "since", now=10**18) == nanoseconds


@pytest.mark.parametrize("text", ["", "yesterday", "1.x", "2026-13-01", "9" * 30, "-5"])
def test_wrong_moments(text: str) -> None:
    with pytest.raises(Invalid, match="--since"):
        moment.parse(text, "since")
