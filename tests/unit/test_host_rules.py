"""Pure rules of the use cases: restart, health, status text, filters, checks of a spec."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.engine.protocol import Exit
from wirt.errors import Invalid
from wirt.host.create import check_spec
from wirt.host.describe import lasting, status_text
from wirt.host.execute import check_exec
from wirt.host.filters import GuestFilter
from wirt.host.health import check_command, judge
from wirt.host.restart import LONGEST_DELAY, next_delay, wanted_at_boot
from wirt.model.guest import (
    ExecSpec,
    Guest,
    GuestSpec,
    GuestState,
    GuestStatus,
    HealthCheck,
    HealthStatus,
    RestartName,
    RestartPolicy,
)
from wirt.model.resources import Usage
from wirt.model.terminal import parse_detach_keys

SECOND = 10**9


def guest(policy: RestartName = RestartName.NO, retries: int = 0, **status: object) -> Guest:
    known = replace(GuestStatus(state=GuestState.RUNNING, started_at=1), **status)  # type: ignore[arg-type]
    return Guest(
        id="a" * 64,
        name="web",
        spec=GuestSpec(
            image="busybox:latest",
            labels={"tier": "front"},
            restart=RestartPolicy(name=policy, maximum_retries=retries),
        ),
        image_id="sha256:" + "b" * 64,
        created_at=1,
        status=known,
    )


def test_restart_delays_double_up_to_a_minute() -> None:
    delays = [
        next_delay(guest(RestartName.ALWAYS, restart_count=n), Exit(code=1, time=2))
        for n in range(12)
    ]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY


def test_a_good_run_begins_the_schedule_anew() -> None:
    ending = Exit(code=1, time=11 * SECOND)
    assert next_delay(guest(RestartName.ALWAYS, restart_count=9), ending) == 0.1


@pytest.mark.parametrize(
    ("policy", "retries", "count", "code", "by_user", "wanted"),
    [
        (RestartName.NO, 0, 0, 1, False, False),
        (RestartName.ALWAYS, 0, 0, 0, False, True),
        (RestartName.ALWAYS, 0, 0, 0, True, False),
        (RestartName.UNLESS_STOPPED, 0, 0, 0, False, True),
        (RestartName.ON_FAILURE, 0, 99, 1, False, True),
        (RestartName.ON_FAILURE, 0, 0, 0, False, False),
        (RestartName.ON_FAILURE, 3, 2, 1, False, True),
        (RestartName.ON_FAILURE, 3, 3, 1, False, False),
    ],
)
def test_who_comes_back(
    policy: RestartName, retries: int, count: int, code: int, by_user: bool, wanted: bool
) -> None:
    subject = guest(policy, retries, restart_count=count, stopped_by_user=by_user)
    assert (next_delay(subject, Exit(code=code, time=2)) is not None) is wanted


def test_at_boot_always_comes_back_even_when_stopped_but_never_when_never_started() -> None:
    assert wanted_at_boot(guest(RestartName.ALWAYS, stopped_by_user=True))
    assert not wanted_at_boot(guest(RestartName.UNLESS_STOPPED, stopped_by_user=True))
    assert wanted_at_boot(guest(RestartName.UNLESS_STOPPED))
    assert not wanted_at_boot(guest(RestartName.ALWAYS, started_at=0))
    assert not wanted_at_boot(guest(RestartName.ON_FAILURE))


def test_health_needs_retries_in_a_row_and_a_success_heals() -> None:
    check = HealthCheck(test=("CMD", "x"), retries=2)
    status = judge(HealthStatus(), check, 1, "bad", forgiven=False)
    assert (status.status, status.failing_streak) == ("starting", 1)
    status = judge(status, check, 1, "bad", forgiven=False)
    assert (status.status, status.failing_streak, status.output) == ("unhealthy", 2, "bad")
    status = judge(status, check, 0, "", forgiven=False)
    assert (status.status, status.failing_streak) == ("healthy", 0)


def test_failures_in_the_start_period_do_not_count() -> None:
    check = HealthCheck(test=("CMD", "x"), retries=1)
    status = judge(HealthStatus(), check, 1, "", forgiven=True)
    assert (status.status, status.failing_streak) == ("starting", 0)


def test_health_command_forms() -> None:
    assert check_command(HealthCheck(test=("CMD", "a", "b"))) == ("a", "b")
    assert check_command(HealthCheck(test=("CMD-SHELL", "a b"))) == ("/bin/sh", "-c", "a b")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (180, "3 minutes"), (3600, "About an hour"), (7200, "2 hours"), (50 * 3600, "2 days"),
        (15 * 86400, "2 weeks"), (90 * 86400, "3 months"), (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_spans(seconds: int, text: str) -> None:
    assert lasting(seconds * SECOND) == text


@given(st.integers(min_value=0, max_value=2**62))
def test_every_span_has_words(span: int) -> None:
    assert lasting(span)


@pytest.mark.parametrize("state", list(GuestState))
def test_every_state_has_a_text(state: GuestState) -> None:
    assert status_text(guest(state=state), 10 * SECOND)


def test_status_text_shows_health_and_exit_code() -> None:
    healthy = guest(health=HealthStatus(status="healthy"))
    assert status_text(healthy, 5 * SECOND) == "Up 4 seconds (healthy)"
    ended = guest(state=GuestState.EXITED, exit_code=3, finished_at=1 * SECOND)
    assert status_text(ended, 4 * SECOND) == "Exited (3) 3 seconds ago"


def test_filters_are_or_within_a_key_and_and_between_keys() -> None:
    assert GuestFilter.parse(["name=we", "label=tier=front"]).matches(guest())
    assert GuestFilter.parse(["name=no", "name=web"]).matches(guest())
    assert not GuestFilter.parse(["name=web", "label=tier=back"]).matches(guest())
    assert GuestFilter.parse(["label!=other"]).matches(guest())
    assert not GuestFilter.parse(["label!=tier"]).matches(guest())


@pytest.mark.parametrize("text", ["", "name", "nope=1", "=x"])
def test_unknown_filters_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid filter"):
        GuestFilter.parse([text])


@pytest.mark.parametrize(
    "spec",
    [
        GuestSpec(image="x", env=("=a",)),
        GuestSpec(image="x", env=("a",)),
        GuestSpec(image="x", env=("A=\0",)),
        GuestSpec(image="x", env=("A=" + "x" * 2_000_000,)),
        GuestSpec(image="x", labels={"": "x"}),
        GuestSpec(image="x", labels={"a": "x" * 2_000_000}),
        GuestSpec(image="x", hostname="a b"),
        GuestSpec(image="x", hostname="a\n127.0.0.1 bank"),
        GuestSpec(image="x", user="root\nx:0:0"),
        GuestSpec(image="x", user="a:b:c"),
        GuestSpec(image="x", working_dir="relative"),
        GuestSpec(image="x", command=("a\0b",)),
        GuestSpec(image="x", stop_timeout=-2),
        GuestSpec(image="x", stop_timeout=10**9),
        GuestSpec(image="x", restart=RestartPolicy(maximum_retries=-1)),
        GuestSpec(image="x", restart=RestartPolicy(name=RestartName.ALWAYS, maximum_retries=2)),
        GuestSpec(image="x", remove_on_exit=True, restart=RestartPolicy(name=RestartName.ALWAYS)),
    ],
)
def test_impossible_wishes_are_invalid(spec: GuestSpec) -> None:
    with pytest.raises(Invalid):
        check_spec(spec)


@pytest.mark.parametrize(
    "spec",
    [
        ExecSpec(command=()),
        ExecSpec(command=("",)),
        ExecSpec(command=("a\0",)),
        ExecSpec(command=("a",), env=("x",)),
        ExecSpec(command=("a",), working_dir="x"),
        ExecSpec(command=("a",), rows=-1),
        ExecSpec(command=("a",), columns=70000),
        ExecSpec(command=("a",), detach_keys="ctrl-ä"),
    ],
)
def test_impossible_execs_are_invalid(spec: ExecSpec) -> None:
    with pytest.raises(Invalid):
        check_exec(spec)


def test_detach_keys() -> None:
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("a,ctrl-@,ctrl-[") == b"a\x00\x1b"
    assert parse_detach_keys("") == b""


def test_cpu_percent_needs_two_sane_readings() -> None:
    from wirt.host.stats import cpu_percent

    first = Usage(read_at=0, cpu_ns=0)
    assert cpu_percent(first, Usage(read_at=SECOND, cpu_ns=SECOND // 2)) == 50.0
    assert cpu_percent(first, Usage(read_at=0, cpu_ns=5)) is None
    assert cpu_percent(Usage(read_at=0, cpu_ns=9), Usage(read_at=1, cpu_ns=3)) is None
    assert cpu_percent(None, first) is None


def test_a_machines_cpu_is_what_the_host_gave_it() -> None:
    """Its own kernel takes time that it waited for a processor for work."""
    from wirt.host.insight import Glimpse
    from wirt.host.stats import reading
    from wirt.linux.split import Split

    guest = Guest(id="a" * 64, name="mv", spec=GuestSpec(image="i"), image_id="i", created_at=0)
    zero = Split(at=0, total=0, user=0, system=0, guest=0)
    some = Split(at=SECOND, total=4 * 10**8, user=3 * 10**8, system=10**8, guest=0)
    first = reading(guest, Usage(read_at=0, cpu_ns=0), Glimpse(split=zero), None)
    assert first.sample.cpu_percent is None
    inside = Usage(read_at=SECOND, cpu_ns=96 * 10**7)
    found = reading(guest, inside, Glimpse(split=some), first).sample
    assert found.cpu_percent == 40.0
    assert (found.cpu_user_percent, found.cpu_system_percent) == (30.0, 10.0)
    unseen = reading(guest, inside, Glimpse(split=Split(at=SECOND)), first).sample
    assert unseen.cpu_percent == 96.0
