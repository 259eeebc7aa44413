"""From the flags of ``run`` and ``create`` to the JSON of :class:`wirt.model.guest.GuestSpec`.

Only what was typed is sent; the daemon fills in defaults. Everything that can be judged without the
daemon is judged here, naming what was typed.
"""

from __future__ import annotations

import posix

from wirt.cli.claimflags import OF_GUESTS
from wirt.cli.flags import misuse, platform_of
from wirt.client.fastjson import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from wirt.cli.flags import Call

_PLAIN = {
    "as": "isolation",
    "user": "user",
    "workdir": "working_dir",
    "hostname": "hostname",
    "stop-signal": "stop_signal",
    "group": "group",
    "class": "guest_class",
}
_LIMITS = {
    "cpus": "cpu_millis",
    "cpu-shares": "cpu_shares",
    "memory": "memory",
    "memory-swap": "memory_swap",
    "pids-limit": "pids",
}
_SWITCHES = {
    "tty": "tty",
    "interactive": "stdin_open",
    "rm": "remove_on_exit",
    "publish-all": "publish_all",
    "read-only": "read_only",
    "init": "init",
}
RESTART = ("no", "always", "on-failure", "unless-stopped")


def guest_spec(call: Call) -> dict[str, Any]:
    """The body of ``POST /v1/guests``. Raises Invalid."""
    image, *command = call.args
    spec: dict[str, Any] = {"image": image}
    if command:
        spec["command"] = command
    for flag, name in _PLAIN.items():
        if call.text(flag):
            spec[name] = call.text(flag)
    if platform := platform_of(call):
        spec["platform"] = platform
    for flag, name in _SWITCHES.items():
        if call.on(flag):
            spec[name] = True
    if call.given("entrypoint"):
        spec["entrypoint"] = [call.text("entrypoint")] if call.text("entrypoint") else []
    numbers = ("stop-timeout", "shm-size", "disk-size", "oom-rank")
    for flag, name in ((flag, flag.replace("-", "_")) for flag in numbers):
        if call.given(flag):
            spec[name] = call.number(flag)
    parts = {
        "env": environment(call.many("env-file"), call.many("env")),
        "labels": labels(call.many("label-file"), call.many("label")),
        "annotations": pairs(call.many("annotation"), "--annotation"),
        "resources": resources(call),
        "sysctls": pairs(call.many("sysctl"), "--sysctl", needs_value=True),
        "cap_add": capabilities(call.many("cap-add")),
        "cap_drop": capabilities(call.many("cap-drop")),
        "security_opt": security(call.many("security-opt")),
        "ulimits": ulimits(call.many("ulimit")),
        "log": log_options(call.many("log-opt")),
        "userns": "" if call.text("userns") == "host" else call.text("userns"),
        "health": health(call),
        "idle": idle(call),
        "restart": restart(call.text("restart"), removes=call.on("rm")),
    }
    spec.update((name, value) for name, value in parts.items() if value)
    _plugs(call, spec)
    return spec


def idle(call: Call) -> dict[str, Any]:
    """What becomes of it when it has nothing to do, as far as it was typed."""
    made: dict[str, Any] = {}
    if call.text("idle"):
        made["action"] = call.text("idle")
    for flag, name in (("idle-after", "after"), ("wake-every", "wake_every")):
        if call.given(flag):
            made[name] = call.number(flag)
    times = call.many("wake-at")
    if times:
        made["wake_at"] = [] if list(times) == ["never"] else list(times)
    return made


def _plugs(call: Call, spec: dict[str, Any]) -> None:
    """Mounts, networks and ports; imported only when asked for, since most guests name none."""
    given = (call.many("volume"), call.many("mount"), call.many("tmpfs"))
    if any(given):
        from wirt.cli.mounts import all_mounts

        spec["mounts"] = all_mounts(*given)
    wanted = ("network", "network-alias", "ip", "mac-address", "publish", "dns", "add-host")
    if not any(call.given(name) for name in wanted):
        return
    from wirt.cli import ports

    mode, attachments = ports.networks(
        call.many("network"),
        aliases=call.many("network-alias"),
        ip=call.text("ip"),
        mac=call.text("mac-address"),
    )
    parts = {
        "network_mode": mode,
        "attachments": attachments,
        "ports": [one for text in call.many("publish") for one in ports.publish(text)],
        "dns": ports.addresses(call.many("dns"), "--dns"),
        "extra_hosts": ports.extra_hosts(call.many("add-host")),
    }
    spec.update((name, value) for name, value in parts.items() if value)


def environment(files: Sequence[str], typed: Sequence[str]) -> list[str]:
    """``NAME=value`` entries: files first, then ``-e``; the last value of a name wins.

    A name without a value is taken from our own environment, and left out when it is not set there.
    """
    made: dict[str, str] = {}
    entries = [(line, f"--env-file {path}") for path in files for line in file_lines(path)]
    entries += [(text, f"-e {text}") for text in typed]
    for text, where in entries:
        name, equals, value = text.partition("=")
        if not name or any(char.isspace() for char in name):
            raise misuse(
                f"invalid environment variable {text!r} in {where}", hint="write NAME=VALUE"
            )
        if equals:
            made[name] = value
        else:
            own = posix.environ.get(name.encode("utf-8", "surrogateescape"))
            if own is not None:
                made[name] = own.decode("utf-8", "surrogateescape")
    return [f"{name}={value}" for name, value in made.items()]


def file_lines(path: str) -> list[str]:
    """Lines of a text file without blank ones and ``#`` comments. Raises Invalid."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise misuse(f"cannot read {path}: {error.strerror}", hint="is the path right?") from error
    except UnicodeDecodeError as error:
        raise misuse(f"{path} is not UTF-8 text", hint="write it as UTF-8") from error
    lines = [line.lstrip().rstrip("\r") for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def labels(files: Sequence[str], typed: Sequence[str]) -> dict[str, str]:
    """Labels of files, then of ``--label``; ``KEY`` alone has an empty value."""
    lines = [line for path in files for line in file_lines(path)]
    return pairs([*lines, *typed], "--label")


def pairs(texts: Iterable[str], flag: str, *, needs_value: bool = False) -> dict[str, str]:
    """``KEY=VALUE`` texts as a dict; the last one of a key wins."""
    made = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or (needs_value and not equals):
            raise misuse(f"invalid value {text!r} for {flag}", hint="write KEY=VALUE")
        made[key] = value
    return made


def resources(call: Call) -> dict[str, Any]:
    """:class:`wirt.model.resources.Resources` as JSON. Zero is said, too: it takes a number back,
    and of a new guest it means "not set", as in docker."""
    made: dict[str, Any] = {}
    for flag, name in _LIMITS.items():
        if call.given(flag):
            made[name] = call.number(flag)
    for flag, least in (("cpu-shares", 0), ("pids-limit", -1)):
        if (call.number(flag) or 0) < least:
            raise misuse(
                f"invalid value {call.number(flag)} for --{flag}",
                hint=f"the smallest is {least}" + (", which means no limit" if least else ""),
            )
    if call.text("cpuset-cpus"):
        made["cpuset"] = call.text("cpuset-cpus")
    if any(call.given(flag.name) for flag in OF_GUESTS):
        from wirt.cli.claims import claims

        made.update(claims(call))
    return made


def capabilities(texts: Sequence[str]) -> list[str]:
    """Names without ``CAP_``, in capitals; ``ALL`` stays."""
    return [text.upper().removeprefix("CAP_") for text in texts]


def security(texts: Sequence[str]) -> list[str]:
    """``--security-opt``; a seccomp profile is read here, so that the daemon needs no file."""
    made = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            key, separator, value = text.partition(":")
        if key == "no-new-privileges":
            if value in {"", "true"}:
                made.append("no-new-privileges")
            elif value != "false":
                raise misuse(
                    f"invalid value {text!r} for --security-opt", hint="write true or false"
                )
        elif key == "seccomp" and value:
            made.append(f"seccomp={_profile(value)}")
        elif (key, value) in {("apparmor", "unconfined"), ("label", "disable")}:
            continue  # it is so already: neither is in force
        else:
            raise misuse(
                f"invalid value {text!r} for --security-opt",
                hint="write no-new-privileges, seccomp=unconfined or seccomp=FILE",
            )
    return made


def _profile(value: str) -> str:
    if value in {"unconfined", "builtin"}:
        return value
    hint = "write seccomp=unconfined or the path of a JSON profile"
    try:
        with open(value, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
            profile = decode(file.read())
    except OSError as error:
        raise misuse(
            f"cannot read the seccomp profile {value}: {error.strerror}",
            hint=hint,
        ) from error
    except ValueError as error:
        raise misuse(f"the seccomp profile {value} is no JSON: {error}", hint=hint) from error
    if not isinstance(profile, dict):
        raise misuse(f"the seccomp profile {value} is no JSON object", hint=hint)
    return encode(profile).decode()


def ulimits(texts: Sequence[str]) -> dict[str, list[int]]:
    """``NAME=SOFT[:HARD]`` as ``{name: [soft, hard]}``; -1 is unlimited."""
    made = {}
    for text in texts:
        name, equals, value = text.partition("=")
        soft, colon, hard = value.partition(":")
        try:
            if not name or not equals:
                raise ValueError
            low = _limit(soft)
            high = _limit(hard) if colon else low
        except ValueError:
            raise misuse(
                f"invalid value {text!r} for --ulimit",
                hint="write NAME=SOFT[:HARD], as nofile=1024",
            ) from None
        if high != -1 and (low == -1 or low > high):
            raise misuse(
                f"invalid value {text!r} for --ulimit", hint="the soft limit is above the hard one"
            )
        made[name] = [low, high]
    return made


def _limit(text: str) -> int:
    if text in {"-1", "unlimited"}:
        return -1
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(text)
    return int(text)


def log_options(texts: Sequence[str]) -> dict[str, int]:
    """``max-size`` and ``max-file``."""
    made = {}
    for key, value in pairs(texts, "--log-opt", needs_value=True).items():
        if key == "max-size":
            from wirt.model.units import parse_size

            made["size"] = parse_size(value)
        elif key == "max-file" and value.isascii() and value.isdigit() and 0 < int(value) < 1000:
            made["files"] = int(value)
        else:
            raise misuse(
                f"invalid value '{key}={value}' for --log-opt",
                hint="write max-size=SIZE or max-file=N (1 to 999)",
            )
    return made


def restart(text: str, *, removes: bool) -> dict[str, Any]:
    """``always``, ``unless-stopped`` or ``on-failure[:N]`` as a RestartPolicy; empty for ``no``."""
    name, colon, count = text.partition(":")
    hint = "write no, always, unless-stopped or on-failure[:N]"
    if name == "" and not colon:
        return {}
    if name not in RESTART or (colon and name != "on-failure"):
        raise misuse(f"invalid restart policy {text!r}", hint=hint)
    if colon and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise misuse(f"invalid restart policy {text!r}", hint=hint)
    if removes and name != "no":
        raise misuse(
            f"--rm and --restart {text} exclude each other", hint="a guest that restarts is kept"
        )
    if name == "no":
        return {}
    return {"name": name, "maximum_retries": int(count)} if count else {"name": name}


def health(call: Call) -> dict[str, Any]:
    """:class:`wirt.model.guest.HealthCheck` as JSON; an empty ``test`` means the image's."""
    times = {
        "health-interval": "interval",
        "health-timeout": "timeout",
        "health-start-period": "start_period",
        "health-start-interval": "start_interval",
        "health-retries": "retries",
    }
    made: dict[str, Any] = {
        name: call.number(flag) for flag, name in times.items() if call.given(flag)
    }
    if call.on("no-healthcheck"):
        if made or call.given("health-cmd"):
            raise misuse(
                "--no-healthcheck and --health-* exclude each other", hint="leave one of them out"
            )
        return {"test": ["NONE"]}
    if made.get("retries", 0) < 0:
        raise misuse("--health-retries cannot be negative", hint="write a number from 0")
    if call.given("health-cmd"):
        line = call.text("health-cmd")
        return {"test": ["CMD-SHELL", line] if line else ["NONE"], **made}
    return {"test": [], **made} if made else {}
