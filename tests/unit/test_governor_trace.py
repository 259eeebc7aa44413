"""Traces: what is written is read back, and nothing that is no trace is taken for one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.governor.emergency import Alarm
from wirt.governor.estimate import Estimate
from wirt.governor.journal import Act, Change, Frame, Share
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.trace import DEEPEST, Head, Label, Scene, decode, encode
from wirt.governor.tree import UNLIMITED, Claim, Group, Member, Resource

MIB = 1 << 20
units = st.integers(0, UNLIMITED)
maybe = st.none() | units
names = st.text(max_size=20)
reals = st.floats(0, 1e9)
seen = st.builds(
    Seen, cpu=maybe, cpu_wait=maybe, memory=maybe, memory_limit=maybe, anon=maybe,
    refaults=st.none() | reals, under_oom=st.booleans(), disk=maybe, net_in=maybe, net_out=maybe,
    quiet=st.none() | reals,
)  # fmt: skip
changes = st.builds(
    Change, at=units, guest=names, resource=st.sampled_from(Resource), act=st.sampled_from(Act),
    reason=st.sampled_from(Reason), before=maybe, after=maybe,
    inputs=st.dictionaries(names, st.floats(-1e9, 1e9), max_size=3), effect=maybe, failure=names,
)  # fmt: skip
shares = st.builds(Share, use=maybe, demand=maybe, entitled=maybe, limit=maybe)
estimates = st.builds(
    Estimate, cpu=reals, work=reals, memory=units, rate=reals, calm=units, use=units,
    hungry=st.booleans(), taxed=st.booleans(), lull=units, regret=units, hurt=units, limit=maybe,
    taken=reals, missed=reals, growth=reals, margin=units,
)  # fmt: skip
frames = st.builds(
    Frame, at=units,
    tick=st.builds(
        Tick, seconds=st.floats(0, 1e6), guests=st.dictionaries(names, seen, max_size=3),
        free=maybe, pressure=st.none() | st.floats(0, 1),
    ),
    capacity=st.dictionaries(st.sampled_from(Resource), units),
    alarm=st.sampled_from(Alarm),
    shares=st.dictionaries(
        names, st.dictionaries(st.sampled_from(Resource), shares, max_size=4), max_size=3
    ),
    reasons=st.dictionaries(names, st.sampled_from(Reason), max_size=3),
    changes=st.lists(changes, max_size=2).map(tuple), cost=st.floats(0, 100),
    asleep=st.frozensets(names, max_size=3),
    learned=st.dictionaries(names, estimates, max_size=3),
)  # fmt: skip
HEAD = encode(Head(at=5, reserve=7, hard=True))
SCENE = Scene(
    at=6,
    root=Group(
        name="",
        children=(
            Group(
                name="sales", expandable=True, claims={Resource.CPU: Claim(shares=7)},
                children=(
                    Member(
                        name="g1", minimum=3,
                        claims={Resource.MEMORY: Claim(reservation=1, limit=9, shares=2)},
                    ),
                ),
            ),
            Member(name="g2"),
        ),
    ),
    labels={"g1": Label(name="dc", state="running"), "g2": Label(name="mail")},
    boosts={"g1": 99},
)  # fmt: skip


@given(frames)
def test_frames_come_back(frame: Frame) -> None:
    assert list(decode([HEAD, encode(frame)])) == [Head(at=5, reserve=7, hard=True), frame]


@given(frames)
def test_the_daemon_writes_the_same_frames(frame: Frame) -> None:
    line = msgspec.json.encode(frame)
    assert list(decode([HEAD, line]))[1] == frame
    assert msgspec.json.decode(encode(frame)) == msgspec.json.decode(line)


def test_scenes_come_back() -> None:
    assert list(decode([HEAD, encode(SCENE)]))[1] == SCENE


def _frame(**changed: Any) -> dict[str, Any]:
    return {"at": 1, "tick": {"seconds": 1.0, "guests": {}}, **changed}


def _claims(claims: object) -> dict[str, Any]:
    return {"at": 1, "tree": {"group": "", "children": [{"guest": "g", "claims": claims}]}}


def _deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"guest": "g"}
    for number in range(levels):
        node = {"group": f"n{number}", "children": [node]}
    return {"at": 1, "tree": node}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (_frame(at=-1), "line 2, at"),
        (_frame(at=1.5), "line 2, at"),
        (_frame(at=True), "line 2, at"),
        (_frame(at=2**63), "line 2, at"),
        (_frame(more=1), "'more' is unknown"),
        (_frame(alarm=4), "alarm"),
        (_frame(capacity={"time": 1}), "'time' is no resource"),
        (_frame(capacity={"cpu": "1"}), "capacity"),
        (_frame(reasons={"g": "bored"}), "'bored' is no reason"),
        (_frame(shares={"g": {"cpu": {"use": -1}}}), "use"),
        (_frame(shares={"g": []}), "it is no object"),
        (_frame(changes=[{"at": 1}]), "guest"),
        (_frame(changes={}), "it is no list"),
        (_frame(asleep=[1]), "asleep"),
        (_frame(learned={"g": {"calm": 1.5}}), "learned.g, calm"),
        (_frame(learned={"g": {"wishes": 1}}), "'wishes' is unknown"),
        (_frame(tick={"seconds": 1e30}), "seconds"),
        (_frame(tick={"seconds": 1, "guests": {"g": {"memory": -5}}}), "memory"),
        (_frame(tick={"seconds": 1, "guests": {"g": {"under_oom": 1}}}), "under_oom"),
        (_frame(tick={"seconds": 1, "guests": {"x" * 601: {}}}), "at most 600"),
        (_claims({"cpu": {"reservation": 5, "limit": 4}}), "from 5"),
        (_claims({"cpu": {"shares": 0}}), "from 1 to 10000"),
        (_claims({"cpu": {"shares": 10**30}}), "line 2"),
        ({"at": 1, "tree": {"guest": "g"}}, "its root is no group"),
        ({"at": 1, "tree": {"group": "", "children": [{"guest": "g"}] * 2}}, "twice"),
        (_deep(DEEPEST + 2), "levels deep"),
        ([1], "it is no object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(value: object, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        list(decode([HEAD, json.dumps(value).encode()]))
    assert told in str(caught.value)
    assert caught.value.code == "governor.trace"


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"\xff\xfe", b"null", b'{"at": NaN}', b'{"at": 1, "at": 2}', b"[" * 100_000,
        b'{"at": ' + b"9" * 5000 + b"}", b'{"at":1,"tick":{"seconds":1e999}}',
    ],
)  # fmt: skip
def test_no_json_is_no_trace(line: bytes) -> None:
    with pytest.raises(Invalid, match="line 2"):
        list(decode([HEAD, line]))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "it is empty"),
        ([b"{}"], "it is no trace"),
        ([b'{"wirt_trace": 2}'], "version 2 is unknown"),
        ([b'{"wirt_trace": true}'], "version True is unknown"),
        ([b'{"wirt_trace": 1, "x": 1}'], "'x' is unknown"),
        ([HEAD, b" " * ((8 << 20) + 1)], "longer than"),
    ],
)
def test_the_head_decides(lines: list[bytes], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        list(decode(lines))


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_bytes_are_refused_or_read(lines: list[bytes]) -> None:
    codes = {"governor.trace"}
    try:
        list(decode([HEAD, *lines]))
    except Invalid as error:
        codes.add(error.code)
    assert codes == {"governor.trace"}
