"""The client's side of builds: the context as an archive, flags, and what progress looks like."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from wirt.cli import buildlive
from wirt.cli.buildlive import LiveView
from wirt.cli.buildoutput import output_of
from wirt.cli.buildssh import agents
from wirt.cli.buildtar import BLOCK, header, pack
from wirt.cli.buildview import PlainView, View, view_for
from wirt.errors import Invalid
from wirt.model.ignore import Ignore


def archive(place: Path, ignore: Ignore | None = None, prefix: str = "") -> list[tarfile.TarInfo]:
    data = b"".join(pack(str(place), ignore, prefix=prefix)) + bytes(2 * BLOCK)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as found:
        return found.getmembers()


def test_a_context_is_a_tar_that_others_read(tmp_path: Path) -> None:
    long = "n" * 120
    (tmp_path / long).write_bytes(b"x" * 1000)
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d" / "f").write_bytes(b"f")
    (tmp_path / "d" / "f").chmod(0o4711)
    os.link(tmp_path / "d" / "f", tmp_path / "e")
    (tmp_path / "link").symlink_to("t" * 150)
    os.mkfifo(tmp_path / "pipe")
    odd = os.fsdecode(b"\xff\n")
    (tmp_path / odd).write_bytes(b"")
    found = {member.name: member for member in archive(tmp_path, prefix="p/")}
    assert set(found) == {f"p/{n}" for n in (long, "d", "d/f", "e", "link", "pipe", odd)}
    assert (found[f"p/{long}"].size, found["p/d"].isdir()) == (1000, True)
    assert (found["p/d"].mode, found["p/d/f"].mode) == (0o750, 0o4711)
    assert (found["p/e"].islnk(), found["p/e"].linkname) == (True, "p/d/f")
    assert (found["p/link"].issym(), found["p/link"].linkname) == (True, "t" * 150)
    assert found["p/pipe"].isfifo()
    assert {(m.uid, m.gid, m.mtime) for m in found.values()} == {(0, 0, 0)}


def test_files_larger_than_ustar_can_say() -> None:
    head = header("big", 0o644, b"0", size=9 * 1024**3)
    with pytest.raises(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(head)) as found:
        found.getmembers()  # the content is missing, but the size was understood
    assert b"size=9663676416\n" in head


def test_what_is_ignored_is_not_sent(tmp_path: Path) -> None:
    for path in ("a/x", "a/keep/y", "b/x", "c"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    ignore = Ignore.parse("a\n!a/keep\nb/*\n*.txt\n")
    assert [m.name for m in archive(tmp_path, ignore)] == ["a/keep", "a/keep/y", "b", "c"]


@pytest.mark.parametrize(
    ("text", "kind", "destination", "unpack"),
    [
        ("", "image", "", False), ("out", "tar", "out", True),
        ("type=local,dest=o", "tar", "o", True), ("type=oci,dest=f", "oci", "f", False),
        ("type=tar,dest=f", "tar", "f", False), ("type=image", "image", "", False),
    ],
)  # fmt: skip
def test_outputs(text: str, kind: str, destination: str, unpack: bool) -> None:
    made = output_of(text)
    assert (made.kind, made.destination, made.unpack) == (kind, destination, unpack)


@pytest.mark.parametrize("text", ["type=zip,dest=x", "type=local", "type=tar,dest=x,more=1"])
def test_outputs_that_there_are_not(text: str) -> None:
    with pytest.raises(Invalid, match="--output"):
        output_of(text)


def test_agents_must_be_sockets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for text in (f"default={tmp_path}/file", f"default={tmp_path}/none", "=x", "a/b"):
        with pytest.raises(Invalid, match="--ssh"):
            agents([text])


LINES: list[dict[str, object]] = [
    {"step": 1, "name": "[1/2] FROM busybox"},
    {"step": 1, "status": "cached"},
    {"step": 2, "name": "[2/2] RUN make"},
    {"step": 2, "explain": "the command changed"},
    {"step": 2, "status": "running"},
    {"step": 2, "stream": 1, "log": "10%\r100%\nha"},
    {"step": 2, "stream": 2, "log": "lf \x1b[31mred\n"},
    {"step": 2, "status": "failed", "error": "exit code 1"},
    {"warning": {"rule": "R", "message": "m", "where": "Dockerfile:1:1"}},
]


def shown(view: View, monkeypatch: pytest.MonkeyPatch) -> str:
    written: list[bytes] = []

    def write(fd: int, data: bytes | memoryview) -> None:
        assert fd == 2
        written.append(bytes(data))

    for module in ("wirt.cli.buildview", "wirt.cli.buildlive", "wirt.cli.output"):
        monkeypatch.setattr(f"{module}.write", write)
    with view:
        for line in LINES:
            view.show(b"raw", line)
    return b"".join(written).decode()


def test_the_plain_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(PlainView(), monkeypatch).splitlines() == [
        "#1 [1/2] FROM busybox", "#1 CACHED", "#2 [2/2] RUN make",
        "#2 ran because the command changed", "#2 100%", "#2 half \\x1b[31mred",
        "#2 ERROR: exit code 1", "warning: R: m (Dockerfile:1:1)",
    ]  # fmt: skip


def test_the_live_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildlive, "size", lambda _: (10, 40))
    monkeypatch.setattr(buildlive, "colourful", lambda _: False)
    text = shown(LiveView(), monkeypatch)
    assert "✓ [1/2] FROM busybox cached\n" in text
    assert "▸ [2/2] RUN make 0.0s\n  | 100%\n" in text
    assert "✗ [2/2] RUN make\n" in text
    assert "half \\x1b[31mred" in text
    screen: list[str] = []
    for part in text.split("\x1b[")[0:]:  # a terminal: go up and erase, then write
        if part[:1].isdigit() and "A" in part[:4]:
            del screen[-int(part.partition("A")[0]) :]
            part = ""
        elif part.startswith("J"):
            part = part[1:]
        screen += part.splitlines()
    assert [line for line in screen if line.startswith("▸")] == []  # nothing of it is left
    assert screen[0] == "✓ [1/2] FROM busybox cached"


def test_views_by_name() -> None:
    assert isinstance(view_for("plain"), PlainView)
    assert isinstance(view_for("tty"), LiveView)
    assert type(view_for("quiet")) is View
