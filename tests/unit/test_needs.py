"""The door to capabilities: absent means skipped, and failed where CI promised it."""

from __future__ import annotations

import pytest

import needs as door


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "missing", lambda name: None if name == "root" else f"no {name} here")


def test_what_is_there_lets_the_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    door.require("root")


def test_absent_on_a_laptop_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs crun: no crun here"):
        door.require("root", "crun")


def test_absent_but_promised_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI promises 'crun'"):
        door.require("crun")


def test_absent_and_not_promised_skips_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="needs kvm"):
        door.require("kvm")


def test_an_unknown_name_is_an_error_of_the_test() -> None:
    with pytest.raises(LookupError, match="no probe for"):
        door.needs("cruhn")


def test_ci_promises_only_what_can_be_probed() -> None:
    assert set(door.PROBES) >= door.PROMISED
