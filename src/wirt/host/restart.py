"""Whether and when an ended guest is started again. Pure.

Docker's schedule: 100 ms, doubled each time up to one minute, begun anew after a run of ten
seconds or more.
"""

from __future__ import annotations

from wirt.engine.protocol import Exit
from wirt.model.guest import Guest, RestartName

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
GOOD_RUN_NS = 10 * 10**9


def wants_restart(guest: Guest, exit_code: int) -> bool:
    """Whether the policy asks for another start after this exit code."""
    policy = guest.spec.restart
    if guest.status.stopped_by_user or policy.name is RestartName.NO:
        return False
    if policy.name is RestartName.ON_FAILURE:
        tries_left = (
            policy.maximum_retries == 0 or guest.status.restart_count < policy.maximum_retries
        )
        return exit_code != 0 and tries_left
    return True


def next_delay(guest: Guest, ending: Exit) -> float | None:
    """Seconds to wait before the next start, or None when the guest stays down."""
    if not wants_restart(guest, ending.code):
        return None
    if ending.time - guest.status.started_at >= GOOD_RUN_NS:
        return FIRST_DELAY
    doublings = min(guest.status.restart_count, 20)
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0**doublings)


def wanted_at_boot(guest: Guest) -> bool:
    """Whether a guest found down when the daemon starts is to be started."""
    name = guest.spec.restart.name
    if name is RestartName.ALWAYS:
        return guest.status.started_at > 0
    return (
        name is RestartName.UNLESS_STOPPED
        and guest.status.started_at > 0
        and not guest.status.stopped_by_user
    )
