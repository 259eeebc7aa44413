"""Compressed swap of an instance on this kernel: made once, found again, and no other taken."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from helperlab import Lab, lab
from needs import needs
from wirt.errors import Conflict, Unavailable
from wirt.linux import zram
from wirt.linux.zram import Device
from wirt.privileged import swap
from wirt.privileged.protocol import SetSwap

pytestmark = needs("root", "netns", "zram")
MIB = 1 << 20
STEPS = {
    "swap.added", "swap.recorded", "swap.claimed", "swap.signed", "swap.off", "swap.cleared",
}  # fmt: skip


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    """Whatever a test leaves is taken away, and not by what it tests."""
    with lab(instance_name, tmp_path) as made:
        yield made
        for device in own(made):
            if device.swapping:
                device.off()
            device.clear()
            device.remove()


@pytest.fixture
def other() -> Iterator[Device]:
    """Somebody else's device, in use as swap."""
    device = zram.add()
    device.claim(4 * MIB)
    device.sign(uuid.uuid4(), "somebody")
    device.on(0)
    yield device
    device.off()
    device.clear()
    device.remove()


def own(box: Lab) -> list[Device]:
    return [d for d in zram.devices() if d.size and d.owner() == swap.owner(box.layout)]


def provide(box: Lab, size: int) -> int | None:
    return box.run(lambda helper: helper.call(SetSwap(size=size)))[0].number


def swaps() -> dict[str, tuple[int, int]]:
    """Size in bytes and priority by device, as the kernel tells."""
    lines = (line.split() for line in Path("/proc/swaps").read_text().splitlines()[1:])
    return {words[0]: (int(words[2]) * 1024, int(words[4])) for words in lines}


def test_made_once_resized_and_taken_away(box: Lab, other: Device) -> None:
    before = set(zram.devices())
    number = provide(box, 8 * MIB)
    assert number is not None
    device = Device(number)
    page = os.sysconf("SC_PAGESIZE")
    assert device.number != 0
    assert swaps()[str(device.path)] == (8 * MIB - page, swap.PRIORITY)
    assert provide(box, 8 * MIB) == number, "nothing to do"
    box.kill()
    box.start()
    assert provide(box, 8 * MIB) == number, "found again"
    larger = provide(box, 12 * MIB)
    assert [one.number for one in own(box)] == [larger]
    assert own(box)[0].size == 12 * MIB
    assert provide(box, 0) is None
    assert own(box) == []
    assert set(zram.devices()) <= before
    assert str(other.path) in swaps(), "somebody else's stays"


def test_every_step_is_tried() -> None:
    text = Path(swap.__file__).read_text()
    assert set(re.findall(r'fault\("([a-z.]+)"\)', text)) == STEPS


def test_a_program_that_looks_into_it_for_a_moment_is_waited_for(box: Lab) -> None:
    number = provide(box, 8 * MIB)
    assert number is not None
    with Device(number).path.open("rb") as looks:
        threading.Timer(0.7, looks.close).start()
        assert provide(box, 0) is None
    assert not Device(number).sys.exists() or not Device(number).size


def test_a_program_that_keeps_it_open_is_told_of(box: Lab) -> None:
    number = provide(box, 8 * MIB)
    assert number is not None
    with Device(number).path.open("rb"), pytest.raises(Conflict, match="kept open") as caught:
        provide(box, 0)
    assert "fuser" in (caught.value.hint or "")
    assert provide(box, 0) is None


@contextlib.contextmanager
def _nothing_free() -> Iterator[None]:
    """No device is left that nobody has set up, so that one must be added."""
    taken = [one for one in zram.devices() if one.number and not one.size]
    for device in taken:
        device.claim(MIB)
    try:
        yield
    finally:
        for device in taken:
            device.clear()


@pytest.mark.parametrize("then", [8 * MIB, 0], ids=["again", "none"])
@pytest.mark.parametrize("step", sorted(STEPS))
def test_killed_at_any_step(box: Lab, step: str, then: int) -> None:
    before = set(zram.devices())
    going = step in {"swap.off", "swap.cleared"}
    if going:
        provide(box, 8 * MIB)
    box.kill()
    box.start(fault=step)
    with _nothing_free() if step == "swap.added" else contextlib.nullcontext():
        with pytest.raises(Unavailable):
            provide(box, 0 if going else 8 * MIB)
        assert box.died(), f"{step} was not reached"
    written = (box.layout.run / swap.FILE).read_text().split()
    box.start()
    number = provide(box, then)
    assert [one.number for one in own(box)] == ([] if number is None else [number])
    assert (number is None) == (then == 0)
    assert all(one.swapping for one in own(box))
    assert provide(box, 0) is None
    for device in {Device(int(number)) for number in written[:1]} - before:
        assert not device.sys.exists() or device.size, f"nothing of {device} is left"


def test_what_somebody_wrote_to_is_not_given_up(box: Lab, other: Device) -> None:
    """Though our record says that it was being set up."""
    (box.layout.run / swap.FILE).write_text(f"{other.number} {other.size}".ljust(48))
    assert provide(box, 0) is None
    assert other.swapping
    assert other.size == 4 * MIB


def test_the_kernel_refuses_a_size(box: Lab) -> None:
    with pytest.raises(Exception, match="refuses compressed swap") as failure:
        provide(box, 1 << 61)
    assert "pool.zram" in str(getattr(failure.value, "hint", ""))
    assert own(box) == []
    assert provide(box, 0) is None
