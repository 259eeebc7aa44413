"""``wirt events``."""

from __future__ import annotations

import time

from wirt.cli.flags import Call, Command, Flag, moment
from wirt.cli.output import harmless, out, visible, warn
from wirt.cli.view.human import rfc3339
from wirt.cli.view.table import FILTER, FORMAT, query_filters
from wirt.client.daemon import unreachable
from wirt.client.fastjson import decode, encode
from wirt.client.wire import Lost, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(call: Call) -> int:
    """Show what happens, until the time of ``--until`` or for ever."""
    wanted = call.text("format")
    template = None
    if wanted not in {"", "json"}:
        from wirt.cli.view.template import Template

        template = Template(wanted)
    until = moment(call, "until")
    query: list[tuple[str, str | int | bool | None]] = [
        ("since", moment(call, "since")),
        ("until", until),
        ("follow", until is None or until > time.time_ns()),
        *query_filters(call),
    ]
    answer = call.daemon.request("GET", target("/v1/events", query))
    lines = answer.lines()
    while True:
        try:
            line = next(lines, None)
        except (OSError, Lost) as error:
            raise unreachable(call.daemon.path, error) from error
        if line is None:
            return 0
        event = decode(line)
        if "lagged" in event:
            warn(f"{event['lagged']} events were lost: this reader was too slow")
        elif template is not None:
            out(template.render(row(event)) + "\n")
        else:
            out(visible(encode(event).decode()) + "\n" if wanted else f"{one_line(event)}\n")


def one_line(event: dict[str, Any]) -> str:
    """Docker's form: time, type, action, subject, attributes."""
    attributes = event.get("attributes") or {}
    told = ", ".join(f"{name}={value}" for name, value in sorted(attributes.items()))
    words = [rfc3339(event["time"]), event["type"], event["action"], event["subject"]]
    return harmless(" ".join(words) + (f" ({told})" if told else ""))


def row(event: dict[str, Any]) -> dict[str, object]:
    """An event as the fields that templates may use: ours, and docker's ``Actor`` and ``ID``."""
    attributes = event.get("attributes") or {}
    return {
        **event,
        "ID": event["subject"],
        "Status": event["action"],
        "From": attributes.get("image", ""),
        "Actor": {"ID": event["subject"], "Attributes": attributes},
        "TimeNano": event["time"],
    }


COMMAND = Command(
    "events",
    summary="Show what happens",
    flags=(
        FILTER,
        FORMAT,
        Flag("since", value="TIME", help="Begin with what happened since: 10m, a date, or seconds"),
        Flag("until", value="TIME", help="End at this time"),
    ),
    run=run,
)
