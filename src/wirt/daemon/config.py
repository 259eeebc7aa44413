"""How one daemon is set up: the command line and its file, read once into a frozen value.

The file is TOML; without one (and without ``--config``) everything has its default. Each of its
tables is read by whom it is about: ``registries`` by :mod:`wirt.image.remote.settings`,
``governor`` by :mod:`wirt.host.governing.policy`.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wirt.errors import Invalid, NotFound
from wirt.host.governing import policy
from wirt.host.governing.policy import Policy
from wirt.image.remote import settings
from wirt.image.remote.settings import Settings
from wirt.layout import Layout
from wirt.model.units import parse_size

DEFAULT_NAME = "wirt"
TABLES = ("governor", "registries", "store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """``user``: name or number of the account to run as, None to stay who we are.

    ``guest_dir``: where the guest kernel and its initramfs are. ``keeper``: the keeper's program,
    with the other native programs beside it. ``registries``: mirrors, trust and so on.
    ``governor``: its policy.
    ``max_disk``: bytes that the store may take, 0 for no limit. ``max_cache``: bytes of it that
    what can be made again may take, 0 for a part of the file system.
    """

    layout: Layout
    user: str | None
    guest_dir: Path
    keeper: Path
    log_level: str
    registries: Settings = field(default_factory=Settings)
    max_disk: int = 0
    max_cache: int = 0
    governor: Policy = field(default_factory=Policy)


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except Invalid as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _store(table: object) -> dict[str, int]:
    """The table ``store``, which has ``max-disk`` and ``max-cache`` (bytes, or a text as ``20g``).
    Raises Invalid."""
    if not isinstance(table, dict) or set(table) - {"max-disk", "max-cache"}:
        raise Invalid(
            "the settings have something else than 'max-disk' and 'max-cache' in the table 'store'",
            hint='write [store] and max-disk = "20g"',
            code="config.invalid",
        )
    return {key: parse_size(str(value)) for key, value in table.items()}


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-disk",
        type=_bytes,
        default=0,
        metavar="SIZE",
        help="bytes that images and caches may take, as 20g (default: no limit but the disk)",
    )
    parser.add_argument(
        "--max-cache",
        type=_bytes,
        default=0,
        metavar="SIZE",
        help="bytes of it that may be results of builds, their caches, and unpacked layers that "
        "nobody uses (default: a tenth of the file system)",
    )


def parse(arguments: list[str]) -> Config:
    """Read the command line; prints help and exits on misuse."""
    parser = argparse.ArgumentParser(
        prog="wirtd", description="The wirt daemon: one host for every kind of guest."
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of this instance")
    parser.add_argument("--state", type=Path, help="directory of lasting state")
    parser.add_argument("--run", type=Path, help="directory of running state (a tmpfs)")
    parser.add_argument(
        "--config", type=Path, help="file of settings (default: /etc/wirt/NAME.toml, if any)"
    )
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
    _add_limits(parser)
    given = parser.parse_args(arguments)
    name: str = given.name
    layout = Layout(
        name=name,
        state=(given.state or Path("/var/lib") / name).absolute(),
        run=(given.run or Path("/run") / name).absolute(),
    )
    tables = read_file(given.config, Path("/etc/wirt") / f"{name}.toml")
    limits = _store(tables.get("store", {}))
    return Config(
        layout=layout,
        user=given.user,
        guest_dir=given.guest_dir.absolute(),
        keeper=given.keeper.absolute(),
        log_level=given.log_level,
        registries=settings.read(tables.get("registries", {})),
        governor=policy.read(tables.get("governor", {})),
        max_disk=given.max_disk or limits.get("max-disk", 0),
        max_cache=given.max_cache or limits.get("max-cache", 0),
    )


def read_file(given: Path | None, usual: Path) -> dict[str, Any]:
    """The tables of the file ``given``, else of the ``usual`` one if it is there.

    Raises NotFound, Invalid naming the file.
    """
    path = given or usual
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if given is None:
            return {}
        raise NotFound(f"there is no file of settings {path}", code="config.missing") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"cannot read the settings {path}: {error}", code="config.invalid") from error
    for key in found:
        if key not in TABLES:
            raise Invalid(
                f"the settings {path} have an unknown table {key[:80]!r}",
                hint=f"tables are: {', '.join(TABLES)}",
                code="config.invalid",
            )
    return found
