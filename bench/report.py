"""The measured table as JSON for programs and as Markdown for people."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Row


def machine() -> dict[str, str]:
    """What the figures were taken on, as far as it matters for reading them."""
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "kernel": platform.release(),
        "processors": str(os.cpu_count()),
        "memory": f"{int(memory) / 1024**2:.0f} GiB",
        "python": platform.python_version(),
    }


def as_json(rows: Sequence[Row], *, loads: Mapping[str, float]) -> str:
    """All samples, so that others can draw their own conclusions."""
    document = {
        "machine": machine(),
        "load": loads,
        "rows": [
            {
                "key": row.key, "title": row.title, "unit": row.unit, "note": row.note,
                "samples": row.samples,
                "median": {peer: row.median(peer) for peer in row.samples},
                "against": row.against, "must": row.must, "aim": row.aim, "verdict": row.verdict(),
            }
            for row in rows
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


def as_markdown(rows: Sequence[Row], *, loads: Mapping[str, float]) -> str:
    """The table of ``docs/reference/benchmarks.md``."""
    facts = machine()
    peers = list(dict.fromkeys(peer for row in rows for peer in row.samples))
    head = ["what", *peers, "ratio", "must", "aim", "reached", "samples"]
    machine_line = (
        f"Linux {facts['kernel']}, {facts['processors']} processors, {facts['memory']}, "
        f"Python {facts['python']}; load {loads['before']:.1f} before, {loads['after']:.1f} after."
    )
    lines = [
        "# Benchmarks",
        "",
        "Medians, with the smallest value in brackets, taken in turn in one run with a pause",
        "before each; smaller is better. Compare along a line only: absolute times belong to",
        "the machine. Written by `make bench PEERS=1`.",
        "",
        machine_line,
        "",
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
    ]
    lines += [_line(row, peers) for row in rows]
    notes = [f"- {row.title}: {row.note}." for row in rows if row.note]
    return "\n".join([*lines, "", *notes, ""])


def _line(row: Row, peers: Sequence[str]) -> str:
    def figure(peer: str) -> str:
        taken = row.samples.get(peer)
        if not taken:
            return ""
        return f"{statistics.median(taken):.3g} ({min(taken):.3g}) {row.unit}"

    theirs, ours = row.median(row.against) if row.against else None, row.median("wirt")
    ratio = f"{ours / theirs:.2f} of {row.against}" if ours and theirs else ""
    limits = [_limit(row, row.must), _limit(row, row.aim)]
    counts = "/".join(str(len(row.samples.get(peer, ()))) for peer in peers)
    cells = [row.title, *map(figure, peers), ratio, *limits, row.verdict(), counts]
    return "| " + " | ".join(cells) + " |"


def _limit(row: Row, value: float) -> str:
    return f"{value:.3g} of {row.against}" if row.against else f"{value:.3g} {row.unit}"
