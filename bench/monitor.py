"""What it takes to ask a machine something, through the connection that stays and one for each."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measure import Row
from peers import ROOT, Peer

sys.path.insert(0, str(ROOT / "src"))

from wirt.qemu.qmp import Monitor


def asked(peers: Sequence[Peer], rounds: int) -> Row:
    """Processor time of the governor's question to a machine, against a connection for each."""
    del peers
    with tempfile.TemporaryDirectory() as place, _machine(Path(place) / "qmp.sock") as path:
        kept = Monitor(path)

        async def again() -> None:
            await kept.told()

        async def anew() -> None:
            one = Monitor(path)
            await one.told()
            one.close()

        async def measured() -> tuple[list[float], list[float]]:
            await kept.told()
            first = [await _cost(again) for _ in range(rounds)]
            kept.close()
            return first, [await _cost(anew) for _ in range(rounds)]

        stays, each = asyncio.run(measured())
    return Row(
        key="monitor", title="processor time of 100 questions to a machine", unit="ms",
        samples={"wirt": stays}, against="", must=20, aim=15,
        note="of the daemon; the governor asks each machine once a second while memory is short; "
        f"with a connection for each question {statistics.median(each):.3g} ms",
    )  # fmt: skip


async def _cost(ask: Callable[[], Awaitable[None]]) -> float:
    """Milliseconds of this process for a hundred times."""
    began = time.process_time()
    for _ in range(100):
        await ask()
    return (time.process_time() - began) * 1e3


@contextmanager
def _machine(path: Path) -> Iterator[Path]:
    """A QEMU with a balloon and no guest, whose monitor is at ``path``."""
    argv = (
        "qemu-system-x86_64 -nodefaults -no-user-config -display none -S -m 64 -M microvm "
        "-accel tcg -device virtio-balloon-device,id=balloon,guest-stats-polling-interval=1 "
        f"-chardev socket,id=qmp,path={path},server=on,wait=off -mon chardev=qmp,mode=control"
    )
    with subprocess.Popen(argv.split(), stdin=subprocess.DEVNULL) as machine:
        try:
            while not path.exists():
                time.sleep(0.01)
            yield path
        finally:
            machine.kill()
