"""A guest that vanishes at its end is not synced to disk; one that stays is."""

from __future__ import annotations

from live import Live

ROOT_OF = "grep ' / / ' /proc/self/mountinfo"


def test_only_what_vanishes_is_volatile(shared_instance: Live) -> None:
    live = shared_instance
    assert "volatile" in live.wirt("run", "--rm", "busybox", "sh", "-c", ROOT_OF).stdout
    live.wirt("run", "--name", "stays", "busybox", "sh", "-c", f"{ROOT_OF} >/root.txt")
    assert "volatile" not in live.pipe("cp", "stays:/root.txt", "-").decode()
    live.wirt("rm", "stays")


def test_a_volatile_guest_is_restarted_with_its_files(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("run", "-d", "--rm", "--name", "again", "busybox", "sh", "-c", "date >>/d; sleep 99")
    for times in (1, 2, 3):
        script = f"while [ $(wc -l </d) != {times} ]; do sleep 0.1; done"
        live.wirt("exec", "again", "sh", "-c", script)
        if times < 3:
            live.wirt("restart", "-t", "0", "again")
    live.wirt("rm", "-f", "again")
