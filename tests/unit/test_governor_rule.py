"""Why a write was made: the rule that set a share need not explain the way there."""

from __future__ import annotations

import pytest

from wirt.governor.movement import Reason, rule


@pytest.mark.parametrize("reason", Reason)
def test_no_rule_explains_its_opposite(reason: Reason) -> None:
    up, down, first = (rule(reason, before=b, after=50) for b in (10, 90, None))
    assert up is (Reason.RESERVATION if reason in {Reason.TAXED, Reason.BLIND} else reason), (
        "who is given memory is not taxed"
    )
    for one in (down, first):
        assert one is (Reason.RESERVATION if reason in {Reason.HUNGRY, Reason.BLIND} else reason)
