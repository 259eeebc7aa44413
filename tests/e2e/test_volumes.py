"""Volumes, folders and files of the host, and places in memory, in every kind of guest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.test_kinds import KINDS
from e2e.test_life import inspect
from e2e.test_terminal import MACHINE, require_kind
from live import Live
from needs import needs


def run(live: Live, kind: str, *words: str, code: int = 0) -> str:
    return live.wirt("run", "--rm", "--as", kind, *words, code=code).stdout


def volumes(live: Live) -> list[str]:
    return live.wirt("volume", "ls", "-q").stdout.split()


@pytest.fixture(scope="module")
def place(shared_instance: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the host that the helper's programs reach."""
    made = tmp_path_factory.mktemp("host")
    (made / "folder").mkdir()
    (made / "folder" / "inside").write_text("inside\n")
    (made / "file").write_text("from the host\n")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_all_sorts_of_mounts_at_once(shared_instance: Live, place: Path, kind: str) -> None:
    require_kind(kind)
    live = shared_instance
    script = (
        "cat /folder/inside /etc/motd; touch /folder/no; echo changed > /etc/motd; "
        "echo kept > /named/new; cat /named/passwd | head -n 1; "
        "echo x > /anonymous/x; chown 5:6 /anonymous/x; echo $(stat -c %u:%g /anonymous/x); "
        "echo made > /made/by; chown 7:8 /made/by; "
        "df -k /memory | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; touch /named/sub/no"
    )
    (place / "file").write_text("from the host\n")
    name = f"named-{kind}"
    done = live.wirt(
        "run", "--rm", "--as", kind, "-v", f"{place}/folder:/folder:ro",
        "-v", f"{place}/file:/etc/motd", "-v", f"{place}/made-{kind}:/made",
        "-v", f"{name}:/named", "-v", "/anonymous", "--mount",
        "type=tmpfs,target=/memory,tmpfs-size=1m", "busybox", "sh", "-c",
        "cp /etc/passwd /named; " + script, code=1,
    )  # fmt: skip
    try:
        assert done.stdout.splitlines() == [
            "inside", "from the host", "root:x:0:0:root:/root:/bin/sh", "5:6", "1024",
        ]  # fmt: skip
        assert done.stderr.splitlines() == [
            "touch: /folder/no: Read-only file system",
            "touch: /named/sub/no: No such file or directory",
        ]
        assert (place / "file").read_text() == "changed\n"
        made = place / f"made-{kind}" / "by"
        assert (made.read_text(), made.stat().st_uid, made.stat().st_gid) == ("made\n", 7, 8)
        assert volumes(live) == [name], "the anonymous one went with its guest"
        assert run(live, kind, "-v", f"{name}:/here:ro", "busybox", "cat", "/here/new") == "kept\n"
    finally:
        live.wirt("volume", "rm", name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_source(shared_instance: Live, place: Path, kind: str) -> None:
    require_kind(kind)
    mount = f"type=bind,source={place}/missing,target=/x"
    done = shared_instance.wirt(
        "run", "--rm", "--as", kind, "--mount", mount, "busybox", "true", code=125
    )
    assert f"{place}/missing" in done.stderr
    assert "hint: " in done.stderr
    assert not (place / "missing").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_volume_is_filled_from_the_image(shared_instance: Live, kind: str) -> None:
    require_kind(kind)
    live, name = shared_instance, f"fill-{kind}"
    try:
        listed = run(live, kind, "-v", f"{name}:/etc/", "busybox", "ls", "/etc").split()
        assert {"passwd", "group"} <= set(listed)
    finally:
        live.wirt("volume", "rm", name)


def test_a_volume_is_not_filled_when_that_is_asked(shared_instance: Live) -> None:
    mount = "type=volume,source=bare,target=/bin/,volume-nocopy"
    try:
        assert run(shared_instance, "container", "--mount", mount, "busybox", "ls", code=127) == ""
    finally:
        shared_instance.wirt("volume", "rm", "bare")


@needs(*MACHINE)
def test_a_container_and_a_machine_share_a_volume(shared_instance: Live) -> None:
    live = shared_instance
    guests = {"share-c": "container", "share-m": "microvm"}
    try:
        for name, kind in guests.items():
            live.wirt("run", "-d", "--as", kind, "--name", name, "-v", "both:/both", "busybox",
                      "sleep", "1000")  # fmt: skip
        for here, there in (("share-c", "share-m"), ("share-m", "share-c")):
            live.wirt("exec", here, "sh", "-c", f"echo {here} > /both/{here}; mkdir /both/d{here}")
            assert live.wirt("exec", there, "cat", f"/both/{here}").stdout == f"{here}\n"
            live.wirt("exec", there, "mv", f"/both/{here}", f"/both/d{here}/moved")
            assert live.wirt("exec", here, "cat", f"/both/d{here}/moved").stdout == f"{here}\n"
        used = live.wirt("volume", "rm", "both", code=4)
        assert "share-c" in used.stderr
    finally:
        live.wirt("rm", "-f", *guests)
        live.wirt("volume", "rm", "both")


def test_anonymous_volumes_go_with_their_guest_when_asked(shared_instance: Live) -> None:
    live = shared_instance
    for flags, left in ((["-v"], 0), ([], 1)):
        live.wirt("create", "--name", "anon", "-v", "/data", "-v", "kept:/kept", "busybox")
        assert len(volumes(live)) == 2
        assert len(json.loads(json.dumps(inspect(live, "anon")["volumes"]))) == 2
        live.wirt("rm", *flags, "anon")
        assert len(volumes(live)) == 1 + left
    assert "kept" in volumes(live)
    live.wirt("volume", "prune", "-f")
    assert volumes(live) == ["kept"]
    live.wirt("volume", "prune", "-af")
    assert volumes(live) == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("volume", "rm", "nosuch"), 3, "nosuch"),
        (("volume", "inspect", "nosuch"), 3, "nosuch"),
        (("volume", "create", "bad/name"), 2, "bad/name"),
        (("volume", "create", "--driver", "nfs", "x"), 2, "nfs"),
        (("create", "-v", "x:relative", "busybox"), 125, "relative"),
        (("create", "-v", "x:/a", "-v", "y:/a", "busybox"), 125, "/a"),
        (("create", "-v", "x:/", "busybox"), 125, "/"),
        (("create", "--mount", "type=magic,target=/a", "busybox"), 125, "magic"),
        (("create", "--mount", "type=bind,target=/a", "busybox"), 125, "source"),
        (("create", "--tmpfs", "/a:size=x", "busybox"), 125, "size"),
    ],
)
def test_impossible_mounts_are_named(
    shared_instance: Live, words: tuple[str, ...], code: int, text: str
) -> None:
    done = shared_instance.wirt(*words, code=code)
    assert text in done.stderr
    assert "hint: " in done.stderr
    assert shared_instance.wirt("ps", "-aq").stdout == ""
    assert volumes(shared_instance) == []
