"""Reservations, limits and shares as they were typed, and docker's flags for the same."""

from __future__ import annotations

from wirt.cli.flags import misuse
from wirt.cli.output import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.cli.flags import Call

_NUMBERS = {
    "cpu-reservation": "cpu_reservation",
    "memory-reservation": "memory_reservation",
    "memory-shares": "memory_shares",
    "io-reservation": "io_reservation",
    "io-limit": "io_limit",
    "io-shares": "io_shares",
    "net-reservation": "net_reservation",
    "net-limit": "net_limit",
    "net-shares": "net_shares",
}
_REFUSED = {
    "blkio-weight-device": "weights are for all disks: use --io-shares",
    "device-read-iops": "bytes a second are limited, not requests: use --io-limit",
    "device-write-iops": "bytes a second are limited, not requests: use --io-limit",
}
_BOTH = ("device-read-bps", "device-write-bps")
_PERIOD = 100_000
_BLKIO = range(10, 1001)


def claims(call: Call) -> dict[str, int]:
    """What was typed as fields of :class:`wirt.model.resources.Resources`. Nought is said, too: it
    takes a number back. Raises Invalid."""
    made = {
        name: number for flag, name in _NUMBERS.items() if (number := call.number(flag)) is not None
    }
    for flag, hint in _REFUSED.items():
        if call.given(flag):
            raise misuse(f"--{flag} cannot be followed", hint=hint)
    dockers = {
        "cpu_millis": _quota(call),
        "io_shares": _weight(call),
        "io_limit": _device_rate(call),
    }
    return {**made, **{name: number for name, number in dockers.items() if number is not None}}


def group_claims(call: Call) -> dict[str, int]:
    """The same for a group, which has fewer flags."""
    limits = {"cpus": "cpu_millis", "memory": "memory", "cpu-shares": "cpu_shares"}
    return {
        name: number
        for flag, name in {**_NUMBERS, **limits}.items()
        if (number := call.number(flag)) is not None
    }


def _quota(call: Call) -> int | None:
    """``--cpu-quota`` of ``--cpu-period`` as thousandths of a core; 0, no limit, for 0 and -1."""
    quota, period = call.number("cpu-quota"), call.number("cpu-period")
    if quota is None and period is None:
        return None
    if quota is None:
        raise misuse("--cpu-period without --cpu-quota", hint="give both, or --cpus")
    if call.given("cpus"):
        raise misuse("--cpus and --cpu-quota exclude each other", hint="leave one of them out")
    period = period or _PERIOD
    if period < 1000 or quota < -1:
        raise misuse(
            f"invalid value {min(quota, period)} for --cpu-quota or --cpu-period",
            hint="write microseconds; a period has 1000 or more",
        )
    return max(quota * 1000 // period, 1) if quota > 0 else 0


def _weight(call: Call) -> int | None:
    """Docker's weight, 500 is normal, as shares, of which 1000 are; 0 is 0, the normal one."""
    weight = call.number("blkio-weight")
    if weight is None:
        return None
    if call.given("io-shares"):
        raise misuse(
            "--blkio-weight and --io-shares exclude each other", hint="leave one of them out"
        )
    if weight and weight not in _BLKIO:
        raise misuse(
            f"invalid value {weight} for --blkio-weight", hint="write 10 to 1000; 0 is normal"
        )
    return 2 * weight


def _device_rate(call: Call) -> int | None:
    """Docker limits each device and direction by itself; here a guest has one limit for all."""
    typed = [call.many(flag) for flag in _BOTH]
    if not any(typed):
        return None
    rates = {rate for flag in _BOTH for rate in _rates(call, flag)}
    if not all(typed) or len(rates) != 1:
        raise misuse(
            "--device-read-bps and --device-write-bps must be given both, with one rate",
            hint="--io-limit limits reads and writes alike, on every disk",
        )
    if call.given("io-limit"):
        raise misuse(
            "--io-limit and --device-read-bps exclude each other", hint="leave one of them out"
        )
    warn("--device-read-bps and --device-write-bps limit every disk that the guest's files are on")
    return rates.pop()


def _rates(call: Call, flag: str) -> list[int]:
    from wirt.model.units import parse_size

    found = []
    for text in call.many(flag):
        device, colon, rate = text.rpartition(":")
        if not colon or not device.startswith("/dev/"):
            raise misuse(
                f"invalid value {text!r} for --{flag}", hint="write /dev/NAME:RATE, as /dev/sda:1m"
            )
        found.append(parse_size(rate))
    return found
