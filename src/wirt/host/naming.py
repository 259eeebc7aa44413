"""Names on networks: a DNS server for each, and the host's resolvers."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.model.guest import Guest
from wirt.model.network import Network
from wirt.network.dns import DnsServer
from wirt.network.forward import Forwarder
from wirt.network.hosts import Resolvers, parse_resolvers, reachable
from wirt.network.names import View, view
from wirt.privileged.client import Helper
from wirt.privileged.nft import NAMES_PORT
from wirt.privileged.protocol import Listen

log = logging.getLogger("wirt.dns")

ETC = Path("/etc")
MAX_FILE = 256 * 1024


class Naming:
    """Runs the servers. ``guests``: all guests as they are now, asked at each question."""

    def __init__(
        self,
        *,
        helper: Helper,
        guests: Callable[[], Iterable[Guest]],
        nursery: Nursery,
        forwarder: Forwarder,
        etc: Path = ETC,
    ) -> None:
        self._helper = helper
        self._guests = guests
        self._nursery = nursery
        self._forwarder = forwarder
        self._etc = etc
        self._networks: dict[str, Network] = {}
        self._servers: dict[str, DnsServer] = {}
        self._resolvers: tuple[int, Resolvers] = (0, Resolvers())

    async def follow(self, networks: Sequence[Network]) -> None:
        """Answer on exactly these networks. One that cannot be answered on is told in the log:
        its guests then ask the host's resolvers, and know no names of guests."""
        self._networks = {network.id: network for network in networks}
        for network_id in tuple(self._servers):
            if network_id not in self._networks:
                await self._servers.pop(network_id).close()
        for network in networks:
            if network.id not in self._servers:
                try:
                    self._servers[network.id] = await self._serve(network)
                except (OSError, WirtError) as error:
                    log.warning("no names on network %s: %s", network.name, error)

    def servers_for(self, network: Network) -> tuple[str, ...]:
        """Whom guests of a network shall ask."""
        if network.id in self._servers:
            return (network.gateway,)
        return reachable(self.resolvers().servers) or (network.gateway,)

    def resolvers(self) -> Resolvers:
        """The host's ``/etc/resolv.conf``, read again when it has changed."""
        path = self._etc / "resolv.conf"
        try:
            changed = path.stat().st_mtime_ns
            if changed != self._resolvers[0]:
                self._resolvers = (changed, parse_resolvers(_text(path)))
        except OSError:
            self._resolvers = (0, Resolvers())
        return self._resolvers[1]

    def host_hosts(self) -> str:
        """The host's ``/etc/hosts``."""
        try:
            return _text(self._etc / "hosts")
        except OSError:
            return "127.0.0.1\tlocalhost\n::1\tlocalhost\n"

    async def _serve(self, network: Network) -> DnsServer:
        udp = await self._listen(network.gateway, udp=True)
        try:
            tcp = await self._listen(network.gateway, udp=False)
        except BaseException:
            udp.close()
            raise
        server = DnsServer(
            subnet=network.subnet,
            view=lambda asker: self._view(network, asker),
            servers=self._upstreams,
            forwarder=self._forwarder,
            nursery=self._nursery,
        )
        await server.open(udp, tcp)
        return server

    async def _listen(self, address: str, *, udp: bool) -> socket.socket:
        _, descriptors = await self._helper.call(Listen(address=address, port=NAMES_PORT, udp=udp))
        (descriptor,) = descriptors
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        return sock

    def _view(self, network: Network, asker: str) -> View:
        return view(
            self._guests(),
            network_id=network.id,
            asker=asker,
            gateway=network.gateway,
            internal=frozenset(n.id for n in self._networks.values() if n.internal),
        )

    def _upstreams(self) -> tuple[str, ...]:
        """The host's resolvers, but not ourselves."""
        own = {network.gateway for network in self._networks.values()}
        return tuple(server for server in self.resolvers().servers if server not in own)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_FILE).decode(errors="replace")
