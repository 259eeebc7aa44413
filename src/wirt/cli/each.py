"""One verb over several names: each is tried, each failure told; the first is the exit code."""

from __future__ import annotations

from wirt.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wirt.cli.flags import Call


def each(call: Call, work: Callable[[str], object], *, echo: bool = True) -> int:
    """Do ``work`` with every argument; print those that went well."""
    result = 0
    for name in call.args:
        try:
            work(name)
        except Exception as error:  # noqa: BLE001 - judged by failed()
            result = result or failed(call, error)
        else:
            if echo:
                out(f"{name}\n")
    return result


def failed(call: Call, error: Exception) -> int:
    """Tell a WirtError and return its exit code; anything else goes on up."""
    from wirt.cli.app import complain
    from wirt.cli.exit import code
    from wirt.errors import Kind, WirtError

    if not isinstance(error, WirtError) or error.kind is Kind.UNAVAILABLE:
        raise error
    complain(error, call.daemon.path)
    return code(error, call.command.own_code)
