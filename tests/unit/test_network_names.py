"""Who sees which name."""

from __future__ import annotations

from dataclasses import replace

from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.network import Endpoint
from wirt.network.names import View, names_for, view

WEB, BACK, SECRET = "n-web", "n-back", "n-secret"
UP = GuestStatus(state=GuestState.RUNNING)


def place(network: str, address: str, *names: str) -> Endpoint:
    return Endpoint(
        network_id=network, network=network.removeprefix("n-"), address=address, prefix=24,
        gateway="", mac="", interface="eth0", names=names,
    )  # fmt: skip


def guest(name: str, *places: Endpoint, up: bool = True) -> Guest:
    return Guest(
        id=name * 8, name=name, spec=GuestSpec(image="x"), image_id="", created_at=0,
        endpoints=places, status=UP if up else GuestStatus(),
    )  # fmt: skip


GUESTS = [
    guest("web", place(WEB, "10.0.0.2", "web", "www")),
    guest("api1", place(WEB, "10.0.0.3", "api1", "api"), place(BACK, "10.0.1.3", "api1", "api")),
    guest("api2", place(WEB, "10.0.0.4", "api2", "api")),
    guest("db", place(BACK, "10.0.1.2", "db", "web"), place(SECRET, "10.0.2.2", "db")),
    guest("old", place(WEB, "10.0.0.9", "old"), up=False),
]


def seen(asker: str, network: str = WEB, internal: frozenset[str] = frozenset()) -> View:
    return view(GUESTS, network_id=network, asker=asker, gateway="10.0.0.1", internal=internal)


def test_names_of_the_own_network_resolve() -> None:
    eyes = seen("10.0.0.2")
    assert eyes.addresses("web") == ("10.0.0.2",)
    assert eyes.addresses("api") == ("10.0.0.3", "10.0.0.4"), "a shared alias"
    assert eyes.addresses("www.web") == ("10.0.0.2",), "with the network's name"
    assert eyes.addresses("host.wirt.internal") == ("10.0.0.1",)


def test_names_of_other_networks_do_not() -> None:
    eyes = seen("10.0.0.2")
    assert eyes.addresses("db") is None
    assert eyes.addresses("db.back") is None
    assert eyes.addresses("old") is None, "it does not run"
    assert eyes.name_of("10.0.1.2") is None


def test_a_guest_on_two_networks_sees_both_the_one_it_asks_on_first() -> None:
    eyes = seen("10.0.0.3")
    assert eyes.addresses("db") == ("10.0.1.2",)
    assert eyes.addresses("web") == ("10.0.0.2",)
    assert eyes.addresses("web.back") == ("10.0.1.2",)
    assert seen("10.0.1.3", BACK).addresses("web") == ("10.0.1.2",)
    assert eyes.name_of("10.0.1.2") == "db.back"


def test_a_stranger_sees_only_the_network_it_asks_on() -> None:
    eyes = seen("10.0.0.77")
    assert eyes.addresses("api") == ("10.0.0.3", "10.0.0.4")
    assert eyes.addresses("db") is None


def test_only_those_with_a_way_out_may_ask_outside() -> None:
    assert seen("10.0.0.2").forward
    assert not seen("10.0.2.2", SECRET, frozenset({SECRET, BACK})).forward
    assert seen("10.0.1.2", BACK, frozenset({SECRET})).forward, "by its other network"
    assert seen("10.0.1.3", BACK, frozenset({BACK})).forward


def test_a_guests_own_resolvers_are_told() -> None:
    chosen = replace(GUESTS[0], spec=GuestSpec(image="x", dns=("192.0.2.53",)))
    eyes = view(
        [chosen], network_id=WEB, asker="10.0.0.2", gateway="10.0.0.1", internal=frozenset()
    )
    assert eyes.upstreams == ("192.0.2.53",)


def test_the_names_of_a_guest() -> None:
    names = names_for(
        guest_id="abcdef012345" + "0" * 52,
        name="My_DB",
        hostname="DB.Example.org",
        aliases=("db", "my_db", "with space", "", "x" * 300, "ümlaut", "dot."),
    )
    assert names == ("my_db", "db.example.org", "db", "dot", "abcdef012345")
