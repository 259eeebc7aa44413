"""What people see of a guest: docker's status text, and the row of ``ps``."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.model.guest import Guest, GuestState, HealthStatus
from wirt.model.network import PortMap

SECOND = 1_000_000_000
_STEPS = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (48 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (730 * 86400, 30 * 86400, "month"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One row of the guest list. Times are Unix nanoseconds."""

    id: str
    name: str
    image: str
    image_id: str
    isolation: str
    command: tuple[str, ...]
    created_at: int
    state: GuestState
    status: str
    pid: int
    exit_code: int
    health: str
    accelerator: str
    ports: tuple[PortMap, ...]
    networks: dict[str, str]
    labels: dict[str, str]
    mounts: tuple[str, ...]
    started_at: int
    finished_at: int


def lasting(nanoseconds: int) -> str:
    """A span for people, as docker words it: "Less than a second", "3 minutes", "About an hour"."""
    seconds = nanoseconds // SECOND
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 7200:
        return "About an hour"
    for limit, unit, word in _STEPS:
        if seconds < limit:
            count = seconds // unit
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
    return f"{seconds // (365 * 86400)} years"


def status_text(guest: Guest, now: int) -> str:
    """Docker's STATUS column. ``now``: Unix nanoseconds."""
    status = guest.status
    match status.state:
        case GuestState.RUNNING | GuestState.PAUSED:
            text = f"Up {lasting(now - status.started_at)}"
            if status.state is GuestState.PAUSED:
                return f"{text} (Paused, idle)" if status.asleep else f"{text} (Paused)"
            return f"{text}{_health_text(status.health)}"
        case GuestState.EXITED:
            return f"Exited ({status.exit_code}) {lasting(now - status.finished_at)} ago"
        case GuestState.RESTARTING:
            return f"Restarting ({status.exit_code}) {lasting(now - status.finished_at)} ago"
        case GuestState.CREATED:
            return "Created"
        case GuestState.REMOVING:
            return "Removal In Progress"
        case GuestState.DEAD:
            return "Dead"


def _health_text(health: HealthStatus | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"


def summary(guest: Guest, now: int) -> Summary:
    """The row of one guest. ``now``: Unix nanoseconds."""
    status = guest.status
    return Summary(
        id=guest.id,
        name=guest.name,
        image=guest.spec.image,
        image_id=guest.image_id,
        isolation=guest.spec.isolation.value,
        command=guest.command,
        created_at=guest.created_at,
        state=status.state,
        status=status_text(guest, now),
        pid=status.pid,
        exit_code=status.exit_code,
        health=status.health.status if status.health else "",
        accelerator=status.accelerator,
        ports=guest.ports if status.state in {GuestState.RUNNING, GuestState.PAUSED} else (),
        networks={endpoint.network: endpoint.address for endpoint in guest.endpoints},
        labels=guest.spec.labels,
        mounts=tuple(mount.source or mount.target for mount in guest.spec.mounts),
        started_at=status.started_at,
        finished_at=status.finished_at,
    )
