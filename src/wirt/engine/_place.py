"""What the handles of all containers share."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.linux.features import HostFacts
from wirt.linux.interface import Interfaces
from wirt.privileged.client import Helper


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The host and instance a container runs on, and the way to act on it."""

    layout: Layout
    facts: HostFacts
    cgroups: Cgroups
    interfaces: Interfaces
    helper: Helper
