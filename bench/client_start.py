"""What the client's own start costs: whole processes against a daemon that answers at once.

    bench/client_start.py [RUNS]

Prints medians and minima in milliseconds of RUNS (30) starts each, taken in turn so that the load
of the machine falls on all alike. The promise: a no-op request costs at most 15 ms over the bare
interpreter.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fakes.daemon import FakeDaemon  # noqa: E402
from fakes.guest import Script  # noqa: E402

PROMISE_MS = 15.0


def once(argv: list[str], env: dict[str, str]) -> float:
    """Milliseconds from start to exit."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
    before = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    elapsed = (time.perf_counter() - before) * 1000
    os.close(null)
    assert os.waitstatus_to_exitcode(status) == 0, argv
    return elapsed


def main() -> None:
    """Measure and print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    bare = [sys.executable, "-I", "-S", "-X", "utf8"]
    client = [*bare, str(ROOT / "src/wirt/cli/main.py")]
    cases = {
        "bare interpreter": [*bare, "-c", "pass"],
        "stop GUEST": [*client, "stop", "web"],
        "ps": [*client, "ps"],
        "run -d": [*client, "run", "-d", "busybox", "true"],
        "run --rm": [*client, "run", "--rm", "busybox", "true"],
        "exec": [*client, "exec", "web", "true"],
        "bin/wirt ps": [str(ROOT / "bin/wirt"), "ps"],
    }
    with tempfile.TemporaryDirectory() as folder, FakeDaemon(Path(folder) / "s") as daemon:
        script = Script(daemon)
        script.begin.set()
        daemon.routes["GET /v1/guests"] = lambda x: x.answer([])
        daemon.routes["POST /v1/guests/web/stop"] = lambda x: x.answer(status=204)
        daemon.routes["POST /v1/guests/web/exec"] = lambda x: x.answer({"id": "e"}, status=201)
        daemon.routes["POST /v1/exec/e/start"] = script.attach
        daemon.routes["POST /v1/exec/e/wait"] = lambda x: x.answer({"code": 0})
        env = {"PATH": os.defpath, "WIRT_HOST": str(daemon.path)}
        for argv in cases.values():
            once(argv, env)
        taken: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(runs):
            for name, argv in cases.items():
                taken[name].append(once(argv, env))
    floor = statistics.median(taken["bare interpreter"])
    print(f"{'':20}{'median':>9}{'minimum':>9}{'over bare':>11}   ({runs} runs, ms)")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:20}{median:9.1f}{min(times):9.1f}{median - floor:11.1f}")
    worst = statistics.median(taken["stop GUEST"]) - floor
    print(
        f"promise: at most {PROMISE_MS} ms over bare: {'kept' if worst <= PROMISE_MS else 'BROKEN'}"
    )


if __name__ == "__main__":
    main()
