"""USER[:GROUP] against passwd and group files of every kind, hostile ones included."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Invalid, NotFound, WirtError
from wirt.privileged.protocol import ResolvedUser
from wirt.privileged.users import MAX_FILE, MAX_GROUPS, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
# web:x:1:1::/:
web:x:1000:1001:Web:/srv/web:/bin/sh
1234:x:55:66::/named:/bin/sh
other:x:1234:1234::/other:/bin/sh
broken:x:99999999999:5::/x:/bin/sh
empty:x::5::/x:/bin/sh
short:x
nohome:x:7:8
relative:x:9:9::home:/bin/sh
"""
GROUP = """root:x:0:
web:x:1001:
video:x:44:web,other
audio:x:29:other,web
77:x:78:web2
broken:x:-1:
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (), "/root")),
        ("root", (0, 0, (), "/root")),
        ("0", (0, 0, (), "/root")),
        ("web", (1000, 1001, (44, 29), "/srv/web")),
        ("1000", (1000, 1001, (44, 29), "/srv/web")),
        ("web:", (1000, 1001, (44, 29), "/srv/web")),
        ("web:video", (1000, 44, (), "/srv/web")),
        ("web:5", (1000, 5, (), "/srv/web")),
        ("web:77", (1000, 78, (), "/srv/web")),
        ("1234", (55, 66, (), "/named")),
        ("4321", (4321, 0, (), "/")),
        ("4321:audio", (4321, 29, (), "/")),
        (":44", (0, 44, (), "/root")),
        ("2147483647", (2147483647, 0, (), "/")),
        ("nohome", (7, 8, (), "/")),
        ("relative", (9, 9, (), "/")),
        ("007", (7, 8, (), "/")),
    ],
)
def test_dockers_forms(
    root: int, text: str, expected: tuple[int, int, tuple[int, ...], str]
) -> None:
    uid, gid, groups, home = expected
    assert resolve(root, text) == ResolvedUser(uid=uid, gid=gid, groups=groups, home=home)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nobody", NotFound), ("0x0", NotFound), ("web:nogroup", NotFound), ("+0", NotFound),
        ("-1", NotFound), ("1e3", NotFound), (" root", NotFound), ("\u0660", NotFound),
        ("a:b:c", NotFound), ("web:a:b", NotFound), ("short", NotFound), ("#", NotFound),
        ("4294967296", Invalid), ("2147483648", Invalid), ("9" * 400, Invalid),
        ("root\nx:0:0", Invalid), ("root\0", Invalid), ("x" * 600, Invalid),
        ("broken", Invalid), ("empty", Invalid), ("web:broken", Invalid), ("0:4294967296", Invalid),
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_error_never_root(
    root: int, text: str, kind: type[WirtError]
) -> None:
    with pytest.raises(kind):
        resolve(root, text)


def test_no_files_at_all(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert resolve(fd, "12:34") == ResolvedUser(uid=12, gid=34)
        assert resolve(fd, "") == ResolvedUser(uid=0, gid=0)
        with pytest.raises(NotFound):
            resolve(fd, "root")
    finally:
        os.close(fd)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _large(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [_fifo, _large, _loop, Path.mkdir])
def test_a_passwd_that_is_no_small_file_is_refused_at_once(
    root: int, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "etc/passwd").unlink()
    make(tmp_path / "etc/passwd")
    for text in ("root", "0", ""):
        with pytest.raises(Invalid, match="/etc/passwd"):
            resolve(root, text)


def test_symlinks_stay_inside(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/../../../../etc/passwd")
    with pytest.raises(Invalid):  # a loop to itself, not the host's file
        resolve(root, "root")
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/data/users")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/users").write_text("me:x:5:6::/me:\n")
    assert resolve(root, "me") == ResolvedUser(uid=5, gid=6, home="/me")


def test_etc_as_a_link_to_the_hosts(root: int, tmp_path: Path) -> None:
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).unlink()
    (tmp_path / "etc").rmdir()
    (tmp_path / "etc").symlink_to("../../../../../../etc")
    with pytest.raises((NotFound, Invalid)):
        resolve(root, "root")


def test_too_many_groups(root: int, tmp_path: Path) -> None:
    lines = "".join(f"g{i}:x:{i}:web\n" for i in range(MAX_GROUPS + 1))
    (tmp_path / "etc/group").write_text(lines)
    with pytest.raises(Invalid, match="more than"):
        resolve(root, "web")


def test_the_largest_file_is_read(root: int, tmp_path: Path) -> None:
    filler = b"x" * (MAX_FILE - 30) + b"\n"
    (tmp_path / "etc/passwd").write_bytes(filler + b"me:x:5:6::/me:\n")
    assert resolve(root, "me").uid == 5


@given(passwd=st.binary(max_size=200), group=st.binary(max_size=200), text=st.text(max_size=12))
def test_any_bytes_give_a_user_or_a_clear_error(passwd: bytes, group: bytes, text: str) -> None:

    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "etc").mkdir()
        (Path(directory) / "etc/passwd").write_bytes(passwd)
        (Path(directory) / "etc/group").write_bytes(group)
        fd = os.open(directory, os.O_PATH)
        try:
            user = resolve(fd, text)
        except WirtError:
            return
        finally:
            os.close(fd)
    assert 0 <= user.uid < 2**31
    assert 0 <= user.gid < 2**31
    assert user.home.startswith("/")
