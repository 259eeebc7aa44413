"""``--verify``: whether two builds of the same input gave the same."""

from __future__ import annotations

from dataclasses import replace

from wirt.errors import Conflict
from wirt.image.build.outcome import Root


def check_same(first: Root, second: Root) -> None:
    """Raise Conflict when two builds of the same input differ, naming the first step that does."""
    steps = [h.get("created_by", "") for h in first.history if not h.get("empty_layer")]
    for number, (one, other) in enumerate(zip(first.layers, second.layers, strict=False)):
        if one.diff_id != other.diff_id:
            said = steps[number] if number < len(steps) else f"layer {number + 1}"
            raise Conflict(
                f"two builds of the same input differ from '{said[:200]}' on",
                hint="does it use the time, random numbers or the network?",
                code="build.not-reproducible",
                first=str(one.diff_id),
                second=str(other.diff_id),
            )
    if replace(first, epoch=0) != replace(second, epoch=0):
        raise Conflict(
            "two builds of the same input differ in their history", code="build.not-reproducible"
        )
