"""Filters of lists, ``key=value`` as docker's: the same key again means "or", keys mean "and"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.model.group import within
from wirt.model.guest import Guest

KEYS = frozenset({
    "name", "id", "label", "label!", "status", "ancestor", "network", "volume", "isolation",
    "health", "exited", "group",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class GuestFilter:
    """Wanted values by key."""

    wanted: dict[str, tuple[str, ...]]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> GuestFilter:
        """From ``key=value`` texts. Raises Invalid for an unknown key."""
        wanted: dict[str, tuple[str, ...]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if key not in KEYS or not equals:
                raise Invalid(
                    f"invalid filter {text[:80]!r}",
                    hint=f"write KEY=VALUE with one of the keys {', '.join(sorted(KEYS))}",
                )
            wanted[key] = (*wanted.get(key, ()), value)
        return cls(wanted)

    @property
    def asks_for_states(self) -> bool:
        """Whether guests that do not run are meant, too."""
        return bool({"status", "exited"} & self.wanted.keys())

    def matches(self, guest: Guest) -> bool:
        """Whether a guest fulfils every key."""
        return all(
            any(_matches(guest, key, value) for value in values)
            for key, values in self.wanted.items()
        )


def _matches(guest: Guest, key: str, value: str) -> bool:
    match key:
        case "name":
            return value in guest.name
        case "group":
            return within(guest.spec.group, value.strip("/"))
        case "id":
            return guest.id.startswith(value)
        case "label" | "label!":
            name, equals, wanted = value.partition("=")
            found = guest.spec.labels.get(name)
            has = found is not None and (not equals or found == wanted)
            return has if key == "label" else not has
        case "status":
            return guest.status.state.value == value
        case "ancestor":
            return value in {guest.spec.image, guest.image_id, guest.image_id[7:19]}
        case "network" | "volume":
            return value in _joined(guest, key)
        case "isolation":
            return guest.spec.isolation.value == value
        case "health":
            return (guest.status.health.status if guest.status.health else "none") == value
        case _:
            return guest.status.finished_at > 0 and str(guest.status.exit_code) == value


def _joined(guest: Guest, key: str) -> set[str]:
    """Names of its networks, or of its volumes and where they are."""
    if key == "network":
        return {name for e in guest.endpoints for name in (e.network, e.network_id)}
    return {*guest.volumes, *(mount.target for mount in guest.spec.mounts)}
