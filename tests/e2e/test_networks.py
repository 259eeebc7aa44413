"""Networks, names and ports as their user sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import instance as local
from live import Live
from needs import needs
from waiting import until

SERVE = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
GET = ("wget", "-qO-")


@contextmanager
def made(live: Live, *words: str) -> Iterator[str]:
    """A network that is there meanwhile."""
    live.wirt("network", "create", *words)
    try:
        yield words[-1]
    finally:
        live.wirt("network", "rm", words[-1])


@contextmanager
def served(live: Live, name: str, *words: str) -> Iterator[str]:
    """A guest that serves its own host name over HTTP; its id."""
    guest = live.wirt("run", "-d", "--name", name, *words, *SERVE).stdout.strip()
    try:
        # it was started: that it listens already is another matter
        local_page = (*GET, "http://127.0.0.1/hostname")
        until(lambda: live.wirt("exec", name, *local_page, code=None).returncode == 0, name)
        yield guest
    finally:
        live.wirt("rm", "-f", name)


def fetch(live: Live, url: str) -> subprocess.CompletedProcess[str]:
    """What a program on the host gets."""
    return live.inside("busybox", *GET, url)


def come_back(live: Live) -> None:
    until(lambda: local.answers(live.instance), "the daemon is back")


def run(live: Live, *words: str, code: int | None = 0) -> str:
    return live.wirt("run", "--rm", *words, code=code).stdout


def address(live: Live, guest: str, network: str) -> str:
    found = live.ask("GET", f"/v1/networks/{network}")[1]["endpoints"]
    return next(str(place["address"]) for place in found if place["guest"] == guest)


def test_guests_of_one_network_know_each_other_by_name(shared_instance: Live) -> None:
    live = shared_instance
    with made(live, "web"), served(live, "db", "--network", "web", "--network-alias", "pg") as db:
        for name in ("db", "pg", "DB.web", db[:12]):
            page = run(live, "--network", "web", "busybox", *GET, f"http://{name}/hostname")
            assert page == f"{db[:12]}\n"
        found = run(live, "--network", "web", "busybox", "nslookup", "pg")
        assert f"Address: {address(live, db, 'web')}" in found


def test_guests_of_other_networks_do_not(shared_instance: Live) -> None:
    live = shared_instance
    with made(live, "web"), served(live, "db", "--network", "web") as db:
        run(live, "busybox", *GET, "http://db/hostname", code=1)
        run(live, "busybox", *GET, f"http://{address(live, db, 'web')}/hostname", code=1)


def test_an_internal_network_has_no_way_out(shared_instance: Live) -> None:
    live = shared_instance
    with made(live, "--internal", "inside"), served(live, "db", "--network", "inside") as db:
        page = run(live, "--network", "inside", "busybox", *GET, "http://db/hostname")
        assert page == f"{db[:12]}\n"
        routes = run(live, "--network", "inside", "busybox", "ip", "route")
        assert "default" not in routes
        refused = live.wirt("run", "--network", "inside", "-p", "80:80", "busybox", code=125)
        assert "internal networks only" in refused.stderr


def test_published_ports(shared_instance: Live) -> None:
    live = shared_instance
    ports = ("-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "9000-9001:9000-9001/udp")
    with served(live, "web", *ports) as web:
        assert live.wirt("port", "web").stdout.splitlines() == [
            "80/tcp -> 0.0.0.0:8080",
            "80/tcp -> 127.0.0.1:8081",
            "9000/udp -> 0.0.0.0:9000",
            "9001/udp -> 0.0.0.0:9001",
        ]
        for place in ("127.0.0.1:8080", "127.0.0.1:8081", "10.210.0.1:8080"):
            page = fetch(live, f"http://{place}/hostname")
            assert page.stdout == f"{web[:12]}\n", place
        itself = live.wirt("exec", "web", *GET, "http://host.wirt.internal:8080/hostname")
        assert itself.stdout == f"{web[:12]}\n"
        neighbour = run(live, "busybox", *GET, "http://host.wirt.internal:8080/hostname")
        assert neighbour == f"{web[:12]}\n"
        run(live, "busybox", *GET, "http://host.wirt.internal:8081/hostname", code=1)
        taken = live.wirt("run", "--rm", "-p", "8080:80", "busybox", "true", code=125)
        assert "host port 8080/tcp is in use" in taken.stderr
        assert web[:12] in taken.stderr
    assert fetch(live, "http://127.0.0.1:8080/").returncode == 1


def test_ports_survive_the_death_of_helper_and_daemon(shared_instance: Live) -> None:
    live = shared_instance
    with served(live, "web", "-p", "8080:80") as web:
        for role in (local.HELPER, local.DAEMON):
            live.kill(role)
            page = fetch(live, "http://127.0.0.1:8080/hostname")
            assert page.stdout == f"{web[:12]}\n", "nobody is needed for it"
            come_back(live)
        assert live.wirt("port", "web").stdout == "80/tcp -> 0.0.0.0:8080\n"
        assert run(live, "busybox", *GET, "http://web/hostname") == f"{web[:12]}\n"


def test_rules_that_somebody_flushes_come_back_by_themselves(shared_instance: Live) -> None:
    live = shared_instance
    with served(live, "web", "-p", "8080:80") as web:
        # in between the port's holder may take the call, who never answers
        words = ("timeout", "2", "busybox", *GET, "http://127.0.0.1:8080/hostname")
        for _ in range(2):
            assert live.inside("nft", "flush", "ruleset").returncode == 0
            until(lambda: live.inside(*words).stdout != "", "the port is back")
        page = run(live, "busybox", *GET, "http://web/hostname")
        assert page == f"{web[:12]}\n"
        told = live.log().count("was changed by somebody else: put back")
        assert 1 <= told <= 2, "and nobody undoes what he has done himself"


def test_a_running_guest_is_connected_and_disconnected(shared_instance: Live) -> None:
    live = shared_instance
    with made(live, "web"), made(live, "back"), served(live, "db", "--network", "web") as db:
        live.wirt("network", "connect", "--alias", "pg", "back", "db")
        page = run(live, "--network", "back", "busybox", *GET, "http://pg/hostname")
        assert page == f"{db[:12]}\n"
        hosts = live.wirt("exec", "db", "cat", "/etc/hosts").stdout
        assert f"{address(live, db, 'back')}\t{db[:12]}\n" in hosts
        live.wirt("network", "disconnect", "web", "db")
        routes = live.wirt("exec", "db", "ip", "route").stdout
        assert "default via" in routes, "the other network is the way out now"
        assert "eth0" not in routes
        refused = live.wirt("network", "rm", "back", code=None)
        assert refused.returncode != 0
        assert "used by db" in refused.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--network", "nope"), "no such network: nope"),
        (("--network", "host", "-p", "80:80"), "ports cannot be published"),
        (("-p", "[::1]:80:80"), "IPv4"),
        (("-p", "192.0.2.77:80:80"), "does not have the address 192.0.2.77"),
        (("--ip", "10.99.0.1"), "10.99.0.1"),
        (("--add-host", "x:nowhere"), "'nowhere'"),
        (("--dns", "resolver"), "'resolver'"),
    ],
)
def test_impossible_wishes_leave_no_guest(
    shared_instance: Live, words: tuple[str, ...], text: str
) -> None:
    done = shared_instance.wirt("run", "--rm", *words, "busybox", "true", code=125)
    assert text in done.stderr
    assert shared_instance.wirt("ps", "-aq").stdout == ""


@needs("qemu", "agent", "guest-kernel")
def test_a_machine_is_a_guest_like_any_other(shared_instance: Live) -> None:
    live = shared_instance
    machine = ("--as", "microvm", "--network", "web", "-p", "8080:80")
    with (
        made(live, "web"),
        served(live, "db", "--network", "web") as db,
        served(live, "vm", *machine) as vm,
    ):
        assert live.wirt("exec", "vm", *GET, "http://db/hostname").stdout == f"{db[:12]}\n"
        assert live.wirt("exec", "db", *GET, "http://vm/hostname").stdout == f"{vm[:12]}\n"
        page = fetch(live, "http://127.0.0.1:8080/hostname")
        assert page.stdout == f"{vm[:12]}\n"
        itself = live.wirt("exec", "vm", *GET, "http://host.wirt.internal:8080/hostname")
        assert itself.stdout == f"{vm[:12]}\n"
        refused = live.wirt("network", "connect", "bridge", "vm", code=7)
        assert "wirt stop vm" in refused.stderr


def test_modes_without_a_network_of_their_own(shared_instance: Live) -> None:
    live = shared_instance
    links = run(live, "--network", "none", "busybox", "ls", "/sys/class/net")
    assert links.split() == ["lo"]
    with served(live, "web") as web:
        page = run(live, "--network", "container:web", "busybox", *GET, "http://127.0.0.1/hostname")
        assert page == f"{web[:12]}\n"
    assert "wt" in run(live, "--network", "host", "busybox", "ip", "link"), "the host's bridges"
