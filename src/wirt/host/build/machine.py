"""Steps of builds in microVMs: what shall not run on this host's kernel.

The machine's main process only idles; the step is a further process of it, so that the machine is
still there to tell what was changed. Its disk is never read by this host: the agent packs what it
has changed, and the archive is taken for what it is, a guest's word. Of this host the machine can
write to nothing but the caches it mounts. Secrets reach it over the connection to its agent, and
so do the connections to the client's SSH agents: there is no file of either here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from wirt.aio import Nursery, beside, shielded
from wirt.engine.protocol import Exit
from wirt.errors import Invalid, Unsupported, WirtError
from wirt.host.build import plan
from wirt.host.build.agents import carry
from wirt.host.build.ground import BuildGround
from wirt.host.build.layer import take, unpack
from wirt.host.build.session import Session
from wirt.host.insist import insist
from wirt.image.build.step import LayerMade, Out, RunStep, SecretMount, SshMount
from wirt.image.build.upper import Made
from wirt.image.store import Lease, Upload
from wirt.model.guest import Isolation
from wirt.model.image import Digest
from wirt.privileged.protocol import DropLayers, PackedChanges

MOST_SHARES = 16
"""Bind and cache mounts of one step; each is a device of a board that has no more room."""
MOST_AGENTS = 16
"""SSH mounts of one step, and connections to each of them at a time."""


def check(step: RunStep) -> None:
    """Raise Unsupported for what only a container can give, Invalid for what no machine takes."""
    if step.isolation is not Isolation.MICROVM:
        raise Unsupported(
            f"RUN cannot be a {step.isolation.value}",
            hint="use --as microvm",
            code="build.isolation",
        )
    for mounts, most, what in (
        (plan.with_source(step), MOST_SHARES, "bind and cache mounts"),
        (plan.agents_of(step), MOST_AGENTS, "ssh mounts"),
    ):
        if len(mounts) > most:
            raise Unsupported(
                f"{len(mounts)} {what} are more than a microVM has room for",
                hint=f"{most} are possible; mount a directory that holds several of them",
                code="build.mount",
            )
    for mount in step.mounts:
        if not mount.target.isprintable() or mount.target.strip("/") == "":
            raise Invalid(f"nothing can be mounted at {mount.target[:100]!r}", code="build.mount")
    if step.network == "host":
        raise Unsupported(
            "a microVM has a network of its own and cannot use --network=host",
            hint="use --network=default, or build without --as microvm",
            code="build.network",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a step in a machine has left: a sealed upload of its layer."""

    upload: Upload
    diff_id: str
    made: Made


class Disks:
    """The read-only disks of steps' roots, as long as a step uses them."""

    def __init__(self, ground: BuildGround) -> None:
        self._ground = ground
        self._used: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def use(self, base: tuple[str, ...]) -> AsyncIterator[None]:
        """The disk is there for the block."""
        image = plan.image_of(base)
        self._used[image.id] += 1
        try:
            with self._ground.layers.hold((image.id,)):
                await self._ground.layers.disk(image)
                yield
        finally:
            self._used[image.id] -= 1
            if not self._used[image.id]:
                del self._used[image.id]
                verb = DropLayers(image_ids=(image.id,))
                await shielded(insist(self._ground.helper, verb))


async def run(
    ground: BuildGround, live: Session, step: RunStep, out: Out
) -> tuple[Exit, Changed | None]:
    """Run the step in a machine whose main process idles; and what it changed, if it ended well.

    The caller discards the upload. What is to be kept of a failed step is on the machine's disk
    when this returns.
    """
    async with _ready(live, step):
        ending = await live.execute(plan.inside(step), step.stdin, out)
    if ending.code == 0:
        return ending, await _changes(ground, live, step)
    if step.keep_failed:
        await live.power_off()
    return ending, None


async def interact(live: Session, step: RunStep, descriptor: int, size: tuple[int, int]) -> Exit:
    """Run the step with a client's terminal of ``size`` rows and columns."""
    async with _ready(live, step):
        return await live.execute_on_terminal(plan.inside(step, tty=True), descriptor, size)


@contextlib.asynccontextmanager
async def _ready(live: Session, step: RunStep) -> AsyncIterator[None]:
    """Start the machine and give it what only its agent can; its sockets lead somewhere for the
    block."""
    await live.handle.start()
    for number, secret in enumerate(plan.secrets_of(step)):
        await _give(live, number, secret)
    async with contextlib.AsyncExitStack() as stack:
        for number, mount in enumerate(plan.agents_of(step)):
            await stack.enter_async_context(beside(_serve(live, number, mount)))
        yield


async def _give(live: Session, number: int, secret: SecretMount) -> None:
    """Send the content of a secret; its bytes pass through nothing but sockets."""
    ours, theirs = socket.socketpair()
    with theirs:
        giving = live.machine.give_secret(number, theirs.fileno())
        async with beside(giving) as given:
            _, writer = await asyncio.open_connection(sock=ours)
            try:
                with contextlib.suppress(ConnectionError):
                    writer.write(secret.content)
                    await writer.drain()
                    writer.write_eof()
                await given
            finally:
                writer.close()


async def _serve(live: Session, number: int, mount: SshMount) -> None:
    """Carry each connection to a socket of the machine to the client's agent."""
    room, nursery = asyncio.Semaphore(MOST_AGENTS), Nursery("agents of a step")
    try:
        while True:
            await room.acquire()
            arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            task = nursery.start(_connection(live, number, mount, arrived), name=mount.target)
            task.add_done_callback(lambda _: room.release())
            if not await arrived:
                return  # the machine is ending, or does not do as it is asked
    finally:
        await nursery.close()


async def _connection(
    live: Session, number: int, mount: SshMount, arrived: asyncio.Future[bool]
) -> None:
    """Wait for one connection, tell whether it came, and carry it to its end."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with beside(live.machine.accept(number, theirs.fileno())) as accepted:
            await asyncio.sleep(0)  # the request has a copy of its own now
            theirs.close()
            came = await reader.read(1) != b""
            arrived.set_result(came)
            if came:
                await carry(mount, reader, writer)
            with contextlib.suppress(WirtError):
                await accepted
    finally:
        theirs.close()
        writer.close()
        if not arrived.done():
            arrived.set_result(False)


async def _changes(ground: BuildGround, live: Session, step: RunStep) -> Changed:
    upload = await ground.pipes.call(ground.store.new_upload)
    try:
        ask = live.machine.read_changes
        diff_id, made = await take(ground, ask, upload, epoch=step.epoch)
    except BaseException:
        await ground.pipes.call(upload.discard)
        raise
    return Changed(upload=upload, diff_id=diff_id, made=made)


async def keep(
    ground: BuildGround, base: tuple[str, ...], changed: Changed, lease: Lease
) -> LayerMade:
    """Store the layer and unpack it, jailed as every layer that comes from outside."""
    blob = await ground.pipes.call(lambda: ground.store.commit(changed.upload, lease))
    packed = PackedChanges(
        diff_id=changed.diff_id, size=changed.made.size, entries=changed.made.entries, exact=False
    )
    return LayerMade(
        chain_id=await unpack(ground, base, packed, blob),
        diff_id=Digest.parse(changed.diff_id),
        blob=blob,
        size=changed.made.size,
        blob_size=changed.upload.size,
        empty=changed.made.entries == 0,
    )
