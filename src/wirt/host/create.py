"""Create a guest: check the whole wish against image, kind, networks and volumes, then store it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from wirt.engine.protocol import Engine
from wirt.errors import Conflict, Invalid
from wirt.host.admit import Admit
from wirt.host.events import Bus
from wirt.host.fitting import check_is_for, check_runs_here
from wirt.host.images import Images
from wirt.host.networks import Networks
from wirt.host.prepare import check_process, with_image_defaults
from wirt.host.roster import Roster
from wirt.host.undo import Undo
from wirt.host.volumes import Volumes
from wirt.model.guest import Guest, GuestSpec, Isolation, RestartName
from wirt.model.image import Image
from wirt.model.names import check_hostname, check_name, invent_name, new_id
from wirt.model.resources import Resources, merge
from wirt.privileged.faults import fault

MAX_ENV_BYTES = 1024 * 1024
MAX_LABEL_BYTES = 256 * 1024
MAX_ARGUMENT_BYTES = 1024 * 1024
LONGEST_STOP_TIMEOUT = 24 * 3600
"""Seconds."""


class Create:
    """The ``create`` verb."""

    def __init__(
        self,
        *,
        roster: Roster,
        engines: Mapping[Isolation, Engine],
        images: Images,
        networks: Networks,
        volumes: Volumes,
        bus: Bus,
        admit: Admit,
    ) -> None:
        self._roster = roster
        self._engines = engines
        self._images = images
        self._networks = networks
        self._volumes = volumes
        self._bus = bus
        self._admit = admit

    async def create(self, spec: GuestSpec, name: str | None) -> Guest:
        """Store a new guest and return it. Nothing stays behind when anything is wrong."""
        spec = replace(spec, resources=merge(Resources(), spec.resources))
        check_spec(spec)
        name = self._free_name(name)
        image = await self._images.find(spec.image)
        if spec.platform:
            check_is_for(image, spec.image, spec.platform)
        with self._images.hold(image):
            return await self._create(spec, name, image)

    async def _create(self, spec: GuestSpec, name: str, image: Image) -> Guest:
        warnings = self._engines[spec.isolation].check(spec)
        self._admit.check(spec)
        check_runs_here(image, spec.isolation)
        process = check_process(spec, image)
        guest = Guest(
            id=new_id(),
            name=name,
            spec=self._network_owner(with_image_defaults(spec, image)),
            image_id=image.id,
            created_at=time.time_ns(),
            command=process.argv,
            warnings=warnings,
        )
        async with Undo() as undo:
            undo.push("volumes", lambda: self._volumes.release(guest, volumes=True))
            guest = await self._volumes.claim(guest, image)
            undo.push("network places", lambda: self._networks.release(guest, volumes=False))
            endpoints = await self._networks.endpoints_for(guest.id, guest.name, guest.spec)
            guest = replace(guest, endpoints=endpoints)
            fault("host.places")
            async with self._admit.joining(spec.group):
                await self._roster.add(guest)
            undo.push("row", lambda: self._roster.remove(guest.id))
            await self._images.get(image.id)  # collection may have asked for guests before this
            fault("host.added")
            undo.keep()
        self._bus.publish("guest", "create", guest.id, name=name, image=spec.image)
        return guest

    def _free_name(self, name: str | None) -> str:
        if name is not None:
            return check_name(name.removeprefix("/"), "guest")
        for _ in range(100):
            invented = invent_name()
            if not self._roster.has_name(invented):
                return invented
        return f"{invent_name()}_{new_id()[:6]}"

    def _network_owner(self, spec: GuestSpec) -> GuestSpec:
        """``guest:NAME`` becomes ``guest:ID``, which a rename does not break."""
        if not spec.network_mode.startswith("guest:"):
            return spec
        owner = self._roster.find(spec.network_mode.removeprefix("guest:"))
        if owner.spec.isolation is not spec.isolation:
            raise Conflict(
                f"cannot join the network of {owner.name!r}: it is a "
                f"{owner.spec.isolation.value}, not a {spec.isolation.value}",
                hint="guests that share a network card must be of one kind",
            )
        return replace(spec, network_mode=f"guest:{owner.id}")


def check_spec(spec: GuestSpec) -> None:
    """Raise Invalid for a wish that no kind of guest could fulfil. Pure."""
    if spec.hostname:
        check_hostname(spec.hostname)
    _check_environment(spec.env)
    _check_arguments(spec)
    for key, value in spec.labels.items():
        if not key:
            raise Invalid("a label needs a name", hint="write NAME=value")
        if len(key) + len(value) > MAX_LABEL_BYTES:
            raise Invalid(f"label {key[:40]!r} is longer than {MAX_LABEL_BYTES} bytes")
    if spec.stop_timeout is not None and not -1 <= spec.stop_timeout <= LONGEST_STOP_TIMEOUT:
        raise Invalid(
            f"stop timeout {spec.stop_timeout} is not between -1 and {LONGEST_STOP_TIMEOUT} seconds"
        )
    check_restart(spec)


def _check_environment(env: tuple[str, ...]) -> None:
    if sum(map(len, env)) > MAX_ENV_BYTES:
        raise Invalid(f"the environment is larger than {MAX_ENV_BYTES} bytes")
    for entry in env:
        name, equals, _ = entry.partition("=")
        if not name or not equals or "\0" in entry:
            raise Invalid(
                f"invalid environment entry {entry[:60]!r}", hint="write NAME=value without NUL"
            )


def _check_arguments(spec: GuestSpec) -> None:
    words = (*(spec.entrypoint or ()), *(spec.command or ()), spec.working_dir, spec.user)
    if sum(map(len, words)) > MAX_ARGUMENT_BYTES:
        raise Invalid(f"the command is longer than {MAX_ARGUMENT_BYTES} bytes")
    if any("\0" in word for word in words):
        raise Invalid("the command, user or working directory contains a NUL byte")
    if "\n" in spec.user or ":" in spec.user.partition(":")[2]:
        raise Invalid(f"invalid user {spec.user[:40]!r}", hint="write USER[:GROUP]")
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise Invalid(
            f"working directory {spec.working_dir[:80]!r} is not absolute",
            hint="write a path that begins with /",
        )


def check_restart(spec: GuestSpec) -> None:
    policy = spec.restart
    if policy.maximum_retries < 0:
        raise Invalid("the number of restarts cannot be negative")
    if policy.maximum_retries and policy.name is not RestartName.ON_FAILURE:
        raise Invalid(
            f"restart policy {policy.name.value!r} takes no number of retries",
            hint="only on-failure:N does",
        )
    if spec.remove_on_exit and policy.name is not RestartName.NO:
        raise Invalid(
            "a guest that is removed when it ends cannot be restarted",
            hint="give either --rm or --restart",
            code="guest.rm-and-restart",
        )
