"""Control groups without a kernel: limits, uses, what cannot be taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wirt.errors import NotFound
from wirt.privileged.holds import Held, Hold, Safe

UNLIMITED = -1


class FakeKernel:
    """See :class:`wirt.host.governing.actuate.Actuator`. ``anon``: bytes that stay.

    ``after_write`` is called after every single write, as if all ended there. ``order``: whose
    lines were written.
    """

    def __init__(self, uses: dict[str, int], *, anon: dict[str, int] | None = None) -> None:
        self.uses = uses
        self.anon = anon or {}
        self.limits = dict.fromkeys(uses, UNLIMITED)
        self.waits = dict.fromkeys(uses, False)
        self.weights: dict[str, int] = {}
        self.floors: dict[str, int] = {}
        self.lows: dict[str, int] = {}
        self.lines = dict.fromkeys(uses, UNLIMITED)
        self.order: list[str] = []
        self.safe: tuple[Safe, ...] = ()
        self.frozen: set[str] = set()
        self.killed: list[str] = []
        self.after_write: Callable[[], None] = lambda: None

    async def govern(
        self, holds: Sequence[Hold], safe: tuple[Safe, ...] | None = None
    ) -> tuple[Held, ...]:
        self.safe = self.safe if safe is None else safe
        return tuple(self._write(one, squeeze=False) for one in holds)

    async def squeeze(self, holds: Sequence[Hold]) -> tuple[Held, ...]:
        return tuple(self._write(one, squeeze=True) for one in holds)

    def _write(self, hold: Hold, *, squeeze: bool) -> Held:
        failure = ""
        if hold.waits is not None:
            self.waits[hold.id] = hold.waits
        if hold.cpu is not None:
            self.weights[hold.id] = hold.cpu
        if hold.floor is not None:
            self.floors[hold.id] = hold.floor
        if hold.low is not None:
            self.lows[hold.id] = hold.low
            self.after_write()
        if hold.limit is not None:
            if squeeze:
                self.uses[hold.id] = max(self.anon.get(hold.id, 0), hold.limit)
            if hold.limit != UNLIMITED and self.uses[hold.id] > hold.limit:
                failure = "in use"
            else:
                self.limits[hold.id] = hold.limit
            self.after_write()
        if hold.line is not None and hold.was != self.lines[hold.id]:
            failure = "changed meanwhile"
        elif hold.line is not None:
            self.lines[hold.id] = hold.line
            self.order.append(hold.id)
        return Held(
            id=hold.id, limit=self.limits[hold.id], use=self.uses[hold.id],
            line=self.lines[hold.id], failure=failure,
        )  # fmt: skip

    async def watch(self, guest_id: str) -> int:
        raise NotFound(f"{guest_id} is not to be watched here")

    async def bound(self, *, cpu_millis: int, memory: int) -> None:
        raise AssertionError(f"no pool of {cpu_millis}, {memory} here")

    async def swap(self, size: int) -> int | None:
        assert size == 0, f"no swap of {size} here"
        return None

    async def freeze(self, guest_id: str, frozen: bool) -> None:
        (self.frozen.add if frozen else self.frozen.discard)(guest_id)

    async def kill(self, guest_id: str) -> None:
        self.killed.append(guest_id)
