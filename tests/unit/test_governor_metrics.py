"""Figures for Prometheus, read back by a parser of the text format."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from expositions import Sample, parse
from fakes.governed import DC, HOSTILE, MAIL, MIB, frame
from wirt.governor.journal import Frame, Share
from wirt.governor.observe import Tick
from wirt.governor.tree import Resource
from wirt.host.governing.metrics import MOST_GUESTS, Figures, text


def sample(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def figures(**more: Any) -> Figures:
    given: dict[str, Any] = {
        "frame": frame(5 * 10**9), "names": {DC: "dc", MAIL: HOSTILE}, "state": "governing",
        "states": {"running": 2, "exited": 7}, "alarm": 1, "cost": 0.0125, "boosts": 1,
        "swap": {"size": 64 * MIB, "used": 3 * MIB},
    }  # fmt: skip
    return Figures(**{**given, **more})


def test_every_figure_is_there_in_plain_units() -> None:
    found = parse(text(figures()))
    dc = {"guest": "dc", "id": DC[:12]}
    for key, value in {
        sample("governor_last_tick_seconds"): 5.0,
        sample("wirt_governor_state", state="governing"): 1.0,
        sample("wirt_governor_state", state="failed"): 0.0,
        sample("wirt_governor_alarm"): 1.0,
        sample("wirt_governor_cost_ratio"): 0.0125,
        sample("wirt_guests", state="exited"): 7.0,
        sample("wirt_boosts"): 1.0,
        sample("wirt_host_swap_bytes", what="used"): 3.0 * MIB,
        sample("wirt_host_capacity", resource="cpu"): 1.0,
        sample("wirt_guest_usage", resource="cpu", **dc): 0.71,
        sample("wirt_guest_entitlement", resource="memory", **dc): 339.0 * MIB,
        sample("wirt_guest_demand", resource="memory", **dc): 360.0 * MIB,
        sample("wirt_guest_limit", resource="memory", **dc): 339.0 * MIB,
        sample("wirt_guest_blind", **dc): 0.0,
    }.items():
        assert found[key] == value
    blind = [key for key, value in found.items() if key[0] == "wirt_guest_blind" and value == 1]
    assert [dict(key[1])["guest"] for key in blind] == ["ma\ufffd]0;il\n=x"]


def test_what_is_unknown_is_not_told() -> None:
    found = parse(text(figures()))
    mail = {key for key in found if dict(key[1]).get("id") == MAIL[:12]}
    assert sample("wirt_guest_usage", resource="memory") not in found
    assert {k[0] for k in mail if dict(k[1]).get("resource") == "memory"} == {
        "wirt_guest_entitlement"
    }


def test_without_guests_the_heartbeat_is_told() -> None:
    found = parse(text(Figures(frame=None)))
    assert found[sample("governor_last_tick_seconds")] == 0.0
    assert found[sample("wirt_governor_state", state="idle")] == 1.0
    stale = parse(text(figures(state="idle")))
    assert not [key for key in stale if key[0].startswith("wirt_guest_")]


def test_the_number_of_series_has_an_end() -> None:
    share = {Resource.CPU: Share(use=1, demand=2, entitled=3)}
    shares = {f"{number:064x}"[::-1]: share for number in range(2 * MOST_GUESTS)}
    many = Frame(at=1, tick=Tick(seconds=1.0), shares=shares)
    found = parse(text(figures(frame=many, names={})))
    assert len([key for key in found if key[0] == "wirt_guest_usage"]) == MOST_GUESTS


@given(st.text(max_size=40))
def test_any_name_is_escaped(name: str) -> None:
    other = "m" * 41
    found = parse(text(figures(names={DC: name, MAIL: other})))
    names = {dict(key[1]).get("guest") for key in found} - {None, other}
    assert len(names) == 1
