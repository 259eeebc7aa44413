"""One booted microVM, asked everything that a running machine must answer."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from machinebox import BOOT, SECRET, Box, Session
from needs import needs
from wirt.engine._machine_handle import MachineHandle
from wirt.errors import Invalid, WirtError
from wirt.linux import procfs

pytestmark = needs("root", "mountns", "qemu", "erofs", "busybox", "keeper", "agent", "guest-kernel")


Tell = Callable[[Callable[[Session], Awaitable[None]]], None]


def test_it_is_a_machine_of_its_own(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = (
            "hostname; cat /proc/sys/kernel/random/boot_id; cat /etc/hosts; readlink /proc/1/exe"
        )
        code, out = await inside.execute("sh", "-c", script)
        name, boot_id, hosts, first = out.decode().splitlines()
        first = first.removesuffix(" (deleted)")  # some seconds after the start its file goes
        assert (code, name, hosts, first) == (0, "inside", "127.0.0.1 localhost", "/init")
        assert boot_id != procfs.boot_id()

    tell(story)


def test_a_link_in_the_image_does_not_carry_a_managed_file_away(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        code, out = await inside.execute("sh", "-c", "test -L /etc/hosts; echo $?; ls /data")
        assert (code, out) == (0, b"1\nseed\n")

    tell(story)


@pytest.mark.parametrize("code", [0, 1, 125, 126, 255])
def test_exec_gives_the_exit_code(tell: Tell, code: int) -> None:
    async def story(inside: Session) -> None:
        assert await inside.execute("sh", "-c", f"exit {code}") == (code, b"")

    tell(story)


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["nothing"], 127, "executable file not found"),
        (["/no/where"], 127, "No such file"),
        (["/bin"], 126, "is a directory"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["broken"], 126, "exec format error"),
        ([""], 127, "executable file not found"),
    ],
)
def test_what_cannot_be_run_is_refused(tell: Tell, argv: list[str], code: int, words: str) -> None:
    async def story(inside: Session) -> None:
        with pytest.raises(Invalid) as caught:
            await inside.begin(*argv)
        assert caught.value.facts["exit"] == code
        assert words in caught.value.message

    tell(story)


def test_environment_directory_and_user_have_defaults_and_can_be_given(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = "echo $FLAVOUR $HOME $EXTRA; pwd; id -u; id -g; id -G"
        plain = await inside.execute("sh", "-c", script)
        assert plain == (0, b"plain /root\n/\n0\n0\n0\n")
        given = await inside.execute(
            "sh", "-c", script, env=["EXTRA=more", "FLAVOUR=other"], cwd="/srv", user="bob"
        )
        assert given == (0, b"other /srv/bob more\n/srv\n1000\n1000\n1000 10\n")

    tell(story)


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("1000", "1000 1000 1000 10"),
        ("bob:root", "1000 0 0"),
        ("4242:77", "4242 77 77"),
        ("4242", "4242 0 0"),
        (":10", "0 10 10"),
    ],
)
def test_users_in_all_their_forms(tell: Tell, user: str, answer: str) -> None:
    async def story(inside: Session) -> None:
        code, out = await inside.execute("sh", "-c", "echo $(id -u) $(id -g) $(id -G)", user=user)
        assert (code, out.decode().strip()) == (0, answer)

    tell(story)


@pytest.mark.parametrize("user", ["nobody-here", "bob:nogroup", "99999999999", "-1", "bob:-1"])
def test_unknown_users_are_refused(tell: Tell, user: str) -> None:
    async def story(inside: Session) -> None:
        with pytest.raises(Invalid, match="no matching entries") as caught:
            await inside.begin("true", user=user)
        assert caught.value.facts["exit"] == 126

    tell(story)


@pytest.mark.parametrize(
    "trap",
    [
        "mkfifo /etc/passwd",
        "dd if=/dev/zero of=/etc/passwd bs=1 count=1 seek=1073741824 2>/dev/null",
        "ln -s /dev/zero /etc/passwd",
        "ln -s /proc/kmsg /etc/passwd",
        "mkdir /etc/passwd",
        "head -c 3000000 /dev/zero | tee /etc/passwd >/dev/null",
    ],
)
def test_a_hostile_passwd_file_neither_hangs_nor_exhausts(tell: Tell, trap: str) -> None:
    async def story(inside: Session) -> None:
        keep = "cat /etc/passwd >/tmp/keep"
        assert (await inside.execute("sh", "-c", f"{keep} && rm /etc/passwd && {trap}"))[0] == 0
        try:
            code, out = await inside.execute("sh", "-c", "echo alive", user="1000")
            assert (code, out) == (0, b"alive\n")
            with pytest.raises(Invalid, match="unable to find user bob"):
                await inside.begin("true", user="bob")
        finally:
            restore = "rm -rf /etc/passwd; cat /tmp/keep >/etc/passwd"
            assert (await inside.execute("sh", "-c", restore, user="0"))[0] == 0

    tell(story)


def test_input_flows_until_its_end(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        data = os.urandom(700_000)
        code, out = await inside.execute("cat", stdin=data)
        assert code == 0
        assert out == data

    tell(story)


def test_input_that_nobody_reads_does_not_block(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        assert await inside.execute("sh", "-c", "exec <&-; echo no", stdin=b"x" * 300_000) == (
            0, b"no\n",
        )  # fmt: skip

    tell(story)


def test_much_output_arrives_whole(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        code, out = await inside.execute("seq", "1", "400000")
        assert code == 0
        assert out == b"".join(b"%d\n" % n for n in range(1, 400_001))

    tell(story)


def test_a_slow_reader_holds_back_only_its_own_process(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        slow, name = await inside.begin("sh", "-c", "head -c 8000000 /dev/zero; echo end")
        assert await inside.execute("echo", "quick") == (0, b"quick\n")
        out = await slow.rest()
        assert len(out) == 8_000_004
        assert (await inside.event("exit", name))["code"] == ["0"]

    tell(story)


def test_output_of_a_process_left_behind_does_not_hold_the_exec(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        done = await inside.execute("sh", "-c", "sleep 1000 & echo $!")
        assert done[0] == 0
        assert (await inside.execute("kill", "-9", done[1].decode().strip()))[0] == 0

    tell(story)


def test_signals_reach_a_process(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.1; done"
        client, name = await inside.begin("sh", "-c", script)
        await client.until(b"ready\n")
        await inside.handle.signal(10, target=name)
        assert await client.rest() == b"ready\ncaught\n"
        assert (await inside.event("exit", name))["code"] == ["7"]
        other, name = await inside.begin("sleep", "1000")
        await inside.handle.signal(9, target=name)
        event = await inside.event("exit", name)
        assert (event["code"], event["signal"]) == (["137"], ["9"])
        await other.rest()

    tell(story)


def test_a_terminal_has_its_size_and_can_be_resized(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = "tty; stty size; trap 'stty size; exit 3' WINCH; echo ready;"
        script += "while :; do sleep 0.1; done"
        client, name = await inside.begin(
            "sh", "-c", script, tty="1", rows="24", columns="80", user="bob"
        )
        start = await client.until(b"ready")
        assert start.startswith(b"/dev/pts/")
        assert b"24 80" in start
        await inside.handle.resize(50, 132, target=name)
        assert b"50 132" in await client.rest()
        assert (await inside.event("exit", name))["code"] == ["3"]

    tell(story)


def test_keys_on_a_terminal(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        client, name = await inside.begin("cat", tty="1", stdin=True)
        await client.send(b"hello\n")
        await client.until(b"hello\r\nhello\r\n")
        await client.send(b"\x03")
        await client.rest()
        assert (await inside.event("exit", name))["code"] == ["130"]

    tell(story)


def test_confinement_reaches_further_processes(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = "ulimit -n; ulimit -Hn; grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
        code, out = await inside.execute("sh", "-c", script)
        soft, hard, bounding, new = out.decode().split("\n")[:4]
        assert (code, soft, hard) == (0, "64", "128")
        assert int(bounding.split()[1], 16) >> 13 & 1 == 0
        assert int(bounding.split()[1], 16) >> 21 & 1 == 1
        assert new.split()[1] == "1"

    tell(story)


def test_the_limit_of_processes_holds(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = "for i in $(seq 100); do sleep 100 & echo $!; done 2>/dev/null; echo unlimited"
        code, out = await inside.execute("sh", "-c", script)
        started = out.decode().split()
        assert code != 0
        assert "unlimited" not in started
        assert 40 < len(started) < 60
        assert await inside.execute("sh", "-c", f"kill -9 {' '.join(started)}") == (0, b"")

    tell(story)


def test_kernel_settings_and_shared_memory(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = (
            "cat /proc/sys/kernel/panic_on_oops /proc/sys/net/ipv4/ip_unprivileged_port_start;"
            "grep -E ' /dev/shm | /scratch ' /proc/mounts"
        )
        code, out = await inside.execute("sh", "-c", script)
        oops, port, shm, scratch = out.decode().strip().splitlines()
        assert (code, oops, port) == (0, "1", "0")
        assert "size=2048k" in shm
        assert {"size=1024k", "mode=700"} <= set(scratch.split()[3].split(","))
        assert {"noexec", "nosuid", "nodev"} <= set(scratch.split()[3].split(","))

    tell(story)


def test_shared_folders(tell: Tell, machine: Box) -> None:
    base = machine.layout.state.parent.parent

    async def story(inside: Session) -> None:
        script = (
            "cat /mnt/rw/note /mnt/ro/note /etc/app.conf;"
            "echo new >/mnt/rw/made; chmod 600 /mnt/rw/made"
        )
        assert await inside.execute("sh", "-c", script) == (0, (SECRET * 2 + "one file\n").encode())
        made = base / "rw" / "made"
        assert made.read_text() == "new\n"
        assert (made.stat().st_mode & 0o777, made.stat().st_uid) == (0o600, 0)
        # The guest's root may lift its own flag, but not the host's.
        script = "mount -o remount,rw /mnt/ro; echo x >/mnt/ro/note; ls /mnt/ro/.."
        _, out = await inside.execute("sh", "-c", f"exec 2>&1; {script}")
        assert (base / "ro" / "note").read_text() == SECRET
        assert b"ro\nrw\n" in out
        (base / "rw" / "later").write_text("from the host\n")
        assert await inside.execute("cat", "/mnt/rw/later") == (0, b"from the host\n")

    tell(story)


def test_servers_of_folders_have_nothing_else_of_the_machine(machine: Box) -> None:
    group = machine.layout.cgroup(machine.guest.id)
    servers = [pid for pid in machine.cgroups.processes(group) if "virtiofsd" in _name(pid)]
    assert len(servers) >= 3
    (qemu,) = (pid for pid in machine.cgroups.processes(group) if "qemu" in _name(pid))
    its = _open(qemu)
    assert any(name.endswith("disk.img") for name in its)
    assert any(name.startswith("socket:") for name in its)
    shared = set[str]().union(*map(_open, servers)) & its
    both = ("pipe:", "/dev/null", "/memfd:ram", "anon_inode:")
    assert [name for name in shared if not name.startswith(both)] == []


def _open(pid: int) -> set[str]:
    return {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def test_drivers_that_can_wait_come_by_themselves(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        script = (
            "until [ -e /sys/bus/virtio/drivers/virtio_balloon/virtio* ]; do sleep 0.1; done;"
            "ls /sys/bus/virtio/drivers; stat -c %u /dev/null"
        )
        code, out = await inside.execute("sh", "-c", script, user="bob")
        assert code == 0
        assert {b"virtio_balloon", b"virtio_blk", b"virtio_console"} <= set(out.split())
        assert out.endswith(b"\n0\n")

    tell(story)


def test_usage_processes_and_clock(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        usage = await inside.handle.usage()
        assert usage.memory is not None
        assert usage.memory_limit is not None
        assert 0 < usage.memory < usage.memory_limit < 256 << 20
        assert usage.pids == 1
        assert usage.cpu_ns is not None
        assert usage.cpu_ns > 0
        titles, rows = await inside.handle.processes("")
        assert list(titles) == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        assert [row[-1] for row in rows] == ["sleep 10000"]
        assert all(len(row) == len(titles) for row in rows)
        await inside.call("time", now="1000000000000000000")
        code, out = await inside.execute("date", "+%s")
        assert code == 0
        assert 1_000_000_000 <= int(out) < 1_000_000_000 + BOOT

    tell(story)


def test_managed_files_can_be_rewritten_and_nothing_else(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        handle = inside.handle
        assert isinstance(handle, MachineHandle)
        await handle.write_file("hosts", "10.0.0.1 other\n")
        assert await inside.execute("cat", "/etc/hosts") == (0, b"10.0.0.1 other\n")
        await handle.write_file("hosts", "127.0.0.1 localhost\n")
        for name in ("passwd", "../etc/hosts", "", "."):
            with pytest.raises(WirtError):
                await handle.write_file(name, "x")

    tell(story)


def test_what_the_agent_does_not_know_is_refused(tell: Tell) -> None:
    async def story(inside: Session) -> None:
        with pytest.raises(WirtError, match="knows no call"):
            await inside.call("launch-missiles")

    tell(story)
