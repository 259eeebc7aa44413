"""Reading what a cgroup uses, without rights: everything here is world-readable."""

from __future__ import annotations

import time
from pathlib import Path

from wirt.linux.cgroup import Cgroups, Mode, flat, read_file
from wirt.model.resources import Usage

_NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of the page size."""


def read(cgroups: Cgroups, path: str) -> Usage:
    """The usage of group ``path``; unknown figures are None (all of them when it is gone)."""
    figures = _v2(cgroups, path) if cgroups.mode is Mode.V2 else _v1(cgroups, path)
    return Usage(read_at=time.time_ns(), **{k: v for k, v in figures.items() if v is not None})


def _v2(cgroups: Cgroups, path: str) -> dict[str, int | None]:
    assert cgroups.v2 is not None
    group = cgroups.v2 / path.lstrip("/")
    cpu = flat(read_file(group / "cpu.stat"))
    memory = flat(read_file(group / "memory.stat"))
    blocks = _io_stat(group / "io.stat")
    return {
        "cpu_ns": _scaled(cpu.get("usage_usec"), 1000),
        "cpu_user_ns": _scaled(cpu.get("user_usec"), 1000),
        "cpu_system_ns": _scaled(cpu.get("system_usec"), 1000),
        "cpu_throttled_ns": _scaled(cpu.get("throttled_usec"), 1000),
        "memory": _number(group / "memory.current"),
        "memory_cache": memory.get("file"),
        "memory_limit": _number(group / "memory.max"),
        "memory_peak": _number(group / "memory.peak"),
        "swap": _number(group / "memory.swap.current"),
        "pids": _number(group / "pids.current"),
        "block_read": blocks[0],
        "block_written": blocks[1],
    }


def _v1(cgroups: Cgroups, path: str) -> dict[str, int | None]:
    nowhere = Path("/nonexistent")
    cpuacct = cgroups.directory("cpuacct", path) or nowhere
    cpu = cgroups.directory("cpu", path) or nowhere
    memory = cgroups.directory("memory", path) or nowhere
    pids = cgroups.directory("pids", path) or nowhere
    blkio = cgroups.directory("blkio", path) or nowhere
    blocks = service_bytes(read_file(blkio / "blkio.throttle.io_service_bytes"))
    limit = _number(memory / "memory.limit_in_bytes")
    stat = flat(read_file(memory / "memory.stat"))
    return {
        "cpu_ns": _number(cpuacct / "cpuacct.usage"),
        "cpu_user_ns": _number(cpuacct / "cpuacct.usage_user"),
        "cpu_system_ns": _number(cpuacct / "cpuacct.usage_sys"),
        "cpu_throttled_ns": flat(read_file(cpu / "cpu.stat")).get("throttled_time"),
        "memory": _number(memory / "memory.usage_in_bytes"),
        "memory_cache": stat.get("total_cache"),
        "swap": stat.get("total_swap"),
        "memory_limit": None if limit is None or limit >= _NO_LIMIT else limit,
        "memory_peak": _number(memory / "memory.max_usage_in_bytes"),
        "pids": _number(pids / "pids.current"),
        "block_read": blocks[0],
        "block_written": blocks[1],
    }


def _number(path: Path) -> int | None:
    text = read_file(path).strip()
    return int(text) if text.isdecimal() else None


def _scaled(value: int | None, factor: int) -> int | None:
    return None if value is None else value * factor


def _io_stat(file: Path) -> tuple[int | None, int | None]:
    """Sums over all devices of lines ``8:0 rbytes=1 wbytes=2 ...``; no line means no traffic."""
    text = read_file(file)
    if not text and not file.exists():
        return None, None
    fields = [field.partition("=") for field in text.split() if "=" in field]
    read = sum(int(value) for key, _, value in fields if key == "rbytes")
    return read, sum(int(value) for key, _, value in fields if key == "wbytes")


def service_bytes(text: str) -> tuple[int | None, int | None]:
    """Sums over all devices of lines ``8:0 Read 4096``."""
    if not text:
        return None, None
    rows = [line.split() for line in text.splitlines()]
    read = sum(int(r[2]) for r in rows if len(r) == 3 and r[1] == "Read")
    return read, sum(int(r[2]) for r in rows if len(r) == 3 and r[1] == "Write")
