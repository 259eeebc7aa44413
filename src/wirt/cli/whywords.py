"""What the governor did, in plain sentences: the figures, the rule and the effect."""

from __future__ import annotations

from wirt.cli.figures import amount
from wirt.cli.output import cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RULES = {
    "hungry": "it was near its limit and kept reading again what it had lost, so it needs more",
    "taxed": "memory is short and it had been calm, so idle memory is taken for those in need",
    "headroom": "it gets what it uses and some room to grow",
    "limit": "it has all that its own limit allows",
    "reservation": "its reservation and shares say so",
    "emergency": "the host itself is short of memory",
    "boost": "a boost began, ended or counts",
    "stuck": "it does not give back what was asked for, so it is left alone for a while",
    "fence": "it may have all that others are not promised and do not need, but no more of theirs",
    "blind": "nothing is known about it, so it keeps what it has",
    "idle": "it had nothing to do",
    "traffic": "something came for it over the network",
    "input": "something was typed into it",
    "asked": "somebody wants something of it",
    "timer": "its time to wake had come",
    "unwatched": "nobody would have heard what comes for it",
}
RESOURCES = {"cpu": "CPU", "memory": "memory", "disk": "disk", "net": "network"}
INPUTS = {
    "memory": "held {}",
    "memory_limit": "of at most {}",
    "anon": "{} of it cannot be taken without swap",
    "need": "needs about {}",
}
FIGURES = {
    "refaults": "read {:g} pages a second again",
    "calm": "had been calm for {:g} ticks",
    "idle": "had been idle for {:g} s",
    "cpu": "used {:g} thousandths of a core",
    "slept": "had slept for {:g} s",
    "woken_after_us": "went on {:g} µs after the first frame",
}


def lines(changes: list[dict[str, Any]]) -> list[str]:
    """Each change with its local time."""
    import time

    made = []
    for one in changes:
        clock = time.strftime("%H:%M:%S", time.localtime(one["at"] // 10**9))
        made.append(f"{clock}.{one['at'] // 10**8 % 10}  {sentence(one)}")
    return made


def sentence(change: dict[str, Any]) -> str:
    """One change as one sentence, without its time."""
    parts = [f"{_did(change)}: {_rule(change)}"]
    inputs = _inputs(change.get("inputs") or {})
    if inputs:
        parts.append(f"it {inputs}")
    parts.append(_effect(change))
    return cell("; ".join(part for part in parts if part) + ".")


def _did(change: dict[str, Any]) -> str:
    act, kind = change["act"], change["resource"]
    before, after = _amount(change, "before"), _amount(change, "after")
    named = RESOURCES.get(kind, kind)
    if act in {"grow", "shrink"}:
        verb = "raised" if act == "grow" else "lowered"
        return f"{verb} {named} from {before} to {after}"
    if act == "weigh":
        return f"set the {named} weight from {before} to {after}"
    if act == "limit":
        return f"set the {named} limit from {before} to {after}"
    if act == "refuse":
        asked = "" if change.get("after") is None else f" of {after}"
        return f"left {named} as it is instead{asked}" if asked else f"refused {named}"
    return {"pause": "paused it", "resume": "let it go on", "wake": "woke it"}.get(act, str(act))


def _rule(change: dict[str, Any]) -> str:
    return RULES.get(change["reason"], str(change["reason"]))


def _amount(change: dict[str, Any], key: str) -> str:
    value = change.get(key)
    if value is None:
        return "no limit" if change["act"] in {"grow", "shrink", "limit"} else "an unknown value"
    return str(value) if change["act"] == "weigh" else amount(change["resource"], value)


def _inputs(inputs: dict[str, float]) -> str:
    words = INPUTS if "memory" in inputs else {**INPUTS, "memory_limit": "might hold at most {}"}
    told = [text.format(amount("memory", inputs[key])) for key, text in words.items()
            if key in inputs]  # fmt: skip
    told += [words.format(inputs[key]) for key, words in FIGURES.items() if key in inputs]
    rest = set(inputs) - INPUTS.keys() - FIGURES.keys()
    told += [f"{key} {inputs[key]:g}" for key in sorted(rest)]
    return ", ".join(told)


def _effect(change: dict[str, Any]) -> str:
    if change.get("failure"):
        return f"it did not work: {change['failure'][:400]}"
    effect, after = change.get("effect"), change.get("after")
    if effect is None:
        return ""
    shown = str(effect) if change["act"] == "weigh" else amount(change["resource"], effect)
    if effect == after or shown == _amount(change, "after"):
        return "it took effect"
    return f"{shown} was read back"
