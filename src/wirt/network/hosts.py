"""The files that tell a guest who it is and whom to ask: hosts, hostname, resolv.conf. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from wirt.errors import Invalid
from wirt.model.names import check_hostname
from wirt.model.network import Endpoint
from wirt.network.names import HOST_NAMES

HOST_GATEWAY = "host-gateway"
_LOCAL = """\
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
"""
_MAX_SEARCH = 6
_MAX_SERVERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolvers:
    """The host's resolv.conf(5). Addresses in order; domains as written."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolvers(text: str) -> Resolvers:
    """Read a resolv.conf; lines and words that mean nothing are left out."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", server, *_] if _is_address(server):
                servers.append(server)
            case ["domain", name, *_]:
                search = (name,)
            case ["search", *names]:
                search = tuple(names)
            case ["options", *more]:
                options += tuple(more)
    return Resolvers(servers=tuple(servers), search=search[:_MAX_SEARCH], options=options)


def resolv_conf(servers: Sequence[str], search: Sequence[str] = (), *, ndots: bool = False) -> str:
    """A resolv.conf. ``ndots``: names without a dot are asked for as they are first, so that a
    guest's short name is not sent out with the host's search domains."""
    lines = [f"nameserver {server}" for server in servers[:_MAX_SERVERS]]
    if search:
        lines.append(f"search {' '.join(search[:_MAX_SEARCH])}")
        if ndots:
            lines.append("options ndots:0")
    return "\n".join([*lines, ""])


def reachable(servers: Iterable[str]) -> tuple[str, ...]:
    """The resolvers that a guest of its own network can ask directly: none on the host's
    loopback, no IPv6 ones, to which it has no route."""
    return tuple(text for text in servers if ip_address(text).version == 4 and _is_remote(text))


def hosts_file(
    *, hostname: str, endpoints: Sequence[Endpoint], extra: Sequence[str] = (), gateway: str = ""
) -> str:
    """The guest's ``/etc/hosts``.

    ``extra``: ``name:address`` as given by the user. ``gateway``: the host's address as the guest
    sees it, empty when it does not. Raises Invalid for an entry that means nothing.
    """
    lines = [_LOCAL]
    names = f"{hostname} {hostname.partition('.')[0]}" if "." in hostname else hostname
    own = [endpoint.address for endpoint in endpoints] or ["127.0.1.1"]
    lines.extend(f"{address}\t{names}\n" for address in own)
    if gateway:
        lines.append(f"{gateway}\t{' '.join(HOST_NAMES)}\n")
    lines.extend(f"{address}\t{name}\n" for name, address in parse_extra(extra, gateway=gateway))
    return "".join(lines)


def host_hosts(text: str, *, extra: Sequence[str]) -> str:
    """``/etc/hosts`` of a guest in the host's network: the host's own, and the extra hosts."""
    lines = [text if not text or text.endswith("\n") else text + "\n"]
    lines += [f"{address}\t{name}\n" for name, address in parse_extra(extra, gateway="127.0.0.1")]
    return "".join(lines)


def parse_extra(entries: Sequence[str], *, gateway: str) -> list[tuple[str, str]]:
    """Name and address of each ``name:address`` (or ``name=address``). Raises Invalid."""
    found = []
    for entry in entries:
        cut = "=" if "=" in entry else ":"
        name, _, address = entry.partition(cut)
        try:
            check_hostname(name)
        except Invalid:
            name = ""
        if address == HOST_GATEWAY:
            if not gateway:
                raise Invalid(
                    f"extra host {entry[:100]!r}: this guest has no gateway",
                    hint="give the guest a network, or write an address",
                )
            address = gateway
        address = address.strip("[]")
        if not name or not _is_address(address):
            raise Invalid(
                f"invalid extra host {entry[:100]!r}",
                hint="write NAME:ADDRESS, or NAME:host-gateway for the host",
            )
        found.append((name, address))
    return found


def check_dns(servers: Sequence[str]) -> None:
    """Raise Invalid for a resolver that is no address."""
    for server in servers:
        if not _is_address(server):
            raise Invalid(f"invalid DNS server {server[:80]!r}", hint="write its address")


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_remote(text: str) -> bool:
    address = ip_address(text)
    return not address.is_loopback and not address.is_unspecified
