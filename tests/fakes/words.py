"""From words of a command line to the model, as client and daemon do together."""

from __future__ import annotations

import msgspec
import pytest

from wirt.cli.command.run import COMMAND
from wirt.cli.flags import Call
from wirt.cli.spec import guest_spec
from wirt.client.daemon import Daemon
from wirt.client.fastjson import encode
from wirt.errors import Invalid
from wirt.model.guest import GuestSpec


def spec(*words: str) -> GuestSpec:
    """What the daemon makes of it: through the client's JSON into the model."""
    args, values = COMMAND.parse(words)
    call = Call(COMMAND, args=args, values=values, daemon=Daemon("/nowhere"))
    return msgspec.json.decode(encode(guest_spec(call)), type=GuestSpec)


def refused(*words: str) -> str:
    with pytest.raises(Invalid) as caught:
        spec(*words)
    assert caught.value.hint, f"no hint: {caught.value.message}"
    return caught.value.message
