"""``wirt port``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, misuse
from wirt.cli.output import out
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(call: Call) -> int:
    """Show which host ports lead to a guest's."""
    guest, *wanted = call.args
    maps = call.daemon.call("GET", f"/v1/guests/{quote(guest)}/port")
    if not wanted:
        out("".join(f"{inside(one)} -> {outside(one)}\n" for one in maps))
        return 0
    number, _, protocol = wanted[0].partition("/")
    if not (number.isascii() and number.isdigit()):
        raise misuse(f"invalid port {wanted[0]!r}", hint="write a guest's port, as 80 or 53/udp")
    found = [one for one in maps if inside(one) == f"{number}/{protocol or 'tcp'}"]
    if not found:
        from wirt.errors import NotFound

        raise NotFound(
            f"port {number}/{protocol or 'tcp'} of {guest} is not published",
            hint=f"see 'wirt port {guest}'",
        )
    out("".join(f"{outside(one)}\n" for one in found))
    return 0


def inside(one: dict[str, Any]) -> str:
    """``80/tcp``."""
    return f"{one['guest_port']}/{one.get('protocol') or 'tcp'}"


def outside(one: dict[str, Any]) -> str:
    """``0.0.0.0:8080``."""
    address = one.get("host_ip") or "0.0.0.0"  # noqa: S104 - shown, not bound
    return f"{f'[{address}]' if ':' in address else address}:{one.get('host_port', 0)}"


COMMAND = Command(
    "port",
    summary="Show which host ports lead to a guest's",
    arguments="GUEST [PORT[/PROTOCOL]]",
    takes=(1, 2),
    run=run,
)
