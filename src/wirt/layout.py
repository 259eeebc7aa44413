"""Where everything lives: one value made from the instance's name and its two directories.

State (survives a reboot) is below ``state``; what runs is below ``run`` (a tmpfs). Kernel objects
carry the instance's name, so that several instances share a host and leftovers are recognisable.
The daemon owns blobs and the database; the helper (root) owns layers, disks, guests and volumes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wirt.errors import Invalid

_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Paths and names of one instance. ``name``: lower-case letters and digits, at most 10."""

    name: str
    state: Path
    run: Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Invalid(
                f"invalid instance name {self.name!r}",
                hint="an instance name has at most 10 lower-case letters and digits",
            )

    # state, owned by the daemon's user
    @property
    def database(self) -> Path:
        return self.state / "wirt.db"

    @property
    def policy(self) -> Path:
        """The governor's policy when it was set at run time."""
        return self.state / "governor.json"

    @property
    def blobs(self) -> Path:
        return self.state / "blobs"

    @property
    def uploads(self) -> Path:
        """Half-written files; emptied at start."""
        return self.state / "uploads"

    # state, owned by root
    @property
    def layers(self) -> Path:
        """``layers/<chain id hex>/diff``: one unpacked layer as an overlay lower directory."""
        return self.state / "layers"

    @property
    def disks(self) -> Path:
        """``disks/<image id hex>.erofs``: an image's root as one read-only file system."""
        return self.state / "disks"

    @property
    def volumes(self) -> Path:
        """``volumes/<name>/_data``."""
        return self.state / "volumes"

    @property
    def caches(self) -> Path:
        """``caches/<name>/_data``: what steps of builds keep from one to the next."""
        return self.state / "caches"

    def guest_state(self, guest_id: str) -> Path:
        """``upper work etc log disk.img`` of one guest."""
        return self.state / "guests" / guest_id

    @property
    def on_disks(self) -> tuple[Path, ...]:
        """Directories with what guests read and write, each perhaps on a disk of its own."""
        return self.state, self.layers, self.volumes, self.state / "guests"

    @property
    def gone(self) -> Path:
        """``gone/<id>``: states of removed guests on their way out."""
        return self.state / "gone"

    def guest_log(self, guest_id: str) -> Path:
        return self.guest_state(guest_id) / "log"

    # run
    @property
    def socket(self) -> Path:
        return self.run / "wirt.sock"

    @property
    def helper_socket(self) -> Path:
        return self.run / "helper.sock"

    @property
    def crun_root(self) -> Path:
        return self.run / "crun"

    def guest_run(self, guest_id: str) -> Path:
        """``keeper.conf keeper.sock input exit pid net.json config.json root/`` of a guest that
        runs."""
        return self.run / "g" / guest_id

    def step_source(self, guest_id: str, number: int) -> Path:
        """What a step of a build sees at one of its mounts; only its own processes see it."""
        return self.guest_run(guest_id) / "step" / str(number)

    def input_pipe(self, guest_id: str) -> Path:
        """By which the keeper tells that something has come for the standard input."""
        return self.guest_run(guest_id) / "input"

    def keeper_socket(self, guest_id: str) -> Path:
        return self.guest_run(guest_id) / "keeper.sock"

    def monitor_socket(self, guest_id: str) -> Path:
        """QEMU's monitor, of a machine."""
        return self.guest_run(guest_id) / "qmp.sock"

    @property
    def net_run(self) -> Path:
        """What the helper remembers of networks while the host is up."""
        return self.run / "net"

    # kernel objects
    @property
    def nft_table(self) -> str:
        return self.name

    @property
    def default_bridge(self) -> str:
        return f"{self.name}0"

    def shaping_device(self, way: str) -> str:
        """The intermediate device through which all shaped frames of one direction go: ``d`` (down,
        to the guests) or ``u`` (up)."""
        return f"{self.name}{way}"

    def cgroup(self, guest_id: str) -> str:
        """The guest's cgroup, the same path in every hierarchy."""
        return f"/{self.name}/{guest_id}"

    @property
    def keeper_cgroup(self) -> str:
        return f"/{self.name}/keepers"

    def link_alias(self, guest_id: str) -> str:
        """IFLA_IFALIAS of a guest's veth or tap, by which leftovers are found."""
        return f"{self.name}:{guest_id}"
