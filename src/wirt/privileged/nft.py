"""The instance's one nftables table: its text, its elements, and running ``nft``.

Only text goes in: ``nft -j`` takes some maps silently for sets, and crashes on the next rule that
uses them. Nothing is read back, and nothing outside the own table is ever named. The rules never
change; networks are elements of sets, published ports elements of maps:

- ``tcp_any``/``udp_any``: port of every local address -> guest's address and port;
- ``tcp_one``/``udp_one``: one local address and port -> guest's address and port.

See nft(8) and ``docs/explanation/networks.md``, which says what each chain is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface

from wirt.linux import spawn
from wirt.model.network import PortMap
from wirt.privileged.protocol import BridgePlan

NAMES_PORT = 20053
"""Where names are answered on a bridge's address. Guests ask at port 53 and are led here, so that
neither a resolver of the host nor a guest that publishes port 53 is in the way."""

_SECONDS = 30.0

_CHAINS = """\
	chain guard {
		type filter hook prerouting priority raw; policy accept;
		iifname @bridges ip daddr 127.0.0.0/8 drop
		iifname @bridges ip saddr 127.0.0.0/8 drop
	}
	chain publish {
		dnat ip to ip daddr . tcp dport map @tcp_one
		dnat ip to tcp dport map @tcp_any
		dnat ip to ip daddr . udp dport map @udp_one
		dnat ip to udp dport map @udp_any
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname . ip daddr @home udp dport 53 redirect to :$names
		iifname . ip daddr @home tcp dport 53 redirect to :$names
		fib daddr type local jump publish
	}
	chain local {
		type nat hook output priority -100; policy accept;
		fib daddr type local jump publish
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname @bridges ip saddr 127.0.0.0/8 masquerade
		ct status dnat oifname . ip saddr @subnets masquerade
		ip saddr @outward oifname != @bridges oifname != "lo" masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname . oifname @same accept
		iifname @internal reject with icmpx type admin-prohibited
		oifname @internal drop
		ct state established,related accept
		oifname @bridges ct status dnat accept
		iifname @bridges oifname @bridges reject with icmpx type admin-prohibited
		oifname @bridges drop
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname @internal iifname . ip daddr != @home drop
		iifname @bridges meta nfproto ipv6 drop
		iifname != "lo" ip daddr @gateways iifname . ip daddr != @home drop
	}
	chain output {
		type filter hook output priority filter; policy accept;
		oifname @bridges icmp type redirect drop
	}
"""


def ruleset(table: str, bridges: Sequence[BridgePlan], elements: Iterable[str] = ()) -> str:
    """The text that puts the whole table in place, in one transaction, whatever was there."""
    homes = [(b.bridge, IPv4Interface(b.address)) for b in bridges]
    outward = [IPv4Interface(b.address).network for b in bridges if not b.internal]
    lines = [
        f"define names = {NAMES_PORT}",
        f"table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        _set("bridges", "ifname", [_quoted(b.bridge) for b in bridges]),
        _set("internal", "ifname", [_quoted(b.bridge) for b in bridges if b.internal]),
        _set("same", "ifname . ifname", [f"{_quoted(n)} . {_quoted(n)}" for n, _ in homes]),
        _set("home", "ifname . ipv4_addr", [f"{_quoted(n)} . {home.ip}" for n, home in homes]),
        _set("gateways", "ipv4_addr", [str(home.ip) for _, home in homes]),
        _set("outward", "ipv4_addr", [str(network) for network in outward], interval=True),
        _set(
            "subnets",
            "ifname . ipv4_addr",
            [f"{_quoted(n)} . {home.network}" for n, home in homes],
            interval=True,
        ),
    ]
    for protocol in ("tcp", "udp"):
        lines.append(f"\tmap {protocol}_any {{ type inet_service : ipv4_addr . inet_service; }}")
        lines.append(
            f"\tmap {protocol}_one {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}"
        )
    return "\n".join([*lines, _CHAINS + "}", *elements, ""])


def add(table: str, address: str, ports: Iterable[PortMap]) -> list[str]:
    """The lines that publish ``ports`` of the guest at ``address``.

    Adding what is there already is no error to nft; a key that leads elsewhere is.
    """
    return [f"add element inet {table} {_element(address, port)}" for port in ports]


def delete(table: str, address: str, ports: Iterable[PortMap]) -> list[str]:
    """The lines that take ``ports`` away again, whether or not they are there.

    They fail as a whole, without effect, when a port leads to another guest by now.
    """
    lines = []
    for port in ports:
        element = _element(address, port)
        lines.append(f"add element inet {table} {element}")
        lines.append(f"delete element inet {table} {element}")
    return lines


def run(text: str) -> None:
    """Have nft carry out one transaction. Raises
    :class:`~wirt.linux.spawn.CommandFailed`, then nothing of it was done."""
    if text:
        spawn.run_sync(["nft", "-f", "-"], stdin=text.encode(), timeout=_SECONDS)


def drop(table: str) -> None:
    """Remove the table with all it holds. Idempotent."""
    run(f"table inet {table}\ndelete table inet {table}\n")


def _set(name: str, kind: str, elements: Sequence[str], *, interval: bool = False) -> str:
    flags = " flags interval;" if interval else ""
    values = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"\tset {name} {{ type {kind};{flags}{values} }}"


def _element(address: str, port: PortMap) -> str:
    target = f"{address} . {port.guest_port}"
    if port.host_ip in {"", "0.0.0.0"}:  # noqa: S104 - the user's word for every address
        return f"{port.protocol}_any {{ {port.host_port} : {target} }}"
    return f"{port.protocol}_one {{ {port.host_ip} . {port.host_port} : {target} }}"


def _quoted(interface: str) -> str:
    return f'"{interface}"'
