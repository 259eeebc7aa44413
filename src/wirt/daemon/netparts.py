"""What of the daemon is about networks, made in order."""

from __future__ import annotations

from wirt.aio import Nursery
from wirt.host.events import Bus
from wirt.host.naming import Naming
from wirt.host.networks import Networks
from wirt.host.plug import Plug
from wirt.host.roster import Roster
from wirt.layout import Layout
from wirt.network.forward import Forwarder
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.networks import NetworkTable


class Nets:
    """Networks and names."""

    def __init__(
        self,
        *,
        layout: Layout,
        db: Database,
        helper: Helper,
        roster: Roster,
        nursery: Nursery,
        bus: Bus,
    ) -> None:
        naming = Naming(helper=helper, guests=roster.all, nursery=nursery, forwarder=Forwarder())
        self.networks = Networks(
            layout=layout, table=NetworkTable(db), helper=helper, guests=roster, naming=naming,
            bus=bus,
        )  # fmt: skip
        self.plug = Plug(networks=self.networks, guests=roster, helper=helper, bus=bus)
