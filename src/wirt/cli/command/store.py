"""``wirt store ...``: the store as a whole."""

from __future__ import annotations

import json

from wirt.cli.flags import Call, Command, Flag, Group
from wirt.cli.output import harmless, out
from wirt.cli.upload import told
from wirt.cli.view import human
from wirt.cli.view.facts import JSON
from wirt.client.wire import target


def check(call: Call) -> int:
    """Check the store; the exit code is 1 when something is wrong and was not repaired."""
    query = [("repair", call.on("repair") or None), ("deep", call.on("deep") or None)]
    answer = call.daemon.request("POST", target("/v1/store/check", query))
    findings = []
    verdict = {"checked": 0, "found": 0, "wrong": 0}
    for one in told(answer, call.daemon.path, quiet=call.on("json")):
        if "finding" in one:
            findings.append(one["finding"])
            if not call.on("json"):
                out(_line(one["finding"]))
        verdict = one.get("verdict", verdict)
    if call.on("json"):
        out(json.dumps({"findings": findings, **verdict}, indent=2) + "\n")
    else:
        out(
            f"{verdict['checked']} things checked, {verdict['found']} wrong, "
            f"{verdict['found'] - verdict['wrong']} repaired\n"
        )
    return 1 if verdict["wrong"] else 0


def trim(call: Call) -> int:
    """Drop what can be made again of blobs, and no guest uses."""
    told = call.daemon.call("POST", "/v1/store/trim")
    out(f"Total reclaimed space: {human.decimal_size(told['freed'])}\n")
    return 0


def _line(found: dict[str, str]) -> str:
    done = f" ({found['repair']})" if found["repair"] else ""
    return harmless(f"{found['what']} {found['name']}: {found['problem']}{done}") + "\n"


COMMAND = Group(
    "store",
    summary="The store of images and layers",
    verbs={
        "check": Command(
            "store check",
            summary="Check that blobs, layers and names agree",
            flags=(
                Flag("deep", kind="bool", help="Unpack every layer once more and compare"),
                JSON,
                Flag("repair", kind="bool", help="Put right what can be, remove what cannot"),
            ),
            run=check,
        ),
        "trim": Command(
            "store trim",
            summary="Drop unpacked layers that no guest uses; a start unpacks them again",
            run=trim,
        ),
    },
)
