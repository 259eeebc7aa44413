"""``cp`` both ways: docker's path rules, and archives of a hostile guest."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.daemon import Exchange, FakeDaemon
from fakes.terminal import Outcome, wirt
from needs import needs
from wirt.cli.app import main
from wirt.cli.command.cp import Place
from wirt.cli.untar import Unpacker
from wirt.errors import Invalid

WHERE = "/v1/guests/web/archive"


class Files:
    """A guest's files in a local directory, served as the daemon does."""

    def __init__(
        self, daemon: FakeDaemon, root: Path, captured: pytest.CaptureFixture[str]
    ) -> None:
        self.captured = captured
        self.root = root
        self.socket = daemon.path
        self.put: list[tuple[str, dict[str, str]]] = []
        root.mkdir()
        daemon.routes["GET /v1/guests/web"] = lambda x: x.answer({"id": "web"})
        daemon.routes[f"HEAD {WHERE}"] = self._head
        daemon.routes[f"GET {WHERE}"] = self._get
        daemon.routes[f"PUT {WHERE}"] = self._put

    def _found(self, exchange: Exchange) -> tuple[Path, dict[str, str]] | None:
        path = self.root / (exchange.request.one("path") or "").lstrip("/")
        if not os.path.lexists(path):
            return None
        status = path.lstat()
        told = {
            "name": path.name,
            "mode": status.st_mode,
            "size": status.st_size,
            "mtime": 0,
            "link_target": str(path.readlink()) if path.is_symlink() else "",
        }
        return path, {"Wirt-Stat": base64.b64encode(json.dumps(told).encode()).decode()}

    def _head(self, exchange: Exchange) -> None:
        found = self._found(exchange)
        if found is None:
            exchange.answer(status=404)
        else:
            exchange.answer(headers=found[1])

    def _get(self, exchange: Exchange) -> None:
        found = self._found(exchange)
        if found is None:
            path = exchange.request.one("path")
            exchange.problem("not-found", f"there is no {path} in the guest web", status=404)
            return
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.add(found[0], arcname=found[0].name if found[0] != self.root else "/")
        exchange.answer(data.getvalue(), headers=found[1])

    def _put(self, exchange: Exchange) -> None:
        path = exchange.request.one("path") or ""
        self.put.append((path, dict(exchange.request.query)))
        with tarfile.open(fileobj=io.BytesIO(exchange.request.body)) as tar:
            for member in tar:
                assert member.uid == member.gid == 0 or exchange.request.one("copy_uid_gid")
                tar.extract(member, self.root / path.lstrip("/"), set_attrs=False)
        exchange.answer()

    def cp(self, *words: str, cwd: Path | None = None) -> Outcome:
        """Copy in this process, which starts faster than another one."""
        before = Path.cwd()
        os.chdir(cwd or before)
        try:
            code = main(["--host", str(self.socket), "cp", *words])
        finally:
            os.chdir(before)
        told = self.captured.readouterr()
        return Outcome(code, told.out.encode(), told.err)


@pytest.fixture
def files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Files]:
    with FakeDaemon(tmp_path / "s") as daemon:
        made = Files(daemon, tmp_path / "guest", capfd)
        (made.root / "etc").mkdir()
        (made.root / "etc" / "a").write_text("a")
        (made.root / "etc" / "sub").mkdir()
        (made.root / "etc" / "sub" / "b").write_text("b")
        (made.root / "link").symlink_to("etc")
        (made.root / "file").write_text("file")
        yield made


@pytest.fixture
def here(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    (made / "dir").mkdir()
    (made / "dir" / "x").write_text("x")
    (made / "f").write_text("f")
    return made


def tree(root: Path) -> list[str]:
    """Every path below, directories with a slash."""
    return sorted(
        f"{path.relative_to(root)}{'/' if path.is_dir() and not path.is_symlink() else ''}"
        for path in root.rglob("*")
    )


@pytest.mark.parametrize(
    ("source", "destination", "made"),
    [
        ("web:/file", "new", ["new"]),
        ("web:file", ".", ["file"]),
        ("web:/file", "./", ["file"]),
        ("web:/file", "old", ["old"]),
        ("web:/etc", "new", ["new/", "new/a", "new/sub/", "new/sub/b"]),
        ("web:/etc/", "new", ["new/", "new/a", "new/sub/", "new/sub/b"]),
        ("web:/etc", "new/", ["new/", "new/a", "new/sub/", "new/sub/b"]),
        ("web:/etc", ".", ["etc/", "etc/a", "etc/sub/", "etc/sub/b"]),
        ("web:/etc/.", ".", ["a", "sub/", "sub/b"]),
        ("web:/etc/.", "new", ["new/", "new/a", "new/sub/", "new/sub/b"]),
        ("web:/link", ".", ["link"]),
        ("web:/link/.", ".", ["a", "sub/", "sub/b"]),
        ("web:/etc/../file", ".", ["file"]),
    ],
)
def test_out(files: Files, tmp_path: Path, source: str, destination: str, made: list[str]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    done = files.cp(source, destination, cwd=target)
    assert (done.code, done.err) == (0, "")
    assert [one for one in tree(target) if one != "old" or one in made] == made


def test_out_follows_a_link_when_asked(files: Files, tmp_path: Path) -> None:
    assert files.cp("-L", "web:/link", str(tmp_path / "new")).code == 0
    assert tree(tmp_path / "new") == ["a", "sub/", "sub/b"]


def test_out_as_a_tar(files: Files) -> None:
    done = wirt("cp", "web:/etc", "-", socket=files.socket)
    with tarfile.open(fileobj=io.BytesIO(done.out)) as tar:
        assert tar.getnames() == ["etc", "etc/a", "etc/sub", "etc/sub/b"]


@pytest.mark.parametrize(
    ("source", "destination", "code", "part"),
    [
        ("web:/none", ".", 3, "there is no /none in the guest web"),
        ("web:/file/", ".", 2, "is no directory"),
        ("web:/file", "none/", 2, "there is no directory none/"),
        ("web:/file", "none/x", 2, "there is no directory none"),
        ("web:/etc", "old", 2, "cannot copy the directory /etc to the file old"),
        ("web:/file", "old/", 2, "old/ is no directory"),
        ("gone:/file", ".", 3, "no route"),
        ("old", "new", 2, "cannot copy between two local paths"),
        ("web:/a", "web:/b", 2, "cannot copy between two guests"),
        ("web:", ".", 2, "invalid place 'web:'"),
    ],
)
def test_out_refused(
    files: Files, tmp_path: Path, source: str, destination: str, code: int, part: str
) -> None:
    (tmp_path / "old").write_text("old")
    done = files.cp(source, destination, cwd=tmp_path)
    assert done.code == code
    assert part in done.err
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize(
    ("source", "destination", "made"),
    [
        ("f", "web:/new", ["new"]),
        ("f", "web:/", ["f"]),
        ("./f", "web:/etc", ["etc/f"]),
        ("f", "web:/etc/", ["etc/f"]),
        ("f", "web:/file", []),
        ("f", "web:/link", ["etc/f"]),
        ("f", "web:/link/new", ["etc/new"]),
        ("dir", "web:/new", ["new/", "new/x"]),
        ("dir/", "web:/new/", ["new/", "new/x"]),
        ("dir", "web:/etc", ["etc/dir/", "etc/dir/x"]),
        ("dir/.", "web:/etc", ["etc/x"]),
        ("dir/.", "web:/new", ["new/", "new/x"]),
        (".", "web:/etc", ["etc/dir/", "etc/dir/x", "etc/f"]),
    ],
)
def test_in(files: Files, here: Path, source: str, destination: str, made: list[str]) -> None:
    before = tree(files.root)
    done = files.cp(source, destination, cwd=here)
    assert (done.code, done.err) == (0, "")
    assert [one for one in tree(files.root) if one not in before] == made
    assert files.put[0][1]["no_overwrite_dir_non_dir"] == "1"


def test_in_overwrites_a_file(files: Files, here: Path) -> None:
    files.cp("f", "web:/file", cwd=here)
    assert (files.root / "file").read_text() == "f"


def test_in_keeps_what_there_is_to_keep(files: Files, here: Path) -> None:
    (here / "dir" / "link").symlink_to("/etc/passwd")
    os.mkfifo(here / "dir" / "pipe")
    (here / "dir" / ("ü" * 80)).write_bytes(bytes(700))
    done = files.cp("-a", "dir", "web:/new", cwd=here)
    assert done.code == 0
    assert (files.root / "new" / "link").readlink() == Path("/etc/passwd")
    assert stat.S_ISFIFO((files.root / "new" / "pipe").lstat().st_mode)
    assert (files.root / "new" / ("ü" * 80)).read_bytes() == bytes(700)
    assert files.put[0][1]["copy_uid_gid"] == "1"


def test_in_from_a_tar(files: Files) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("made"))
    done = wirt("cp", "-", "web:/etc", socket=files.socket, stdin=data.getvalue())
    assert done.code == 0
    assert (files.root / "etc" / "made").exists()


def test_names_of_one_file_stay_names_of_one_file(files: Files, here: Path) -> None:
    (here / "twice").mkdir()
    (here / "twice" / "a").write_text("once")
    (here / "twice" / "b").hardlink_to(here / "twice" / "a")
    assert files.cp("twice", "web:/etc", cwd=here).code == 0
    assert (files.root / "etc" / "twice" / "b").read_text() == "once"
    assert (files.root / "etc" / "twice" / "a").stat().st_nlink == 2


@pytest.mark.parametrize(
    ("source", "destination", "part"),
    [
        ("none", "web:/etc", "there is no none"),
        ("f/", "web:/etc", "f/ is no directory"),
        ("f", "web:/new/", "there is no directory /new/ in the guest"),
        ("f", "web:/no/where", "there is no /no/where in the guest web"),
        ("f", "web:/file/x", "/file in the guest is no directory"),
        ("dir", "web:/file", "cannot copy the directory dir to the file /file"),
        ("-", "web:/file", "/file in the guest is no directory"),
    ],
)
def test_in_refused(files: Files, here: Path, source: str, destination: str, part: str) -> None:
    before = tree(files.root)
    done = files.cp(source, destination, cwd=here)
    assert done.code in {2, 3}
    assert part in done.err
    assert tree(files.root) == before


@pytest.mark.parametrize(
    ("text", "guest", "path"),
    [
        ("web:/a", "web", "/a"),
        ("web:a:b", "web", "a:b"),
        ("./web:a", "", "./web:a"),
        ("/web:a", "", "/web:a"),
        ("a/b:c", "", "a/b:c"),
        ("-", "", "-"),
        ("plain", "", "plain"),
    ],
)
def test_places(text: str, guest: str, path: str) -> None:
    assert Place.parse(text) == Place(guest, path)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def unpack(root: Path, *members: tarfile.TarInfo, data: bytes = b"new") -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for one in members:
            one.size = len(data) if one.isreg() else 0
            tar.addfile(one, io.BytesIO(data) if one.isreg() else None)
    chunks = iter([made.getvalue()[i : i + 700] for i in range(0, len(made.getvalue()), 700)])
    Unpacker(str(root), top="t", rename="t", keep_owner=False).unpack(chunks)


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("t/../../out")],
        [member("/../out")],
        [member("t", tarfile.SYMTYPE, ".."), member("t/out")],
        [member("t", tarfile.DIRTYPE), member("t/l", tarfile.SYMTYPE, "../.."), member("t/l/out")],
        [member("t", tarfile.DIRTYPE), member("t/h", tarfile.LNKTYPE, "../secret")],
        [member("t", tarfile.SYMTYPE, "."), member("t/x", tarfile.LNKTYPE, "t/secret")],
        [member("t", tarfile.SYMTYPE, "..", 0o777), member("t", tarfile.DIRTYPE)],
        [member(".", tarfile.SYMTYPE, "..")],
        [member(".", tarfile.LNKTYPE, "t")],
    ],
)
def test_a_hostile_archive_stays_inside(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    with pytest.raises((Invalid, OSError)):
        unpack(root, *members)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]
    assert (tmp_path / "secret").read_text() == "secret"
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_a_link_of_ours_is_replaced_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "precious").write_text("old")
    (root / "t").symlink_to(tmp_path / "precious")
    unpack(root, member("t"))
    assert (tmp_path / "precious").read_text() == "old"
    assert not (root / "t").is_symlink()


def test_devices_and_set_user_id_are_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    unpack(
        tmp_path,
        member("t", tarfile.DIRTYPE, mode=0o555),
        member("t/null", tarfile.CHRTYPE),
        member("t/su", mode=0o4755),
    )
    assert tree(tmp_path) == ["t/", "t/su"]
    assert stat.S_IMODE((tmp_path / "t" / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o555
    assert "t/null is a device" in capfd.readouterr().err


@needs("root")
def test_a_device_is_never_replaced(files: Files, tmp_path: Path) -> None:
    """``cp web:/file /dev/null`` as root would leave the host without it."""
    null = tmp_path / "null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (files.root / "file").write_text("x")
    done = wirt("cp", "web:/file", str(null), socket=files.socket)
    assert done.code == 2
    assert "in the place of a device" in done.err
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        one = member("t")
        one.size = 5000
        tar.addfile(one, io.BytesIO(bytes(5000)))
    with pytest.raises(Invalid, match="damaged"):
        Unpacker(str(tmp_path), top="t", rename="t", keep_owner=False).unpack(
            iter([made.getvalue()[:2000]])
        )
