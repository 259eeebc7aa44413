"""``--security-opt``: what may be asked for, as docker writes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wirt.errors import Invalid, Unsupported

UNCONFINED = "unconfined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """``seccomp``: empty for the default profile, ``unconfined``, or a profile's JSON."""

    no_new_privileges: bool = False
    seccomp: str = ""


def parse_options(options: Iterable[str]) -> Security:
    """The options together; a later one wins. Raises Invalid, or Unsupported for what is not here.

    ``apparmor=unconfined`` and ``label=disable`` ask for what is the case anyway.
    """
    no_new_privileges = False
    seccomp = ""
    for option in options:
        name, value = _split(option)
        if name == "no-new-privileges" and value in {"", "true", "false"}:
            no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            seccomp = value
        elif (name, value) in {("apparmor", UNCONFINED), ("label", "disable")}:
            continue
        elif name in {"apparmor", "label", "systempaths", "credentialspec"}:
            raise Unsupported(
                f"--security-opt {option[:60]} is not supported",
                hint="supported are no-new-privileges, seccomp=unconfined and seccomp=PROFILE",
            )
        else:
            raise Invalid(
                f"unknown --security-opt {option[:60]!r}",
                hint="write no-new-privileges, seccomp=unconfined or seccomp=PROFILE",
            )
    return Security(no_new_privileges=no_new_privileges, seccomp=seccomp)


def _split(option: str) -> tuple[str, str]:
    """Docker takes ``name=value`` and, of old, ``name:value``."""
    equals, colon = option.find("="), option.find(":")
    at = min((place for place in (equals, colon) if place >= 0), default=-1)
    return (option, "") if at < 0 else (option[:at], option[at + 1 :])
