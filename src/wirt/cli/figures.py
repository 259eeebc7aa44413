"""Amounts of the governor's resources as people read and type them."""

from __future__ import annotations

from wirt.cli.flags import misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.cli.flags import Call
    from wirt.governor.tree import Resource

UNLIMITED = 2**62
NONE = "-"
CPU_FLAG_HELP = "Multiply the CPU shares, as 8x"
MEMORY_FLAG_HELP = "Multiply the memory shares (4x), or guarantee so much more (+2G)"
ONE_TIME = 1000


def amount(resource: Resource | str, units: float | None) -> str:
    """Units of a resource: cores with two decimals, bytes, bytes or bits a second."""
    if units is None:
        return NONE
    from wirt.cli.view import human

    kind = resource if isinstance(resource, str) else resource.value
    if units >= UNLIMITED:
        return "no limit"
    if kind == "cpu":
        return f"{units / 1000:.2f}"
    if kind == "net":
        return human.decimal_size(units).removesuffix("B") + "bit/s"
    return human.binary_size(units) + ("/s" if kind == "disk" else "")


def gain(call: Call) -> dict[str, int]:
    """What ``--cpu`` and ``--memory`` of a boost ask for. Raises Invalid.

    Without either, both shares count four times.
    """
    if not call.given("cpu") and not call.many("memory"):
        return {"cpu": 4 * ONE_TIME, "memory": 4 * ONE_TIME}
    made: dict[str, int] = {}
    if call.given("cpu"):
        made["cpu"] = times(call.text("cpu"), "cpu")
    for text in call.many("memory"):
        if text.startswith("+"):
            from wirt.model.units import parse_size

            made["reserve"] = parse_size(text[1:])
        else:
            made["memory"] = times(text, "memory")
    return made


def times(text: str, flag: str) -> int:
    """Thousandths of ``8x`` or ``1.5x``. Raises Invalid naming the flag."""
    number = text[:-1] if text[-1:] in {"x", "X"} else ""
    whole, dot, fraction = number.partition(".")
    good = whole.isascii() and whole.isdigit() and len(whole) <= 6
    good = good and (not dot or (fraction.isascii() and fraction.isdigit() and len(fraction) <= 3))
    if not good:
        hint = "write a factor as 8x" + (", or more memory as +2G" if flag == "memory" else "")
        raise misuse(f"invalid value {text!r} for --{flag}", hint=hint)
    return int(whole) * ONE_TIME + int((fraction + "000")[:3])


def told(gain: dict[str, int]) -> str:
    """A gain for people: ``cpu 8x, memory +2GiB``."""
    parts = [
        f"{kind} {gain[kind] / ONE_TIME:g}x"
        for kind in ("cpu", "memory")
        if gain.get(kind, ONE_TIME) != ONE_TIME
    ]
    if gain.get("reserve"):
        parts.append(f"memory +{amount('memory', gain['reserve'])}")
    return ", ".join(parts)
