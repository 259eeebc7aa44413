"""What is promised is what the kernel keeps: the guest's own group and the one above it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fakes.governing import FakeKernel
from member_values import member
from wirt.governor.tree import Claim
from wirt.host.governing import promise
from wirt.linux.cgroup import Cgroups
from wirt.privileged import governing

MIB = 1 << 20


def test_only_what_differs_is_written_and_nothing_where_there_is_no_such_file() -> None:
    new, kept, lowered, old = member("new"), member("kept"), member("lowered"), member("old")
    new.floor, kept.floor, lowered.floor, old.floor = 0, MIB, 3 * MIB, None
    claims = {
        "new": Claim(reservation=2 * MIB), "kept": Claim(reservation=MIB),
        "lowered": Claim(reservation=0), "old": Claim(reservation=9 * MIB),
    }  # fmt: skip
    everybody = [new, kept, lowered, old]
    kernel = FakeKernel({one.guest.id: 0 for one in everybody})

    async def story() -> None:
        await promise.keep(kernel, everybody, claims)
        assert kernel.floors == {"new": 2 * MIB, "lowered": 0}
        kernel.floors.clear()
        await promise.keep(kernel, everybody, claims)
        assert kernel.floors == {}, "it stands already"

    asyncio.run(story())


def test_the_group_above_is_protected_by_the_sum_and_by_no_more(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"memory"}))
    for name, floor in (("a", 3 * MIB), ("b", 4 * MIB), ("keepers", 0)):
        (tmp_path / "wirt" / name).mkdir(parents=True)
        (tmp_path / "wirt" / name / "memory.min").write_text(f"{floor}\n")
    above = tmp_path / "wirt" / "memory.min"
    above.write_text("0\n")
    governing.promise(cgroups, "/wirt")
    assert above.read_text() == str(7 * MIB)
    (tmp_path / "wirt/b/memory.min").unlink()
    (tmp_path / "wirt/b").rmdir()
    governing.promise(cgroups, "/wirt")
    assert above.read_text() == str(3 * MIB), "who is gone needs nothing"
    governing.promise(cgroups, "/nosuch")
    governing.promise(Cgroups(v1={"memory": tmp_path}, v2=None), "/wirt")
    assert above.read_text() == str(3 * MIB)
