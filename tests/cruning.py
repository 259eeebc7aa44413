"""A keeper whose guest is a real container of busybox, run by crun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keeping import GUEST, Keeper, keeper
from needs import program

# crun refuses hybrid hosts, so what is mounted at `unified` is covered in a mount namespace.
COVER = (
    "unshare", "-m", "--propagation", "slave", "sh", "-c",
    "if [ -d /sys/fs/cgroup/unified ]; then"
    " mount -t tmpfs -o size=16m none /sys/fs/cgroup/unified; fi; exec \"$@\"", "cover",
)  # fmt: skip


def _config(command: list[str], *, tty: bool, name: str) -> dict[str, object]:
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    pts = {
        "destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
    }  # fmt: skip
    dev = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
    return {
        "ociVersion": "1.0.0",
        "process": process(command, tty=tty),
        "root": {"path": "rootfs"},
        "hostname": "guest",
        "mounts": [proc, dev, pts],
        "linux": {
            "cgroupsPath": f"/{name}/{GUEST}",
            "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")],
        },
    }


def process(command: list[str], *, tty: bool = False) -> dict[str, object]:
    """An OCI process."""
    return {
        "terminal": tty, "args": command, "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"],
        "user": {"uid": 0, "gid": 0},
    }  # fmt: skip


def process_json(*command: str, tty: bool = False) -> str:
    """An exec's ``process``."""
    return json.dumps(process(list(command), tty=tty))


def _rootfs(run: Path) -> None:
    for name in ("bin", "proc", "dev", "tmp"):
        (run / "rootfs" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", run / "rootfs/bin/busybox")
    for applet in ("sh", "cat", "echo", "sleep", "stty", "seq", "true", "head", "yes", "tty", "ps"):
        (run / "rootfs/bin" / applet).symlink_to("busybox")


@contextmanager
def crun(command: list[str], *, name: str, tty: bool = False, **more: str) -> Iterator[Keeper]:
    """A keeper whose guest runs ``command``. ``name``: of the cgroup above the guest's."""
    with tempfile.TemporaryDirectory(prefix="wirt-crun-") as directory:
        run = Path(directory)
        _rootfs(run)
        (run / "config.json").write_text(json.dumps(_config(command, tty=tty, name=name)))
        engine = [program("crun"), "--root", str(run / "crun"), "--log", str(run / "engine.log")]
        engine += ["--cgroup-manager", "cgroupfs"]
        start = [*engine, "run", "--detach", "--pid-file", str(run / "pid")]
        start += ["--bundle", str(run)]
        start += ["--console-socket", str(run / "console.sock")] if tty else []
        conf = {
            "id": GUEST, "mode": "container", "engine_log": "engine.log", "tty": str(int(tty)),
            "stdin": "1", "stdin_once": "1", "log": str(run / "log"), "log_size": "100000000",
            "log_files": "2", "env": f"PATH={os.environ['PATH']}",
        }  # fmt: skip
        pairs = [*(conf | more).items(), *(("argv", word) for word in [*start, GUEST])]
        pairs += (("exec_argv", word) for word in [*engine, "exec", "--detach"])
        try:
            with keeper(run, pairs, wrap=COVER) as rig:
                yield rig
        finally:
            done = subprocess.run(
                [*COVER, *engine, "delete", "--force", GUEST], capture_output=True, timeout=30
            )
            for cgroup in Path("/sys/fs/cgroup").glob(f"*/{name}"):
                for level in (*cgroup.glob("*"), cgroup):
                    if level.is_dir():
                        level.rmdir()
            assert done.returncode == 0, done.stderr
