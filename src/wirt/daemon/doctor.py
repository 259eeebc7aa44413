"""``python -m wirt.daemon.doctor [--json]``: look at this host; needs neither root nor the daemon.

Ends with 0 when every kind of guest can run here, else with 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from pathlib import Path

from wirt.host.doctor import Doctor
from wirt.host.symptoms import Report
from wirt.layout import Layout

_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def main(arguments: list[str] | None = None) -> int:
    """Print the report; returns the exit code."""
    logging.getLogger("wirt").setLevel(logging.ERROR)  # the report says it all
    given = _parse(arguments)
    layout = Layout(name=given.name, state=given.state, run=given.run)
    doctor = Doctor(layout=layout, guest_dir=given.guest_dir, native=given.native)
    report = doctor.report()
    if given.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    else:
        sys.stdout.write(show(report))
    return int(any(verdict != "works" for verdict in report.kinds.values()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    run = _run_directory()
    built = _built()
    parser = argparse.ArgumentParser(
        prog="wirt doctor", description="What this host can do for each kind of guest."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--name", default=run.name, help="name of the instance")
    parser.add_argument("--run", type=Path, default=run, help="its directory of running state")
    parser.add_argument("--state", type=Path, help="its directory of lasting state")
    parser.add_argument("--guest-dir", type=Path, default=built / "guest", help="guest kernel")
    parser.add_argument("--native", type=Path, default=built / "native", help="native programs")
    given = parser.parse_args(arguments)
    if given.state is None:
        given.state = Path("/var/lib") / given.name
        checkout = built.parent / ".wirt"
        if not given.state.exists() and checkout.is_dir():
            given.state = checkout
    return given


def _run_directory() -> Path:
    """Where the instance runs that the client would speak to (``WIRT_HOST``)."""
    named = os.environ.get("WIRT_HOST", "").removeprefix("unix://")
    return Path(named).parent if named.startswith("/") else Path("/run/wirt")


def _built() -> Path:
    """``build`` of the checkout or installation that this file belongs to."""
    named = os.environ.get("WIRT_CHECKOUT")
    base = Path(named) if named else Path(__file__).resolve().parents[3]
    installed = Path("/opt/wirt/build")
    here = base.resolve() / "build"
    return here if here.is_dir() or not installed.is_dir() else installed


def show(report: Report) -> str:
    """The report for people."""
    lines = [f"{kind:<10} {verdict}" for kind, verdict in report.kinds.items()]
    lines.append("")
    for finding in report.findings:
        lines.append(f"{_SIGNS[finding.status]} {finding.name}: {finding.message}")
        by_meaning: dict[str, list[str]] = {}
        for kind, meaning in finding.means.items():
            by_meaning.setdefault(meaning, []).append(kind)
        for meaning, kinds in by_meaning.items():
            shown = "no" if meaning == f"no: {finding.message}" else meaning
            lines.append(f"       {', '.join(kinds)}: {shown}")
        if finding.cure and finding.status != "ok":
            lines.append(f"       cure: {finding.cure}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
