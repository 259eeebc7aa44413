"""Named points at which tests end the helper as a power cut would.

``WIRT_FAULT=<step>`` kills the helper and the child that reached the step;
``WIRT_FAULT=child:<step>`` only the child. Unset, which it is but in tests, this does nothing.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "WIRT_FAULT"


def fault(step: str) -> None:
    """Reach a step such as ``launch.overlay``."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None or wanted.removeprefix("child:") != step:
        return
    helper = os.environ.get(f"{VARIABLE}_HELPER")
    if not wanted.startswith("child:") and helper is not None:
        os.kill(int(helper), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def arm() -> None:
    """Called once by the helper, so that its children know whom to take along."""
    if VARIABLE in os.environ:
        os.environ[f"{VARIABLE}_HELPER"] = str(os.getpid())
