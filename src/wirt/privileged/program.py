"""What a kind of guest tells the launch about the programs that the keeper is to run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a kind of guest adds to ``keeper.conf``, and what the keeper inherits.

    ``conf``: keys and values, ``mode``, ``argv``... ``keep``: descriptors that stay open in the
    keeper and are named in ``conf``. ``uid``/``gid``: whom the guest's process runs as.
    """

    conf: tuple[tuple[str, str], ...]
    keep: tuple[int, ...] = ()
    uid: int = 0
    gid: int = 0
