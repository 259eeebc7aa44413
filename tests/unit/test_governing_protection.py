"""What is promised or due is what the kernel spares: the guest's own group and the one above it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from fakes.governing import FakeKernel
from member_values import member
from wirt.governor.tree import Claim
from wirt.host.governing import protection, safety
from wirt.host.governing.member import Member
from wirt.linux.cgroup import Cgroups
from wirt.model.resources import Resources
from wirt.privileged import governing
from wirt.privileged.holds import Safe

MIB = 1 << 20


def modern(name: str, *, floor: int = 0, low: int = 0, promised: int = 0) -> Member:
    made = member(name)
    resources = Resources(memory_reservation=promised or None)
    spec = replace(made.guest.spec, resources=resources)
    made.guest = replace(made.guest, spec=spec)
    made.v2, made.floor, made.low = True, floor, low
    return made


def test_only_what_differs_is_written_and_nothing_where_there_is_no_such_file() -> None:
    new, kept, lowered = modern("new"), modern("kept", floor=MIB), modern("lowered", floor=3 * MIB)
    old = member("old")
    claims = {
        "new": Claim(reservation=2 * MIB + 1), "kept": Claim(reservation=MIB),
        "lowered": Claim(reservation=0), "old": Claim(reservation=9 * MIB),
    }  # fmt: skip
    everybody = {one.guest.id: one for one in (new, kept, lowered, old)}
    kernel = FakeKernel(dict.fromkeys(everybody, 0))

    async def story() -> None:
        wanted = protection.wanted(everybody, claims, {})
        await protection.write(kernel, everybody, wanted)
        assert kernel.floors == {"new": 2 * MIB, "lowered": 0}, "in whole pages"
        assert kernel.lows == {}
        assert protection.wanted(everybody, claims, {}) == [], "it stands already"

    asyncio.run(story())


def test_what_is_due_is_spared_while_memory_is_divided_and_never_more_than_there_is() -> None:
    a, b = modern("a", low=80 * MIB), modern("b", low=8 * MIB, promised=8 * MIB, floor=8 * MIB)
    members = {"b": b, "a": a}
    claims = {"a": Claim(), "b": Claim(reservation=8 * MIB)}
    kernel = FakeKernel({"a": 0, "b": 0})
    kernel.lows = {"a": 80 * MIB, "b": 8 * MIB}
    sums: list[int] = []
    kernel.after_write = lambda: sums.append(sum(kernel.lows.values()))

    async def story() -> None:
        async def tick(entitled: dict[str, int]) -> None:
            wanted = protection.wanted(members, claims, entitled)
            await protection.write(kernel, members, wanted)

        await tick({"a": 20 * MIB, "b": 80 * MIB})
        assert kernel.lows == {"a": 18 * MIB, "b": 72 * MIB}
        assert max(sums) <= 100 * MIB, "lowered first"
        await tick({"a": 22 * MIB, "b": 78 * MIB})
        assert kernel.lows == {"a": 18 * MIB, "b": 72 * MIB}, "not worth a write"
        await tick({"a": 92 * MIB, "b": 8 * MIB})
        assert kernel.lows["b"] == 8 * MIB, "what was promised is not less than it was"
        assert max(sums) <= 100 * MIB
        await tick({})
        assert kernel.lows == {"a": 0, "b": 8 * MIB}, "as they were started"

    asyncio.run(story())


def test_nobody_is_spared_for_ever_when_nobody_governs() -> None:
    spared, plain = modern("spared", low=40 * MIB, promised=8 * MIB), modern("plain")
    assert safety.plan([spared, plain], set(), None) == (
        Safe(id="spared", limit=-1, cpu=100, low=8 * MIB, line=-1),
    )
    (touched,) = safety.plan([plain], {"plain"}, None)
    assert touched.low == 0, "who is spared next is in the plan already"
    (held,) = safety.plan([member("old")], {"old"}, None)
    assert held.low is None, "version 1 has no such thing"
    (back,) = protection.given_back([spared, plain, member("old")])
    assert (back.id, back.low, back.floor) == ("spared", 8 * MIB, None)


def files(cgroups: Path, name: str, **values: int) -> None:
    (cgroups / "wirt" / name).mkdir(parents=True, exist_ok=True)
    for file, value in values.items():
        (cgroups / "wirt" / name / f"memory.{file}").write_text(f"{value}\n")


def test_the_group_above_is_protected_by_the_sum_and_by_no_more(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"memory"}))
    files(tmp_path, ".", min=0, low=0)
    files(tmp_path, "a", min=3 * MIB, low=20 * MIB)
    files(tmp_path, "b", min=4 * MIB, low=30 * MIB)
    files(tmp_path, "keepers", min=0, low=0)

    def above() -> tuple[str, str]:
        top = tmp_path / "wirt"
        return (top / "memory.min").read_text(), (top / "memory.low").read_text()

    governing.protect(cgroups, "/wirt")
    assert above() == (str(7 * MIB), str(50 * MIB))
    for file in ("min", "low"):
        (tmp_path / f"wirt/b/memory.{file}").unlink()
    (tmp_path / "wirt/b").rmdir()
    governing.protect(cgroups, "/wirt")
    assert above() == (str(3 * MIB), str(20 * MIB)), "who is gone needs nothing"
    governing.protect(cgroups, "/nosuch")
    governing.protect(Cgroups(v1={"memory": tmp_path}, v2=None), "/wirt")
    assert above() == (str(3 * MIB), str(20 * MIB))


def test_what_is_safe_is_written(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"memory", "cpu"}))
    files(tmp_path, "a")
    for name in ("low", "high"):
        (tmp_path / f"wirt/a/memory.{name}").touch()
    governing.release(cgroups, "/wirt/a", Safe(id="a", limit=-1, low=8 * MIB))
    assert (tmp_path / "wirt/a/memory.low").read_text() == str(8 * MIB)
    assert (tmp_path / "wirt/a/memory.high").read_text() == "max"
