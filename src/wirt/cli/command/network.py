"""``wirt network ...``."""

from __future__ import annotations

from wirt.cli.confirm import FORCE, confirmed
from wirt.cli.each import each
from wirt.cli.filters import has_id, has_label, has_name, select
from wirt.cli.flags import Call, Command, Flag, Group
from wirt.cli.output import out
from wirt.cli.spec import pairs
from wirt.cli.view import human
from wirt.cli.view.objects import FORMAT as OBJECT_FORMAT
from wirt.cli.view.objects import inspect
from wirt.cli.view.table import FILTER, FORMAT, NO_TRUNC, QUIET, show, text
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("NETWORK ID", "ID"),
    ("NAME", "Name"),
    ("DRIVER", "Driver"),
    ("SUBNET", "Subnet"),
    ("GATEWAY", "Gateway"),
    ("INTERNAL", "Internal"),
)
TESTS = {"id": has_id, "label": has_label, "name": has_name}


def _where(name: str, verb: str = "") -> str:
    return f"/v1/networks/{quote(name)}{verb}"


def create(call: Call) -> int:
    """Make a network and print its id."""
    body: dict[str, Any] = {"name": call.args[0]}
    for flag in ("subnet", "gateway"):
        if call.text(flag):
            body[flag] = call.text(flag)
    if call.on("internal"):
        body["internal"] = True
    if call.given("mtu"):
        body["mtu"] = call.number("mtu")
    for flag, name in (("label", "labels"), ("opt", "options")):
        if call.many(flag):
            body[name] = pairs(call.many(flag), f"--{flag}")
    out(f"{call.daemon.call('POST', '/v1/networks', body)['id']}\n")
    return 0


def ls(call: Call) -> int:
    """List networks."""
    networks = select(call.daemon.call("GET", "/v1/networks"), call.many("filter"), TESTS)
    networks.sort(key=lambda one: str(one["name"]))
    cut = not call.on("no-trunc")
    show(call, [row(one, cut=cut) for one in networks], columns=COLUMNS, identity="ID")
    return 0


def row(network: dict[str, Any], *, cut: bool) -> dict[str, object]:
    """A network as the fields that templates may use, named as docker's."""
    labels = network.get("labels") or {}
    return {
        "ID": human.short(network["id"]) if cut else network["id"],
        "Name": network["name"],
        "Driver": "bridge",
        "Scope": "local",
        "Subnet": network.get("subnet", ""),
        "Gateway": network.get("gateway", ""),
        "Bridge": network.get("bridge", ""),
        "Internal": "true" if network.get("internal") else "false",
        "Labels": text(labels),
        "CreatedAt": human.timestamp(network.get("created_at", 0)),
        "label": labels,
    }


def rm(call: Call) -> int:
    """Remove networks."""
    return each(call, lambda name: call.daemon.call("DELETE", _where(name)))


def show_all(call: Call) -> int:
    """Show everything about networks."""
    return inspect(call, lambda name: call.daemon.call("GET", _where(name)))


def connect(call: Call) -> int:
    """Join a guest to a network."""
    network, guest = call.args
    body: dict[str, Any] = {"guest": guest}
    if call.many("alias"):
        body["aliases"] = call.many("alias")
    if call.text("ip"):
        body["address"] = call.text("ip")
    call.daemon.call("POST", _where(network, "/connect"), body)
    return 0


def disconnect(call: Call) -> int:
    """Take a guest off a network."""
    network, guest = call.args
    body = {"guest": guest, **({"force": True} if call.on("force") else {})}
    call.daemon.call("POST", _where(network, "/disconnect"), body)
    return 0


def prune(call: Call) -> int:
    """Remove networks that no guest uses."""
    if confirmed(call, "Remove every network of yours that no guest uses?"):
        for name in call.daemon.call("POST", "/v1/networks/prune")["removed"]:
            out(f"{name}\n")
    return 0


COMMAND = Group(
    "network",
    summary="Networks",
    verbs={
        "connect": Command(
            "network connect",
            summary="Join a guest to a network",
            arguments="NETWORK GUEST",
            takes=(2, 2),
            flags=(
                Flag("alias", kind="list", value="NAME", help="Further name of the guest there"),
                Flag("ip", value="IP", help="Fixed IPv4 address"),
            ),
            run=connect,
        ),
        "create": Command(
            "network create",
            summary="Make a network",
            arguments="NAME",
            takes=(1, 1),
            flags=(
                Flag("driver", "d", choices=("bridge",), value="DRIVER", help="It is bridge"),
                Flag("gateway", value="IP", help="The host's address on it"),
                Flag("internal", kind="bool", help="No way out of it"),
                Flag("label", kind="list", value="KEY[=VALUE]", help="Set a label"),
                Flag("mtu", kind="int", value="BYTES", help="Largest packet"),
                Flag("opt", "o", kind="list", value="KEY=VALUE", help="Set an option"),
                Flag("subnet", value="CIDR", help="Its addresses, as 10.9.0.0/24"),
            ),
            run=create,
        ),
        "disconnect": Command(
            "network disconnect",
            summary="Take a guest off a network",
            arguments="NETWORK GUEST",
            takes=(2, 2),
            flags=(Flag("force", "f", kind="bool", help="Also when the guest does not answer"),),
            run=disconnect,
        ),
        "inspect": Command(
            "network inspect",
            summary="Show everything about networks",
            arguments="NETWORK [NETWORK...]",
            takes=(1, None),
            flags=(OBJECT_FORMAT,),
            run=show_all,
        ),
        "ls": Command(
            "network ls",
            summary="List networks",
            flags=(FILTER, FORMAT, NO_TRUNC, QUIET),
            run=ls,
        ),
        "prune": Command(
            "network prune", summary="Remove networks that no guest uses", flags=(FORCE,), run=prune
        ),
        "rm": Command(
            "network rm",
            summary="Remove networks",
            arguments="NETWORK [NETWORK...]",
            takes=(1, None),
            run=rm,
        ),
    },
)
