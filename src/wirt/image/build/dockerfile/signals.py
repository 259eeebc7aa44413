"""The names and numbers that STOPSIGNAL may have (signal(7), on Linux)."""

from __future__ import annotations

import re
import signal

from wirt.image.build.dockerfile.problem import Wrong, show, suggest

_NAMES = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
_FIRST, _LAST = 34, 64


def number(text: str) -> int:
    """The number of ``SIGTERM``, ``term``, ``15`` or ``SIGRTMIN+1``. Raises Wrong."""
    plain = text.strip().upper().removeprefix("SIG")
    found = 0
    if re.fullmatch(r"[0-9]{1,3}", plain):
        found = int(plain)
    elif match := re.fullmatch(r"RTMIN\+([0-9]{1,2})", plain):
        found = _FIRST + int(match[1])
    elif match := re.fullmatch(r"RTMAX-([0-9]{1,2})", plain):
        found = _LAST - int(match[1])
    elif plain in _NAMES:
        found = _NAMES[plain]
    if not 1 <= found <= _LAST:
        near = suggest(plain, _NAMES)
        raise Wrong(
            f"there is no signal {show(text)}",
            word=text,
            hint=f"did you mean SIG{near}?" if near else "write a name (SIGTERM) or 1 to 64",
        )
    return found
