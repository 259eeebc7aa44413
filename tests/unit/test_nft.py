"""The text given to nft: the whole table, golden, and the elements of published ports."""

from __future__ import annotations

from pathlib import Path

from wirt.model.network import PortMap
from wirt.privileged import nft
from wirt.privileged.protocol import BridgePlan

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "table.nft"
BRIDGES = (
    BridgePlan(bridge="wirt0", address="10.210.0.1/22"),
    BridgePlan(bridge="wirt-1", address="10.210.4.1/24", internal=True),
    BridgePlan(bridge="wirt-2", address="10.210.5.254/24", mtu=1400),
)
PORTS = (
    PortMap(guest_port=80, host_port=8080),
    PortMap(guest_port=80, host_port=8080, host_ip="0.0.0.0", protocol="udp"),
    PortMap(guest_port=443, host_port=8443, host_ip="127.0.0.1"),
)


def test_the_whole_table() -> None:
    text = nft.ruleset("wirt", BRIDGES, nft.add("wirt", "10.210.0.2", PORTS))
    assert text == GOLDEN.read_text()


def test_only_the_own_table_is_named() -> None:
    text = nft.ruleset("wt1", BRIDGES, nft.add("wt1", "10.210.0.2", PORTS))
    text += "\n".join(nft.delete("wt1", "10.210.0.2", PORTS))
    named = [line.split() for line in text.splitlines() if " inet " in line or "table" in line]
    assert {words[words.index("inet") + 1] for words in named} == {"wt1"}
    assert "flush" not in text


def test_a_table_without_networks_has_no_empty_element_lists() -> None:
    assert "elements" not in nft.ruleset("wirt", ())


def test_elements_are_added_before_they_are_deleted() -> None:
    """So that deleting what is not there is no error, and deleting what is another's is one."""
    first, second = nft.delete("wirt", "10.210.0.2", PORTS[:1])
    assert first == "add element inet wirt tcp_any { 8080 : 10.210.0.2 . 80 }"
    assert second == "delete element inet wirt tcp_any { 8080 : 10.210.0.2 . 80 }"
