"""``wirt bench``: measurements that a user can repeat."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, Group, misuse
from wirt.cli.output import out, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from wirt.bench.drive import Plan
    from wirt.bench.outcome import Run
    from wirt.bench.policies import Policy

_SECOND = 10**9


def officeday(call: Call) -> int:
    """Run an office's day on a simulated host under each policy, and compare."""
    from pathlib import Path

    from wirt.bench import drive, picture, report, score
    from wirt.bench.policies import Policy

    plan = _plan(call)
    runs = []
    those: dict[int, dict[Policy, Run]] = {}
    for run in drive.measure(plan, lambda text: out(f"{text}\n")):
        runs.append(run)
        same = those.setdefault(run.seed, {})
        same[Policy(run.policy)] = run
        out(score.line(run, same) + "\n")
    if score.by_seed(runs):
        out("\n" + report.table(runs) + "\n")
    if call.given("json"):
        Path(call.text("json")).write_text(report.document(runs))
    if place := _place(call, "plots"):
        for name, text in picture.all_of([r for r in runs if r.seed == plan.seeds[0]]).items():
            (place / name).write_text(text)
    if spoiled := [run for run in runs if run.invalid]:
        warn(f"{len(spoiled)} of {len(runs)} runs were disturbed and must not count: repeat them")
    return 1 if spoiled else 0


def _plan(call: Call) -> Plan:
    from wirt.bench.drive import Plan
    from wirt.bench.workload import office

    scale = _scale(call.text("scale") or "1")
    plan = office(
        call.text("variant") or "polite", guests=call.text("guests") or "container", scale=scale
    )
    seconds = (call.number("day") or 96 * _SECOND) // _SECOND
    if not 6 <= seconds <= 3600:
        raise misuse("a day of --day is 6 s to 1 h long", hint="96s is the usual one")
    return Plan(
        office=plan, scale=scale, seconds=seconds, policies=_policies(call.text("policy") or "all"),
        seeds=_seeds(call.text("seed") or "1"), name=call.text("name") or "officeday",
        swap=not call.on("no-swap"), traces=_place(call, "traces"),
    )  # fmt: skip


def _place(call: Call, name: str) -> Path | None:
    """The directory that a flag names, made if need be."""
    from pathlib import Path

    if not call.given(name):
        return None
    place = Path(call.text(name))
    place.mkdir(parents=True, exist_ok=True)
    return place


def _scale(text: str) -> float:
    """Cores of the simulated host; ``host``: all of this machine but the one that measures."""
    if text == "host":
        import os

        return float(max(len(os.sched_getaffinity(0)) - 1, 1))
    try:
        scale = float(text)
    except ValueError:
        raise misuse(
            f"invalid value {text!r} for --scale", hint="write a number, as 0.5, or host"
        ) from None
    return scale


def _policies(text: str) -> tuple[Policy, ...]:
    from wirt.bench.policies import ALL, Policy

    if text == "all":
        return ALL
    known = {policy.value: policy for policy in Policy}
    named = text.split(",")
    if unknown := [name for name in named if name not in known]:
        raise misuse(
            f"invalid value {unknown[0]!r} for --policy", hint=f"write all or {', '.join(known)}"
        )
    return tuple(known[name] for name in dict.fromkeys(named))


def _seeds(text: str) -> tuple[int, ...]:
    named = text.split(",")
    if not all(one.isascii() and one.isdigit() and len(one) <= 9 for one in named):
        raise misuse(f"invalid value {text!r} for --seed", hint="write numbers, as 1,2,3")
    return tuple(dict.fromkeys(int(one) for one in named))


_VARIANTS = ("polite", "backup", "greedy", "cold", "oom", "overlap", "failover", "idle50")
_KINDS = ("container", "microvm", "vm", "mixed")

COMMAND = Group(
    "bench",
    summary="Measure what sharing gains",
    verbs={
        "officeday": Command(
            "bench officeday",
            summary="An office's day on a simulated host, under one policy after another",
            flags=(
                Flag("day", kind="duration", value="TIME", help="Length of the day (96s)"),
                Flag("guests", value="KIND", choices=_KINDS, help="Kind of the guests (container)"),
                Flag("json", value="FILE", help="Write everything measured there"),
                Flag("name", value="NAME", help="Name of the instance it makes (officeday)"),
                Flag("no-swap", kind="bool", help="Give the host no compressed memory as swap"),
                Flag("plots", value="DIR", help="Write pictures there"),
                Flag(
                    "policy",
                    value="NAME,...",
                    help="oracle, static, vmlike, linux, linux-tuned, governor, or all",
                ),
                Flag(
                    "scale", value="NUMBER", help="Cores; all else follows (1); host: all but one"
                ),
                Flag("seed", value="N,...", help="What decides the arrivals (1)"),
                Flag("traces", value="DIR", help="Keep the governor's days there, for wirt replay"),
                Flag("variant", value="NAME", choices=_VARIANTS, help="Which office (polite)"),
            ),
            run=officeday,
        ),
    },
)
