"""Who has nothing to do, which rule holds for it, and who may be paused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Invalid, Unsupported, WirtError
from wirt.governor.idle import CPU, Calm, look
from wirt.governor.observe import Seen
from wirt.host.governing import idling
from wirt.host.governing.policy import read
from wirt.linux.packets import Step, for_card
from wirt.model.guest import GuestClass, GuestSpec
from wirt.model.idle import SECOND, IdleAction, IdleDefaults, IdleRule, IdleWish, merge

QUIET = Seen(cpu=1, memory=1 << 20, refaults=0.0, net_in=0, net_out=0)


def watched(*ticks: Seen, seconds: float = 1.0) -> Calm:
    calm = Calm()
    for seen in ticks:
        calm = look(calm, seen, seconds)
    return calm


def seen(**changes: object) -> Seen:
    return replace(QUIET, **changes)  # type: ignore[arg-type]


def test_calm_adds_up() -> None:
    assert watched(*[QUIET] * 30).seconds == 30
    assert watched(*[QUIET] * 30, seconds=0.2).seconds == pytest.approx(6)


@pytest.mark.parametrize(
    "work",
    [
        seen(cpu=400),
        seen(net_in=4_000),
        seen(net_out=4_000),
        seen(refaults=100.0),
        seen(under_oom=True),
        seen(cpu=None),
        seen(memory=None),
    ],
)
def test_work_or_what_is_not_known_begins_anew(work: Seen) -> None:
    assert watched(*[QUIET] * 30, work).seconds == 0


def test_a_clock_that_ticks_is_no_work() -> None:
    """40 thousandths of a second once in ten seconds, as a cron job that finds nothing to do."""
    ticks = ([QUIET] * 9 + [seen(cpu=40)]) * 6
    assert watched(*ticks).seconds == 60


def test_lone_questions_for_an_address_are_no_traffic() -> None:
    assert watched(*[seen(net_in=42 * 8)] * 30).seconds == 30


def test_an_emulated_machine_may_use_more() -> None:
    calm = Calm()
    for _ in range(10):
        calm = look(calm, seen(cpu=30), 1.0, emulated=5.0)
    assert calm.seconds == 10
    assert watched(*[seen(cpu=30)] * 10).seconds == 0


@given(st.lists(st.tuples(st.integers(0, 4000), st.floats(0.05, 5.0)), min_size=1, max_size=60))
def test_who_works_at_the_end_is_never_idle(ticks: list[tuple[int, float]]) -> None:
    calm = Calm()
    for cpu, seconds in ticks:
        before, calm = calm, look(calm, seen(cpu=cpu), seconds)
        assert 0 <= calm.seconds <= before.seconds + seconds
        assert calm.cpu is not None
        assert 0 <= calm.cpu <= 4000
        if cpu >= 10 * CPU:
            assert calm.seconds == 0


# --- rules


def spec(**changes: object) -> GuestSpec:
    return GuestSpec(image="busybox", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guest", "action"),
    [
        (spec(), IdleAction.MINIMAL),
        (spec(guest_class=GuestClass.INTERACTIVE), IdleAction.NEVER),
        (spec(group="office/print/old"), IdleAction.PAUSE),
        (spec(group="office"), IdleAction.NEVER),
        (spec(group="officer"), IdleAction.MINIMAL),
        (spec(group="office/print", idle=IdleWish(action=IdleAction.NEVER)), IdleAction.NEVER),
    ],
)
def test_the_nearest_word_counts(guest: GuestSpec, action: IdleAction) -> None:
    groups = {"office": IdleAction.NEVER, "office/print": IdleAction.PAUSE}
    assert idling.rule_of(guest, IdleDefaults(groups=groups)).action is action


def test_times_are_the_guests_own_or_the_policys() -> None:
    defaults = IdleDefaults(after="2m", wake_every="1h")
    rule = idling.rule_of(spec(idle=IdleWish(wake_every=0)), defaults)
    assert rule == IdleRule(action=IdleAction.MINIMAL, after=120 * SECOND, wake_every=0)
    assert idling.rule_of(spec(), defaults).wake_every == 3600 * SECOND


@pytest.mark.parametrize(
    ("slept", "awake"), [("07:44:59", False), ("07:45:00", True), ("23:59:59", True)]
)
def test_the_time_of_day_comes_once(slept: str, awake: bool) -> None:
    rule = IdleRule(action=IdleAction.PAUSE, after=1, wake_every=0, wake_at=("Mon-Fri 07:45",))
    began = at("2026-11-26 07:45:00")  # a Thursday, at the very time that it was woken at
    now = at(f"2026-11-27 {slept}")
    assert idling.due(rule, began, now) is awake
    assert not idling.due(rule, now, now)


def test_no_time_of_day_of_ones_own_is_one_too() -> None:
    defaults = IdleDefaults(wake_at=("daily 06:00",))
    assert idling.rule_of(spec(), defaults).wake_at == ("daily 06:00",)
    assert idling.rule_of(spec(idle=IdleWish(wake_at=())), defaults).wake_at == ()
    old = IdleWish(wake_at=("Sat 10:00",))
    assert merge(old, IdleWish()).wake_at == ("Sat 10:00",)
    assert merge(old, IdleWish(wake_at=())).wake_at == ()


@pytest.mark.parametrize(
    "text", ["", "07", "Mon-Fri", "Mon-Fri 07:45-09:30", "Mon 24:00", "Mon 7:60", "Someday 07:45",
             "Mon 07:45 UTC", "x" * 300, "never"],
)  # fmt: skip
def test_a_time_of_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="time to wake") as caught:
        idling.check(spec(idle=IdleWish(wake_at=("daily 06:00", text))))
    assert "Mon-Fri 07:45" in (caught.value.hint or "")


def test_a_guest_has_not_a_thousand_times_of_day() -> None:
    with pytest.raises(Invalid, match="100"):
        idling.check(spec(idle=IdleWish(wake_at=("daily 06:00",) * 101)))


def at(text: str) -> int:
    """Unix nanoseconds of a local time."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def test_an_update_changes_what_it_names() -> None:
    old = IdleWish(action=IdleAction.PAUSE, after=SECOND)
    assert merge(old, IdleWish(wake_every=0)) == IdleWish(
        action=IdleAction.PAUSE, after=SECOND, wake_every=0
    )


@pytest.mark.parametrize("guest", [spec(network_mode="host"), spec(network_mode="guest:x")])
def test_who_cannot_be_heard_is_not_paused(guest: GuestSpec) -> None:
    assert not idling.may_pause(guest)
    idling.check(guest)
    with pytest.raises(Unsupported):
        idling.check(replace(guest, idle=IdleWish(action=IdleAction.PAUSE)))


@pytest.mark.parametrize(
    "wish",
    [
        IdleWish(after=0), IdleWish(after=-1), IdleWish(after=10**30), IdleWish(wake_every=1),
        IdleWish(wake_every=10**30), IdleWish(wake_every=-1),
    ],
)  # fmt: skip
def test_times_that_make_no_sense_are_refused(wish: IdleWish) -> None:
    with pytest.raises(Invalid, match="out of range"):
        idling.check(spec(idle=wish))


@pytest.mark.parametrize(
    "table",
    [
        {"after": "soon"}, {"after": "0s"}, {"wake_every": "1s"}, {"normal": "off"}, {"when": "1s"},
        {"groups": {"office": "asleep"}}, {"wake_at": ["soon"]}, {"wake_at": "Mon 07:45"},
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(WirtError):
        read({"idle": table})


def test_a_policy_is_read() -> None:
    found = read({"idle": {"batch": "pause", "after": "5m", "groups": {"a/b": "never"}}}).idle
    assert (found.batch, found.groups["a/b"]) == (IdleAction.PAUSE, IdleAction.NEVER)


# --- what is heard

MAC, ADDRESS = bytes.fromhex("020000000b16"), bytes([10, 213, 0, 22])
OTHER, ALL = bytes.fromhex("020000000b17"), b"\xff" * 6


def passes(frame: bytes, program: list[Step]) -> bool:
    """As the kernel runs it: a load beyond the frame ends it with nothing."""
    at = held = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x06:
            return operand > 0
        if code in {0x20, 0x28}:
            size = 4 if code == 0x20 else 2
            if operand + size > len(frame):
                return False
            held = int.from_bytes(frame[operand : operand + size])
        else:
            at += yes if held == operand else no


def arp(to: bytes, *, operation: int = 1, target: bytes = ADDRESS) -> bytes:
    about = bytes.fromhex("0001080006 04".replace(" ", "")) + operation.to_bytes(2)
    return to + OTHER + b"\x08\x06" + about + OTHER + bytes(4) + bytes(6) + target


@pytest.mark.parametrize(
    ("frame", "heard"),
    [
        (MAC + OTHER + b"\x08\x00" + bytes(40), True),
        (MAC + OTHER + b"\x86\xdd" + bytes(40), True),
        (OTHER + MAC + b"\x08\x00" + bytes(40), False),
        (ALL + OTHER + b"\x08\x00" + bytes(40), False),
        (bytes.fromhex("01005e0000fb") + OTHER + b"\x08\x00" + bytes(40), False),
        (arp(ALL), True),
        (arp(ALL, target=bytes([10, 213, 0, 23])), False),
        (arp(ALL, operation=2), False),
        (arp(MAC), True),
        (arp(MAC, operation=2), False),
        (arp(ALL)[:30], False),
        (b"", False),
    ],
)
def test_only_what_is_for_it_is_heard(frame: bytes, heard: bool) -> None:
    assert passes(frame, for_card(MAC, ADDRESS)) is heard
    assert passes(frame, for_card(MAC, None)) is (heard and frame[12:14] != b"\x08\x06")


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda rest: MAC + rest))
def test_the_program_ends_for_every_frame(frame: bytes) -> None:
    ours = frame[:6] == MAC and frame[12:14] != b"\x08\x06" and len(frame) >= 14
    assert passes(frame, for_card(MAC, None)) is ours
