"""Verbs about the helper and the instance as a whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import wirt
from wirt.privileged import registry
from wirt.privileged.context import Context, on
from wirt.privileged.protocol import Ping, Pong, Sweep, Swept

log = logging.getLogger("wirt.privileged")


def ping(_ctx: Context, _verb: Ping, _fds: Sequence[int]) -> Pong:
    """Tell that the helper works."""
    return Pong(pid=os.getpid(), version=wirt.__version__)


def sweep(ctx: Context, verb: Sweep, _fds: Sequence[int]) -> Swept:
    """Let every noun remove its leftovers. One that fails does not keep the others from it."""
    removed: list[str] = []
    for sweeper in registry.sweepers():
        try:
            removed.extend(sweeper(ctx, verb))
        except Exception as error:
            log.exception("sweeping failed")
            removed.append(f"not everything: {error}")
    return Swept(removed=tuple(removed))


HANDLERS = (on(Ping, ping), on(Sweep, sweep))
