"""EXPOSE is short to write and long to take in: how much of it a stage may have."""

from __future__ import annotations

import time

import pytest

from wirt.errors import Invalid
from wirt.image.build.dockerfile.parse import parse
from wirt.image.build.dockerfile.scope import Globals
from wirt.image.build.graph import Graph, Question, plan
from wirt.image.build.settings import Settings
from wirt.image.build.steps import StagePlan


def graph(text: str) -> Graph:
    file = parse(text.encode())
    return plan(Question(file=file, arguments=Globals(values={}, given={})), {})


def last(text: str) -> StagePlan:
    return graph(text).stages[-1].plan


def exposed(settings: Settings) -> int:
    return len(settings.node["ExposedPorts"])


def test_many_ports_are_taken() -> None:
    text = "FROM scratch\n" + "EXPOSE 10000-20000\n" * 2 + "EXPOSE 53/udp 10000-20000/udp\n"
    assert exposed(last(text).settings) == 20003


CHAIN = """\
FROM scratch AS a
EXPOSE 1-16000
EXPOSE 1-16000/udp
FROM a AS b
EXPOSE 20000-35000
FROM b
EXPOSE 40000-55000
EXPOSE 1-16000/sctp
"""


@pytest.mark.parametrize(
    ("text", "line"), [("FROM scratch\n" + "EXPOSE 1-16000\n" * 1900, 6), (CHAIN, 8)]
)
def test_too_many_are_refused_at_once(text: str, line: int) -> None:
    began = time.process_time()
    with pytest.raises(Invalid, match=f"Dockerfile:{line}:1: up to here the stage exposes"):
        graph(text)
    assert time.process_time() - began < 5
