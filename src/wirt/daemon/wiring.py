"""The one file that knows every class: makes the use cases and gives each what it names.

Nothing is decided here, and nothing outside this file constructs a use case.
"""

from __future__ import annotations

from wirt.aio import Nursery
from wirt.daemon.config import Config
from wirt.daemon.engines import make_engines
from wirt.host.attach import Attach
from wirt.host.events import Bus
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.waits import Waits
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.guests import GuestTable


class Daemon:
    """Everything the daemon has, made in order; opened, begun and closed by ``daemon/main.py``."""

    def __init__(self, config: Config) -> None:
        layout = config.layout
        self._nursery = Nursery("wirtd")
        self._db = Database(layout.database)
        self._helper = Helper(layout.helper_socket)
        self._bus = Bus(EventTable(self._db), self._nursery)
        self._roster = Roster(GuestTable(self._db))
        self._engines = make_engines(config, self._helper)
        self._running = Running(layout, self._engines)
        self._waits = Waits()
        self._attach = Attach(self._running)
        self._config = config
