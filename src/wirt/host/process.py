"""The guest's main process: the image's configuration merged with the user's wish. Pure.

Docker's rules: a given entrypoint clears the image's command; a given command replaces it; the
user's environment overrides the image's by name.
"""

from __future__ import annotations

import signal

from wirt.engine.protocol import Process
from wirt.errors import Invalid
from wirt.model.guest import GuestSpec, HealthCheck
from wirt.model.image import ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIGHEST_SIGNAL = 64


def parse_signal(text: str) -> int:
    """The number of ``"TERM"``, ``"SIGTERM"`` or ``"15"``. Raises Invalid."""
    plain = text.strip().upper().removeprefix("SIG")
    if plain.isascii() and plain.isdigit():
        number = int(plain)
        if 1 <= number <= HIGHEST_SIGNAL:
            return number
    elif plain.startswith(("RTMIN+", "RTMAX-")) and plain[6:].isdigit():
        number = 34 + int(plain[6:]) if plain.startswith("RTMIN+") else 64 - int(plain[6:])
        if 34 <= number <= HIGHEST_SIGNAL:
            return number
    elif f"SIG{plain}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{plain}"])
    raise Invalid(f"unknown signal {text[:40]!r}", hint="write a name as TERM or a number 1..64")


def merge_environment(*layers: tuple[str, ...]) -> tuple[str, ...]:
    """Later layers override earlier ones by name; the first occurrence keeps its place."""
    merged: dict[str, str] = {}
    for layer in layers:
        for entry in layer:
            merged[entry.partition("=")[0]] = entry
    return tuple(merged.values())


def main_process(spec: GuestSpec, config: ImageConfig, *, hostname: str) -> Process:
    """What to run, with everything decided. Raises Invalid when there is nothing to run."""
    entrypoint = config.entrypoint if spec.entrypoint is None else spec.entrypoint
    if spec.command is not None:
        command = spec.command
    else:
        command = config.cmd if spec.entrypoint is None else ()
    argv = entrypoint + command
    if not argv or not argv[0]:
        raise Invalid(
            f"image {spec.image!r} names no command and none was given",
            hint="write the command after the image's name",
            code="guest.no-command",
        )
    defaults = (f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}", *(("TERM=xterm",) * spec.tty))
    return Process(
        argv=argv,
        env=merge_environment(defaults, config.env, spec.env),
        working_dir=spec.working_dir or config.working_dir or "/",
        user=spec.user or config.user,
        stop_signal=parse_signal(spec.stop_signal or config.stop_signal or "TERM"),
    )


def health_check(spec: GuestSpec, config: ImageConfig) -> HealthCheck | None:
    """The check to run: the user's, with what it leaves open taken from the image's; or None."""
    image = image_health(config)
    wish = spec.health
    if wish is None:
        check = image
    elif wish.test or image is None:
        check = wish
    else:
        check = HealthCheck(
            test=image.test,
            interval=wish.interval,
            timeout=wish.timeout,
            start_period=wish.start_period,
            start_interval=wish.start_interval,
            retries=wish.retries,
        )
    if check is None or not check.test or check.test[0] == "NONE":
        return None
    return check


def image_health(config: ImageConfig) -> HealthCheck | None:
    """The image's own health check (docker's ``Healthcheck`` object); zero means the default."""
    raw = config.healthcheck
    if not raw:
        return None
    test = raw.get("Test")
    if not isinstance(test, list | tuple) or not all(isinstance(part, str) for part in test):
        return None
    default = HealthCheck(test=())

    def figure(name: str, otherwise: int) -> int:
        value = raw.get(name)
        return value if isinstance(value, int) and value > 0 else otherwise

    return HealthCheck(
        test=tuple(test),
        interval=figure("Interval", default.interval),
        timeout=figure("Timeout", default.timeout),
        start_period=figure("StartPeriod", default.start_period),
        start_interval=figure("StartInterval", default.start_interval),
        retries=figure("Retries", default.retries),
    )
