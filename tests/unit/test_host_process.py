"""The main process: image configuration merged with the user's wish."""

from __future__ import annotations

import pytest

from wirt.errors import Invalid
from wirt.host.process import health_check, main_process, merge_environment, parse_signal
from wirt.model.guest import GuestSpec, HealthCheck
from wirt.model.image import ImageConfig

IMAGE = ImageConfig(
    env=("PATH=/image", "A=1"),
    entrypoint=("/entry",),
    cmd=("serve",),
    working_dir="/srv",
    user="www",
)


@pytest.mark.parametrize(
    ("spec", "argv"),
    [
        (GuestSpec(image="x"), ("/entry", "serve")),
        (GuestSpec(image="x", command=("other", "1")), ("/entry", "other", "1")),
        (GuestSpec(image="x", entrypoint=("/mine",)), ("/mine",)),
        (GuestSpec(image="x", entrypoint=("/mine",), command=("a",)), ("/mine", "a")),
        (GuestSpec(image="x", entrypoint=(), command=("sh",)), ("sh",)),
    ],
)
def test_argument_vector(spec: GuestSpec, argv: tuple[str, ...]) -> None:
    assert main_process(spec, IMAGE, hostname="h").argv == argv


def test_nothing_to_run_is_invalid() -> None:
    with pytest.raises(Invalid, match="names no command"):
        main_process(GuestSpec(image="x"), ImageConfig(), hostname="h")


def test_environment_of_the_user_wins_and_defaults_fill_in() -> None:
    process = main_process(GuestSpec(image="x", env=("A=2", "B=3"), tty=True), IMAGE, hostname="h")
    assert process.env == ("PATH=/image", "HOSTNAME=h", "TERM=xterm", "A=2", "B=3")
    assert process.working_dir == "/srv"
    assert process.user == "www"


def test_merge_keeps_first_place_and_last_value() -> None:
    assert merge_environment(("A=1", "B=2"), ("A=3",)) == ("A=3", "B=2")


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+1", 35), ("SIGRTMAX-0", 64)],
)
def test_signal_names(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "NOPE", "SIG", "1.5", "RTMIN+99", "٣"])
def test_bad_signals_are_named(text: str) -> None:
    with pytest.raises(Invalid, match="unknown signal"):
        parse_signal(text)


def test_health_of_the_image_with_zeroes_means_defaults() -> None:
    image = ImageConfig(healthcheck={"Test": ["CMD", "true"], "Interval": 0, "Retries": 5})
    check = health_check(GuestSpec(image="x"), image)
    assert check == HealthCheck(test=("CMD", "true"), retries=5)


def test_health_none_switches_off() -> None:
    image = ImageConfig(healthcheck={"Test": ["CMD", "true"]})
    spec = GuestSpec(image="x", health=HealthCheck(test=("NONE",)))
    assert health_check(spec, image) is None


def test_health_times_without_a_command_change_the_images_check() -> None:
    image = ImageConfig(healthcheck={"Test": ["CMD-SHELL", "test -f /x"]})
    spec = GuestSpec(image="x", health=HealthCheck(test=(), interval=1, retries=9))
    check = health_check(spec, image)
    assert check is not None
    assert (check.test, check.interval, check.retries) == (("CMD-SHELL", "test -f /x"), 1, 9)


@pytest.mark.parametrize("raw", [{"Test": "true"}, {"Test": [1]}, {}, {"Test": []}])
def test_hostile_health_objects_are_no_check(raw: dict[str, object]) -> None:
    assert health_check(GuestSpec(image="x"), ImageConfig(healthcheck=raw)) is None
