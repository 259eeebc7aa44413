"""One verb over several names: each is tried, each failure told; the first is the exit code."""

from __future__ import annotations

from wirt.cli.flags import Flag
from wirt.cli.output import out
from wirt.client.wire import quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wirt.cli.flags import Call

    Query = Sequence[tuple[str, str | int | bool | None]]


TIME = Flag(
    "time",
    "t",
    kind="int",
    value="SECONDS",
    help="Seconds from the signal to the kill; -1 waits for ever",
)
"""How long ``stop`` and ``restart`` ask before they kill."""


def each(call: Call, work: Callable[[str], object], *, echo: bool = True) -> int:
    """Do ``work`` with every argument; print those that went well."""
    result = 0
    for name in call.args:
        try:
            work(name)
        except Exception as error:  # noqa: BLE001 - judged by failed()
            code = failed(call, error)  # told, whatever failed before
            result = result or code
        else:
            if echo:
                out(f"{name}\n")
    return result


def tell_each(call: Call, verb: str, query: Query = ()) -> int:
    """``POST /v1/guests/NAME/verb`` for every guest named."""
    return each(
        call,
        lambda name: call.daemon.call("POST", target(f"/v1/guests/{quote(name)}/{verb}", query)),
    )


def failed(call: Call, error: Exception) -> int:
    """Tell a WirtError and return its exit code; anything else goes on up."""
    from wirt.cli.app import complain
    from wirt.cli.exit import code
    from wirt.errors import Kind, WirtError

    if not isinstance(error, WirtError) or error.kind is Kind.UNAVAILABLE:
        raise error
    complain(error, call.daemon.path)
    return code(error, call.command.own_code)
