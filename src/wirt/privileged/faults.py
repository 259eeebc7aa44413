"""Named points at which tests end the helper or the daemon as a power cut would.

``WIRT_FAULT=<step>`` kills whoever reaches the step, and a helper along with its child;
``WIRT_FAULT=child:<step>`` only the child. ``WIRT_FAULT_FILE=<path>``: the step is read from that
file, which is emptied before the kill, so that what is started again passes. With neither set,
which is always but in tests, this does nothing.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "WIRT_FAULT"
FILE = "WIRT_FAULT_FILE"


def fault(step: str) -> None:
    """Reach a step such as ``launch.overlay``."""
    wanted = os.environ.get(VARIABLE) or _ordered()
    if wanted is None or wanted.removeprefix("child:") != step:
        return
    if FILE in os.environ:
        Path(os.environ[FILE]).write_text("", "utf-8")
    helper = os.environ.get(f"{VARIABLE}_HELPER")
    if not wanted.startswith("child:") and helper is not None:
        os.kill(int(helper), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _ordered() -> str | None:
    """The step that the file names, or None."""
    path = os.environ.get(FILE)
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").strip() or None
    except OSError:
        return None


def arm() -> None:
    """Called once by the helper, so that its children know whom to take along."""
    if VARIABLE in os.environ or FILE in os.environ:
        os.environ[f"{VARIABLE}_HELPER"] = str(os.getpid())
