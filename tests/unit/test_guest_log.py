"""The log reader on files as the keeper writes them."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.guest.log import GuestLog

SECOND = 1_000_000_000
Record = tuple[int, bytes, int]
"""Stream, bytes, time."""


def write(directory: Path, *files: list[Record], torn: bytes = b"") -> None:
    """Files, oldest first, as the keeper writes them."""
    open_line = {1: False, 2: False}
    directory.mkdir(exist_ok=True)
    for number, records in enumerate(files):
        data = b""
        for stream, text, time in records:
            data += struct.pack(">BBHIQ", stream, open_line[stream], 0, len(text), time) + text
            open_line[stream] = not text.endswith(b"\n")
        (directory / str(len(files) - 1 - number)).write_bytes(data)
    if torn:
        with (directory / "0").open("ab") as newest:
            newest.write(torn)


def read(
    directory: Path,
    *,
    stdout: bool = True,
    stderr: bool = True,
    tail: int | None = None,
    since: int = 0,
    until: int = 0,
    timestamps: bool = False,
    follow: bool = False,
    ended: Callable[[], bool] = lambda: True,
    tty: bool = False,
) -> bytes:
    async def all_of() -> bytes:
        log = GuestLog(directory)
        pieces = log.read(
            stdout=stdout,
            stderr=stderr,
            tail=tail,
            since=since,
            until=until,
            timestamps=timestamps,
            follow=follow,
            ended=ended,
            tty=tty,
        )
        return b"".join([piece async for piece in pieces])

    return asyncio.run(all_of())


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        stream, length = struct.unpack(">B3xI", data[:8])
        assert len(data) >= 8 + length
        found.append((stream, data[8 : 8 + length]))
        data = data[8 + length :]
    return found


def streams(data: bytes) -> dict[int, bytes]:
    return {
        stream: b"".join(text for other, text in frames(data) if other == stream)
        for stream in (1, 2)
    }


def test_all_of_both_streams_over_rotated_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        [(1, b"one\n", 1), (2, b"bad\n", 2)],
        [(1, b"two\n", 3), (1, b"three\n", 4)],
        [(2, b"worse\n", 5)],
    )
    assert frames(read(tmp_path)) == [
        (1, b"one\n"), (2, b"bad\n"), (1, b"two\nthree\n"), (2, b"worse\n"),
    ]  # fmt: skip
    assert streams(read(tmp_path, stdout=False)) == {1: b"", 2: b"bad\nworse\n"}
    assert read(tmp_path, tty=True, stderr=False) == b"one\ntwo\nthree\n"
    assert read(tmp_path, stdout=False, stderr=False) == b""


def test_no_directory_and_no_files(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == b""
    assert read(tmp_path, tail=5) == b""
    assert read(tmp_path, tail=0, follow=True) == b""


def test_timestamps_have_nine_digits_and_a_frame_each(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"a\nb\n", 1_700_000_000 * SECOND + 5), (2, b"c", 0), (2, b"d\ne\n", 7)])
    assert frames(read(tmp_path, timestamps=True)) == [
        (1, b"2023-11-14T22:13:20.000000005Z a\n"),
        (1, b"2023-11-14T22:13:20.000000005Z b\n"),
        (2, b"1970-01-01T00:00:00.000000000Z c"),
        (2, b"d\n"),
        (2, b"1970-01-01T00:00:00.000000007Z e\n"),
    ]
    assert read(tmp_path, timestamps=True, tty=True, stderr=False) == (
        b"2023-11-14T22:13:20.000000005Z a\n2023-11-14T22:13:20.000000005Z b\n"
    )


def test_a_line_cut_by_its_first_file_s_loss_has_a_time(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"lost ", 1)], [(1, b"rest\n", 2)])
    (tmp_path / "1").unlink()
    assert frames(read(tmp_path, timestamps=True)) == [
        (1, b"1970-01-01T00:00:00.000000002Z rest\n")
    ]


def test_since_and_until_include_their_own_instant(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"%d\n" % n, n) for n in range(1, 10)])
    assert streams(read(tmp_path, since=3, until=5))[1] == b"3\n4\n5\n"
    assert streams(read(tmp_path, until=2))[1] == b"1\n2\n"
    assert streams(read(tmp_path, since=9))[1] == b"9\n"
    assert read(tmp_path, since=10) == b""
    assert streams(read(tmp_path, since=3, until=7, tail=2))[1] == b"6\n7\n"
    assert streams(read(tmp_path, since=6, until=7, tail=9))[1] == b"6\n7\n"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (0, b""),
        (1, b"open"),
        (2, b"six\nopen"),
        (3, b"five\nsix\nopen"),
        (6, b"two\nthree four\nx\nfive\nsix\nopen"),
        (99, b"one\ntwo\nthree four\nx\nfive\nsix\nopen"),
    ],
)
def test_tail_counts_lines_over_records_and_files(
    tmp_path: Path, tail: int, expected: bytes
) -> None:
    write(
        tmp_path,
        [(1, b"one\ntwo\nthr", 1), (1, b"ee ", 2)],
        [(1, b"four\nx\nfive\n", 3)],
        [(1, b"six\nop", 4), (1, b"en", 5)],
    )
    assert read(tmp_path, tty=True, tail=tail) == expected


def test_tail_gives_a_surrounding_line_of_the_other_stream_whole(tmp_path: Path) -> None:
    write(
        tmp_path,
        [(2, b"old\nerr ", 1), (1, b"a\n", 2), (1, b"b\n", 3), (2, b"or\n", 4), (1, b"c\n", 5)],
    )
    assert streams(read(tmp_path, tail=2)) == {1: b"c\n", 2: b"err or\n"}
    assert streams(read(tmp_path, tail=3)) == {1: b"b\nc\n", 2: b"err or\n"}
    assert streams(read(tmp_path, tail=1)) == {1: b"c\n", 2: b""}
    assert streams(read(tmp_path, tail=2, stdout=False)) == {1: b"", 2: b"old\nerr or\n"}
    assert frames(read(tmp_path, tail=2, timestamps=True))[0] == (
        2, b"1970-01-01T00:00:00.000000001Z err ",
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    records=st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from([b"a", b"\n", b"b\nc", b"d\ne\n", b"f\n"])),
        max_size=25,
    ),
    tail=st.integers(0, 12),
    cut=st.integers(0, 25),
)
def test_tail_of_one_stream_is_its_last_lines(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, bytes]],
    tail: int,
    cut: int,
) -> None:
    directory = tmp_path_factory.mktemp("log")
    timed = [(stream, text, n + 1) for n, (stream, text) in enumerate(records)]
    write(directory, timed[:cut], timed[cut:])
    for stream in (1, 2):
        whole = b"".join(text for other, text, _ in timed if other == stream)
        wanted = b"".join(whole.splitlines(keepends=True)[-tail:]) if tail else b""
        found = read(directory, tail=tail, stdout=stream == 1, stderr=stream == 2)
        assert streams(found)[stream] == wanted
    both = streams(read(directory, tail=tail))
    ends = sum(len(text.splitlines()) for text in both.values())
    everything = sum(
        len(b"".join(text for other, text, _ in timed if other == stream).splitlines())
        for stream in (1, 2)
    )
    assert ends == min(tail, everything)


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_torn_record_is_not_there(tmp_path: Path, cut: int) -> None:
    torn = (struct.pack(">BBHIQ", 1, 0, 0, 6, 9) + b"torn!\n")[:-cut]
    write(tmp_path, [(1, b"whole\n", 1)], torn=torn)
    assert read(tmp_path, tty=True) == b"whole\n"
    assert read(tmp_path, tty=True, tail=1) == b"whole\n"


@pytest.mark.parametrize(
    "garbage", [b"\0" * 64, b"\xff" * 64, struct.pack(">BBHIQ", 1, 0, 0, 65_537, 1) + bytes(70_000)]
)
def test_garbage_ends_a_file_but_not_the_log(tmp_path: Path, garbage: bytes) -> None:
    write(tmp_path, [(1, b"old\n", 1)], [(1, b"new\n", 2)])
    with (tmp_path / "1").open("ab") as file:
        file.write(garbage)
    assert read(tmp_path, tty=True) == b"old\nnew\n"
    assert read(tmp_path, tty=True, tail=2) == b"old\nnew\n"


def test_following_goes_on_over_rotations_until_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    lines = [b"%d\n" % n for n in range(200)]
    over = False

    def append(line: bytes) -> None:
        with (directory / "0").open("ab") as file:
            file.write(struct.pack(">BBHIQ", 1, 0, 0, len(line), 1) + line)

    def rotate() -> None:
        for number in range(5, -1, -1):
            path = directory / str(number)
            if path.exists():
                path.rename(directory / str(number + 1))

    async def writer() -> None:
        nonlocal over
        await asyncio.sleep(0)
        directory.mkdir()
        for number, line in enumerate(lines):
            if number % 50 == 49:
                rotate()
            append(line)
            if number % 5 == 0:
                await asyncio.sleep(0.001)
        over = True

    async def story() -> bytes:
        log = GuestLog(directory)
        pieces = log.read(
            stdout=True, stderr=True, tail=None, since=0, until=0, timestamps=False, follow=True,
            ended=lambda: over, tty=True,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(writer())
            return b"".join([piece async for piece in pieces])

    assert asyncio.run(story()) == b"".join(lines)


def test_a_gap_that_a_killed_keeper_left_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"one\n", 1)], [(1, b"two\n", 2)], [(1, b"three\n", 3)])
    (tmp_path / "2").rename(tmp_path / "3")
    (tmp_path / "1").rename(tmp_path / "2")
    assert read(tmp_path, tty=True) == b"one\ntwo\nthree\n"
    (tmp_path / "0").rename(tmp_path / "1")
    assert read(tmp_path, tty=True, tail=1) == b"three\n"


def test_a_rotation_while_the_files_are_opened_loses_none(tmp_path: Path) -> None:
    """Another thread rotates all the time, one rename after the other, as the keeper does."""
    write(tmp_path, *([(1, b"%d\n" % n, n)] for n in range(6)))
    stop = threading.Event()

    def rotate() -> None:
        number = 6
        while not stop.is_set():
            for old in range(number - 1, -1, -1):
                (tmp_path / str(old)).rename(tmp_path / str(old + 1))
            write(tmp_path / "new", [(1, b"%d\n" % number, number)])
            (tmp_path / "new" / "0").rename(tmp_path / "0")
            number += 1
            if number == 60:
                return

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        for _ in range(40):
            found = [int(line) for line in read(tmp_path, tty=True).split()]
            assert found == list(range(len(found)))
            assert len(found) >= 6
    finally:
        stop.set()
        thread.join()


def test_following_ends_at_until(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"now\n", 5), (1, b"later\n", 7)])
    found = read(tmp_path, tty=True, follow=True, until=6, ended=lambda: False)
    assert found == b"now\n"
