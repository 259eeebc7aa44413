"""How one daemon is set up: the command line, read once into a frozen value."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from wirt.layout import Layout

DEFAULT_NAME = "wirt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """``user``: name or number of the account to run as, None to stay who we are.

    ``guest_dir``: where the guest kernel and its initramfs are. ``keeper``: the keeper's program,
    with the other native programs beside it.
    """

    layout: Layout
    user: str | None
    guest_dir: Path
    keeper: Path
    log_level: str


def parse(arguments: list[str]) -> Config:
    """Read the command line; prints help and exits on misuse."""
    parser = argparse.ArgumentParser(
        prog="wirtd", description="The wirt daemon: one host for every kind of guest."
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of this instance")
    parser.add_argument("--state", type=Path, help="directory of lasting state")
    parser.add_argument("--run", type=Path, help="directory of running state (a tmpfs)")
    parser.add_argument("--user", help="account to run as (default: stay as started)")
    parser.add_argument(
        "--guest-dir",
        type=Path,
        default=Path("/usr/local/lib/wirt/guest"),
        help="directory of the guest kernel and its initramfs",
    )
    parser.add_argument(
        "--keeper",
        type=Path,
        default=Path("/usr/local/lib/wirt/wirt-keeper"),
        help="the keeper's program",
    )
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    given = parser.parse_args(arguments)
    name: str = given.name
    layout = Layout(
        name=name,
        state=(given.state or Path("/var/lib") / name).absolute(),
        run=(given.run or Path("/run") / name).absolute(),
    )
    return Config(
        layout=layout,
        user=given.user,
        guest_dir=given.guest_dir.absolute(),
        keeper=given.keeper.absolute(),
        log_level=given.log_level,
    )
