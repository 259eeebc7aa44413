#!/usr/bin/env python3
"""Make what machines boot from: an uncompressed kernel and an initramfs with the agent.

    tools/guest_kernel.py [--out build/guest] [--agent build/native/wirt-agent] [--deb FILE]

The kernel is Debian's cloud kernel, fetched with apt (26 MB) once; later runs rewrite only what
changed, so this may run in every build. Results: ``vmlinux``, ``initrd.cpio`` and ``kernel.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from wirt.errors import WirtError  # noqa: E402 - found by the line above
from wirt.qemu import bzimage, cpio  # noqa: E402
from wirt.qemu.module import Module, load_order, normal, read_module  # noqa: E402

META = "linux-image-cloud-amd64"
FORMAT = 2
"""Rises when files of an older run of this tool cannot be used any more."""

GROUPS: dict[str, tuple[str, ...]] = {
    "mmio": ("virtio_mmio", "virtio_console"),
    "pci": ("virtio_pci", "virtio_console"),
    "disk": ("virtio_blk", "erofs", "overlay"),
    "net": ("virtio_net",),
    "share": ("virtiofs",),
    "late": ("virtio_balloon", "virtio_rng"),
    "grow": ("virtio_mem",),
}
"""Modules by the moment at which the agent wants them; it loads no more than a guest needs."""


def main() -> int:
    parser = argparse.ArgumentParser(description="make the kernel and initramfs of machines")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "guest")
    parser.add_argument("--agent", type=Path, default=ROOT / "build" / "native" / "wirt-agent")
    parser.add_argument("--deb", type=Path, help="a kernel package to use instead of apt's")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        facts = kernel(args.out, args.deb)
        initramfs(args.out, args.agent, facts)
    except (WirtError, OSError, subprocess.CalledProcessError) as error:
        hint = getattr(error, "hint", None)
        print(f"guest_kernel: {error}{f' ({hint})' if hint else ''}", file=sys.stderr)
        return 1
    return 0


def kernel(out: Path, deb: Path | None) -> dict[str, object]:
    """Make ``vmlinux``, ``modules/`` and ``kernel.json`` unless they are there."""
    record = out / "kernel.json"
    if deb is None and record.exists() and (out / "vmlinux").exists():
        facts: dict[str, object] = json.loads(record.read_text())
        if facts.get("format") == FORMAT and facts.get("groups") == _jsonable(GROUPS):
            return facts
    package = deb or fetch(out)
    files = wanted_files(package)
    image = next(data for name, data in files.items() if name.startswith("vmlinuz-"))
    release = next(name for name in files if name.startswith("vmlinuz-")).removeprefix("vmlinuz-")
    vmlinux = bzimage.unpack(image, {bzimage.LZ4_LEGACY: lz4})
    write(out / "vmlinux", vmlinux)
    modules = {normal(Path(n).stem): data for n, data in files.items() if n.endswith(".ko")}
    infos = {name: read_module(data) for name, data in modules.items()}
    (out / "modules").mkdir(exist_ok=True)
    used = sorted({name for group in GROUPS.values() for name in load_order(group, infos)})
    for name in used:
        write(out / "modules" / f"{name}.ko", without_signature(modules[name]))
    facts = {
        "format": FORMAT,
        "release": release,
        "package": package.name,
        "sha256": hashlib.sha256(vmlinux).hexdigest(),
        "groups": _jsonable(GROUPS),
        "modules": used,
    }
    write(record, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


def without_signature(module: bytes) -> bytes:
    """The module alone. Its signature would be verified at each boot (5 ms each under emulation),
    while the initramfs that it comes in is ours anyway. The trailer is ``struct
    module_signature`` and a magic line (kernel/module_signature.c)."""
    magic = b"~Module signature appended~\n"
    if not module.endswith(magic):
        return module
    (length,) = struct.unpack_from(">I", module, len(module) - len(magic) - 4)
    return module[: len(module) - len(magic) - 12 - length]


def fetch(out: Path) -> Path:
    """Download the package that the cloud kernel's meta package depends on."""
    depends = run("apt-cache", "depends", META).decode()
    match = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if match is None:
        raise WirtError(
            f"apt knows no package {META}", hint="run apt-get update on Debian 12 (amd64) first"
        )
    for stale in out.glob("linux-image-*.deb"):
        stale.unlink()
    run("apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download", match[1], cwd=out)
    return next(out.glob("linux-image-*.deb"))


def wanted_files(package: Path) -> dict[str, bytes]:
    """The kernel and all its modules, by file name, out of the package."""
    found: dict[str, bytes] = {}
    data = run("dpkg-deb", "--fsys-tarfile", str(package))
    with tarfile.open(fileobj=io.BytesIO(data)) as tree:
        for member in tree:
            name = member.name.rsplit("/", 1)[-1]
            if member.isreg() and (name.startswith("vmlinuz-") or name.endswith(".ko")):
                stream = tree.extractfile(member)
                assert stream is not None
                found[name] = stream.read()
    return found


def initramfs(out: Path, agent: Path, facts: dict[str, object]) -> None:
    """Write ``initrd.cpio``: the agent as ``/init``, modules, and ``/modules`` that orders them.

    A line of ``/modules``: a group's name, then the files to load in order.
    """
    if not agent.exists():
        raise WirtError(f"{agent} is not there", hint="build it first: make native")
    contents = {path.stem: path.read_bytes() for path in sorted((out / "modules").glob("*.ko"))}
    infos: dict[str, Module] = {name: read_module(data) for name, data in contents.items()}
    lines = [" ".join([group, *load_order(names, infos)]) for group, names in GROUPS.items()]
    entries = [
        *(cpio.directory(name) for name in ("dev", "proc", "sys", "lib", "root", "lower", "disk")),
        cpio.character("dev/console", 5, 1),
        cpio.file("init", agent.read_bytes(), mode=0o755),
        cpio.file("modules", ("\n".join(lines) + "\n").encode()),
        *(cpio.file(f"lib/{name}.ko", data) for name, data in contents.items()),
    ]
    write(out / "initrd.cpio", cpio.archive(entries))


def lz4(data: bytes) -> bytes:
    """Unpack with the lz4 program; it complains about the end of the stream, which is checked."""
    done = subprocess.run(["lz4", "-dc"], input=data, capture_output=True, check=False)
    return done.stdout


def run(*argv: str, cwd: Path | None = None) -> bytes:
    try:
        return subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, check=True).stdout
    except FileNotFoundError as error:
        raise WirtError(f"{argv[0]} is not installed", hint="this needs Debian's tools") from error


def write(path: Path, content: bytes) -> None:
    """Replace ``path`` as a whole, and only when the content differs."""
    if path.exists() and path.read_bytes() == content:
        return
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.rename(path)


def _jsonable(groups: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: list(modules) for name, modules in groups.items()}


if __name__ == "__main__":
    raise SystemExit(main())
