"""Devices: crun makes the usual nodes itself; here is which of them the cgroup lets be opened."""

from __future__ import annotations

from wirt.crun.spec.process import Json


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> Json:
    rule: Json = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def device_rules() -> list[Json]:
    """Docker's list: nothing but null, zero, full, random, urandom, tty, console, ptmx, pts.

    Any node may be *made* (``m``): an image or a package may hold some; opening is what counts.
    """
    return [
        {"allow": False, "access": "rwm"},
        _allow("c", None, None, "m"),
        _allow("b", None, None, "m"),
        _allow("c", 1, 3, "rwm"),  # null
        _allow("c", 1, 5, "rwm"),  # zero
        _allow("c", 1, 7, "rwm"),  # full
        _allow("c", 1, 8, "rwm"),  # random
        _allow("c", 1, 9, "rwm"),  # urandom
        _allow("c", 5, 0, "rwm"),  # tty
        _allow("c", 5, 1, "rwm"),  # console
        _allow("c", 5, 2, "rwm"),  # ptmx
        _allow("c", 136, None, "rwm"),  # pts
    ]
