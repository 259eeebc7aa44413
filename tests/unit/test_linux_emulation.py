"""Whether the kernel would run programs of other processors, from what binfmt_misc shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirt.linux.emulation import emulates

ARM64 = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""
S390X = """\
enabled
interpreter /usr/bin/qemu-s390x-static
flags: F
offset 0
magic 7f454c4602020100000000000000000000020016
mask ffffffffffffff00fffffffffffffffffffeffff
"""
EXTENSION = "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n"


def place(folder: Path, status: str = "enabled", **entries: str) -> Path:
    (folder / "status").write_text(f"{status}\n")
    (folder / "register").write_text("")
    for name, text in entries.items():
        (folder / name).write_text(text)
    return folder


def test_registered_emulators_count(tmp_path: Path) -> None:
    there = place(tmp_path, arm=ARM64, s390x=S390X, exe=EXTENSION)
    assert emulates("arm64", there)
    assert emulates("s390x", there)
    assert not emulates("riscv64", there)
    assert not emulates("arm", there)
    assert not emulates("pdp11", there)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("flags: POCF", "flags: POC"),  # it would be looked for in the container
        ("enabled", "disabled"),
        ("feffffff", "ffffffff"),  # only programs that are not position independent
        ("b700", "b701"),
        ("magic 7f", "magic zz"),
        ("offset 0", "offset 8"),
        ("mask ff", "mask "),
    ],
)
def test_what_does_not_count(tmp_path: Path, old: str, new: str) -> None:
    assert ARM64.replace(old, new) != ARM64
    assert not emulates("arm64", place(tmp_path, arm=ARM64.replace(old, new)))


def test_without_any(tmp_path: Path) -> None:
    assert not emulates("arm64", tmp_path / "absent")
    assert not emulates("arm64", place(tmp_path, arm=""))
    (tmp_path / "status").write_text("disabled\n")
    (tmp_path / "arm").write_text(ARM64)
    assert not emulates("arm64", tmp_path)
