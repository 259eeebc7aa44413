"""Network interfaces of this host by their alias, and what went through them. Needs no rights."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SYS_NET = Path("/sys/class/net")
YOUNG = 10.0
"""Seconds for which an interface may get its alias after it was seen first."""


class Interfaces:
    """Finds the host's interfaces that carry an alias; looks at each interface once, and for some
    seconds again at one that has none.

    The aliases of veths and taps are set right after these are made, and never changed. May be used
    from several threads.
    """

    def __init__(self, *, root: Path = SYS_NET) -> None:
        self._root = root
        self._aliases: dict[str, str] = {}
        self._young: dict[str, float] = {}
        """Those without an alias, until which monotonic time that may be for being new."""
        self._lock = threading.Lock()

    def named(self, alias: str) -> tuple[str, ...]:
        """Names of the interfaces whose alias (IFLA_IFALIAS) this is."""
        present = set(os.listdir(self._root))  # noqa: PTH208 - one call, names only
        with self._lock:
            for gone in self._aliases.keys() - present:
                del self._aliases[gone]
            now = time.monotonic()
            for fresh in present - self._aliases.keys():
                self._young[fresh] = now + YOUNG
            self._young = {n: end for n, end in self._young.items() if n in present and now <= end}
            for name in tuple(self._young):
                self._aliases[name] = self._read(name, "ifalias")
                if self._aliases[name]:
                    del self._young[name]
            return tuple(sorted(name for name, known in self._aliases.items() if known == alias))

    def traffic(self, alias: str) -> tuple[int, int] | None:
        """Bytes received and sent by the interfaces with this alias; None when there are none."""
        names = self.named(alias)
        if not names:
            return None
        received = sum(int(self._read(n, "statistics/rx_bytes") or 0) for n in names)
        sent = sum(int(self._read(n, "statistics/tx_bytes") or 0) for n in names)
        return received, sent

    def _read(self, name: str, what: str) -> str:
        try:
            return (self._root / name / what).read_text().strip()
        except OSError:
            return ""
