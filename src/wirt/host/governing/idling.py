"""Which rule holds for a guest that has nothing to do, and whom it must not pause. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from wirt.errors import Invalid, Unsupported
from wirt.host.governing import refusals, when
from wirt.model.group import check_path
from wirt.model.guest import GuestSpec
from wirt.model.idle import (
    LONGEST,
    SECOND,
    IdleAction,
    IdleDefaults,
    IdleRule,
    IdleWish,
)
from wirt.model.units import parse_duration

GLANCE = 30.0
"""Seconds that a guest stays awake at least when its time to wake has come."""
LEAST_AFTER = SECOND
LEAST_SLEEP = 10 * SECOND
MOST_POINTS = 100


def rule_of(spec: GuestSpec, defaults: IdleDefaults) -> IdleRule:
    """What holds for this guest: its own wish, its group's, its class's."""
    wish = spec.idle
    action = wish.action
    for path in above(spec.group):
        action = action or defaults.groups.get(path)
    every = parse_duration(defaults.wake_every) if wish.wake_every is None else wish.wake_every
    return IdleRule(
        action=action or getattr(defaults, spec.guest_class.value),
        after=parse_duration(defaults.after) if wish.after is None else wish.after,
        wake_every=every,
        wake_at=defaults.wake_at if wish.wake_at is None else wish.wake_at,
    )


def due(rule: IdleRule, since: int, now: int) -> bool:
    """Whether who has slept ``since`` (Unix nanoseconds) is to be awake for a while ``now``."""
    if rule.wake_every and now - since >= rule.wake_every:
        return True
    return any(when.next_point(text, since) <= now for text in rule.wake_at)


def above(path: str) -> Iterator[str]:
    """The group itself and all above it, the nearest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def may_pause(spec: GuestSpec) -> bool:
    """Whether what somebody wants of it would be heard: not on another's network cards."""
    return spec.network_mode in {"", "none"}


def check(spec: GuestSpec) -> None:
    """Raise Invalid or Unsupported for a wish that cannot be fulfilled."""
    check_times(spec.idle)
    check_points(spec.idle.wake_at or ())
    if spec.idle.action is not IdleAction.PAUSE or may_pause(spec):
        return
    raise Unsupported(
        f"--idle pause needs network cards of the guest's own, or none, not --network "
        f"{spec.network_mode.replace('guest:', 'container:')[:80]}: traffic would wake nobody",
        hint="use --idle minimal, or another network",
        code="idle.not-heard",
    )


def check_times(
    wish: IdleWish, *, after: str = "--idle-after", every: str = "--wake-every"
) -> None:
    """Raise Invalid for times that make no sense; ``after`` and ``every``: how they are called."""
    for name, time, least in (
        (after, wish.after, LEAST_AFTER),
        (every, wish.wake_every, LEAST_SLEEP),
    ):
        if time is None or (name == every and time == 0):
            continue
        if not least <= time <= LONGEST:
            raise Invalid(
                f"{name} {time / SECOND:g}s is out of range",
                hint=f"write {least // SECOND}s to {LONGEST // SECOND // 3600}h"
                + (", or 0 for never" if name == every else ""),
                code="idle.out-of-range",
            )


def check_points(points: tuple[str, ...]) -> None:
    """Raise Invalid for what is no time of a day, and for too many of them."""
    if len(points) > MOST_POINTS:
        raise Invalid(
            f"{len(points)} times to wake one guest are more than {MOST_POINTS}",
            hint="name several days in one, as 'Mon,Wed-Fri 07:45'",
            code="idle.wake-at",
        )
    for text in points:
        when.point(text)


def check_defaults(defaults: IdleDefaults) -> None:
    """Raise Invalid for times that make no sense, and for groups that there can be none of."""
    after = refusals.read("idle.after", defaults.after, lambda: parse_duration(defaults.after))
    every = refusals.read(
        "idle.wake_every", defaults.wake_every, lambda: parse_duration(defaults.wake_every)
    )
    wish = IdleWish(after=after, wake_every=every)
    check_times(wish, after="idle.after", every="idle.wake_every")
    try:
        check_points(defaults.wake_at)
    except Invalid as error:
        raise refusals.refuse(
            f"idle.wake_at of the governor's policy: {error.message}", error.hint or ""
        ) from error
    for path in defaults.groups:
        try:
            check_path(path)
        except Invalid as error:
            raise refusals.refuse(
                f"idle.groups of the governor's policy: {error.message}", error.hint or ""
            ) from error
