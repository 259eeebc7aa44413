"""``wirt stats``: what guests use, as a table that renews itself."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import STDOUT, out
from wirt.cli.view import human
from wirt.cli.view.table import FORMAT, NO_TRUNC, show
from wirt.client.daemon import unreachable
from wirt.client.fastjson import decode
from wirt.client.wire import Lost, quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("GUEST ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)
MORE = (
    ("CPU USER / SYS / GUEST", "CPUSplit"),
    ("CPU DUE / WANTED", "CPUShare"),
    ("MEM DUE / WANTED", "MemShare"),
    ("PRESSURE CPU / MEM / IO", "Pressure"),
    ("SWAP", "Swap"),
    ("STATE", "State"),
)
"""Shown with ``--governor``; templates have them always."""
CLEAR = "\x1b[H\x1b[J"
UNKNOWN = "--"


def run(call: Call) -> int:
    """Show what guests use, again each second unless ``--no-stream``."""
    wanted = {str(call.daemon.call("GET", f"/v1/guests/{quote(n)}")["id"]) for n in call.args}
    if call.on("no-stream"):
        _print(call, call.daemon.call("GET", target("/v1/stats", [("stream", False)])), wanted)
        return 0
    clear = posix.isatty(STDOUT) and not call.given("format")
    lines = call.daemon.request("GET", target("/v1/stats", [("stream", True)])).lines()
    while True:
        try:
            line = next(lines, None)
        except (OSError, Lost) as error:
            raise unreachable(call.daemon.path, error) from error
        if line is None:
            return 0
        if clear:
            out(CLEAR)
        _print(call, decode(line), wanted)


def _print(call: Call, samples: list[dict[str, Any]], wanted: set[str]) -> None:
    cut = not call.on("no-trunc")
    chosen = [one for one in samples if not wanted or one["id"] in wanted]
    chosen.sort(key=lambda one: str(one["name"]))
    columns = COLUMNS + MORE if call.on("governor") else COLUMNS
    show(call, [row(one, cut=cut) for one in chosen], columns=columns, identity="ID")


def row(sample: dict[str, Any], *, cut: bool) -> dict[str, object]:
    """A reading as the fields that templates may use, named as docker's; unknown is ``--``."""
    usage = sample.get("usage") or {}
    memory, limit = usage.get("memory"), usage.get("memory_limit")
    percent = sample.get("cpu_percent")
    return {
        "ID": sample["id"][:12] if cut else sample["id"],
        "Name": sample["name"],
        "Container": sample["name"],
        "CPUPerc": UNKNOWN if percent is None else f"{percent:.2f}%",
        "MemUsage": f"{_binary(memory)} / {_binary(limit)}",
        "Swap": _binary(usage.get("swap")),
        "State": sample.get("state") or UNKNOWN,
        "MemPerc": f"{memory / limit * 100:.2f}%" if memory is not None and limit else UNKNOWN,
        "NetIO": f"{_decimal(usage.get('net_received'))} / {_decimal(usage.get('net_sent'))}",
        "BlockIO": f"{_decimal(usage.get('block_read'))} / {_decimal(usage.get('block_written'))}",
        "PIDs": UNKNOWN if usage.get("pids") is None else str(usage["pids"]),
        **_governed(sample),
    }


def _governed(sample: dict[str, Any]) -> dict[str, object]:
    """Times by mode seen from the host, what the governor gives, and how long the guest waits."""
    split = [_percent(sample.get(f"cpu_{kind}_percent")) for kind in ("user", "system", "guest")]
    shares = sample.get("shares") or {}
    cpu, memory = shares.get("cpu") or {}, shares.get("memory") or {}
    waits = sample.get("pressure") or {}
    pressure = [_percent(waits[k] * 100 if k in waits else None) for k in ("cpu", "memory", "io")]
    return {
        "CPUUser": split[0],
        "CPUSystem": split[1],
        "CPUGuest": split[2],
        "CPUSplit": " / ".join(split),
        "CPUEntitlement": _cores(cpu.get("entitled")),
        "CPUDemand": _cores(cpu.get("demand")),
        "CPUShare": f"{_cores(cpu.get('entitled'))} / {_cores(cpu.get('demand'))}",
        "MemEntitlement": _binary(memory.get("entitled")),
        "MemDemand": _binary(memory.get("demand")),
        "MemShare": f"{_binary(memory.get('entitled'))} / {_binary(memory.get('demand'))}",
        "CPUPressure": pressure[0],
        "MemPressure": pressure[1],
        "IOPressure": pressure[2],
        "Pressure": " / ".join(pressure),
    }


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}%"


def _cores(units: int | None) -> str:
    return UNKNOWN if units is None else f"{units / 1000:.2f}"


def _binary(size: int | None) -> str:
    return UNKNOWN if size is None else human.binary_size(size)


def _decimal(size: int | None) -> str:
    return UNKNOWN if size is None else human.decimal_size(size)


COMMAND = Command(
    "stats",
    summary="Show what guests use",
    arguments="[GUEST...]",
    takes=(0, None),
    flags=(
        FORMAT,
        Flag("governor", kind="bool", help="Also where time goes, what is due and wanted"),
        Flag("no-stream", kind="bool", help="Show one reading only"),
        NO_TRUNC,
    ),
    run=run,
)
