"""The keeper under load and under hostile hands: nothing blocks, nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
from contextlib import suppress

import pytest

from keeping import Client, demux, fake, hung_up
from needs import needs
from waiting import PATIENCE, eventually
from wirt.errors import Unavailable
from wirt.guest.frame import Frame, encode_record, record_frames
from wirt.guest.keeper import SLOW, KeeperLink, Request
from wirt.guest.log import GuestLog

pytestmark = needs("root", "keeper")

MEGABYTE = 1_000_000


async def _skip(client: Client) -> int:
    """Read to the end and count."""
    total = 0
    while piece := await client.some():
        total += len(piece)
    return total


def test_a_client_that_does_not_read_stalls_the_guest_and_loses_nothing() -> None:
    async def story() -> None:
        command = f"head -c {20 * MEGABYTE} /dev/zero; echo written >&2"
        with fake(command, log_size=str(100 * MEGABYTE)) as keeper:
            link = await keeper.connect()
            slow = await keeper.attach(link, mux="0")
            quick = await keeper.attach(link)
            reader = asyncio.ensure_future(quick.rest())
            await link.request(Request.START, {})
            log = keeper.run / "log" / "0"
            await eventually(lambda: log.exists() and log.stat().st_size > 100_000, "output")
            sizes = [0, log.stat().st_size]
            while sizes[-1] != sizes[-2]:
                await asyncio.sleep(0.5)
                sizes.append(log.stat().st_size)
            assert sizes[-1] < 2 * MEGABYTE, "the guest was not stalled"
            assert keeper.pss() < 2048
            assert (await link.request(Request.HELLO, {}))["state"] == ["running"]
            assert len(await slow.rest()) == 20 * MEGABYTE + len("written\n")
            out, err = demux(await reader)
            assert (len(out), err) == (20 * MEGABYTE, b"written\n")
            await keeper.ended()
            assert log.stat().st_size > 20 * MEGABYTE

    asyncio.run(story())


def test_a_client_that_went_away_stalls_nobody() -> None:
    async def story() -> None:
        with fake(f"sleep 0.1; head -c {5 * MEGABYTE} /dev/zero; exit 4") as keeper:
            link = await keeper.connect()
            gone = await keeper.attach(link)
            stays = await keeper.attach(link)
            await link.request(Request.START, {})
            gone.close()
            assert len(demux(await stays.rest())[0]) == 5 * MEGABYTE
            assert (await keeper.ended())["code"] == ["4"]

    asyncio.run(story())


def test_a_slow_client_does_not_delay_the_end_and_gets_everything_after_it() -> None:
    async def story() -> None:
        with fake("head -c 800000 /dev/zero; echo last; exit 9") as keeper:
            link = await keeper.connect()
            slow = await keeper.attach(link, mux="0")
            await link.request(Request.START, {})
            assert (await keeper.ended())["code"] == ["9"]
            rest = await slow.rest()
            assert len(rest) == 800_000 + 5
            assert rest.endswith(b"last\n")

    asyncio.run(story())


def test_a_hundred_megabytes_to_a_client_and_the_log_cost_little() -> None:
    async def story() -> None:
        command = f"head -c {100 * MEGABYTE} /dev/zero; read line"
        with fake(command, log_size=str(200 * MEGABYTE)) as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, mux="0")
            writer = await keeper.attach(link, stdin="1", stdout="0", stderr="0")
            await link.request(Request.START, {})
            left = 100 * MEGABYTE
            while left > 0:
                left -= len(await client.some())
            cpu = keeper.cpu()
            assert cpu < 1.0
            assert keeper.pss() < 512
            await writer.send(b"\n")
            await keeper.ended()
            records = (keeper.run / "log" / "0").stat().st_size - 100 * MEGABYTE
            assert records < 100 * MEGABYTE // 4096 * 16

    asyncio.run(story())


def test_an_endless_line_is_bounded_by_rotation() -> None:
    async def story() -> None:
        command = f"head -c {1000 * MEGABYTE} /dev/zero"
        with fake(command, log_size=str(MEGABYTE), log_files="2") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            assert (await keeper.ended())["code"] == ["0"]
            logs = [path for path in (keeper.run / "log").iterdir() if path.name.isdigit()]
            assert sorted(path.name for path in logs) == ["0", "1"]
            assert all(path.stat().st_size <= MEGABYTE for path in logs)

    asyncio.run(story())


def test_the_log_is_read_back_while_it_is_written_and_rotated() -> None:
    async def story() -> None:
        command = "seq 100000; seq 5 >&2; read line"
        with fake(command, log_size="100000", log_files="20") as keeper:
            link = await keeper.connect()
            writer = await keeper.attach(link, stdin="1", stdout="0", stderr="0")
            over = False
            pieces: list[bytes] = []

            async def follow() -> None:
                async for piece in GuestLog(keeper.run / "log").read(
                    stdout=True, stderr=True, tail=None, since=0, until=0, timestamps=False,
                    follow=True, ended=lambda: over,
                ):  # fmt: skip
                    pieces.append(piece)  # noqa: PERF401 - the story looks at it meanwhile

            reader = asyncio.ensure_future(follow())
            await link.request(Request.START, {})
            await eventually(lambda: b"".join(pieces).endswith(b"5\n"), "the last line")
            await writer.send(b"\n")
            await keeper.ended()
            over = True
            await asyncio.wait_for(reader, PATIENCE)
            out, err = demux(b"".join(pieces))
            assert out == b"".join(b"%d\n" % n for n in range(1, 100_001))
            assert err == b"1\n2\n3\n4\n5\n"

    asyncio.run(story())


def test_a_daemon_comes_back_and_finds_everything() -> None:
    async def story() -> None:
        with fake("read line; echo $line; exit 3") as keeper:
            first = await keeper.connect()
            client = await keeper.attach(first, stdin="1")
            answer = await first.request(Request.START, {})
            exec_client, _ = await keeper.execute(first, "one", "read line; exit 6", stdin="1")
            await first.close()
            assert keeper.lost == 0
            second = await keeper.connect()
            assert second.hello["state"] == ["running"]
            assert second.hello["pid"] == answer["pid"]
            assert second.hello["started"] == answer["started"]
            assert second.hello["execs"] == ["one"]
            await exec_client.send(b"\n")
            assert (await keeper.event("exit", "one"))["code"] == ["6"]
            await client.send(b"still here\n")
            assert demux(await client.rest())[0] == b"still here\n"
            assert (await keeper.event("exit"))["code"] == ["3"]

    asyncio.run(story())


def test_a_killed_keeper_is_noticed_at_once() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link)
            answer = await link.request(Request.START, {})
            os.kill(keeper.process.pid, signal.SIGKILL)
            assert await client.rest() == b""
            await eventually(lambda: keeper.lost == 1, "the closed connection")
            with pytest.raises(Unavailable, match="closed"):
                await link.request(Request.HELLO, {})
            os.kill(int(answer["pid"][0]), signal.SIGKILL)

    asyncio.run(story())


def test_sigterm_ends_a_keeper_that_was_not_started_and_no_other() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            await keeper.connect()
            keeper.process.terminate()
            await eventually(lambda: keeper.process.poll() == 0, "the keeper's end")
            assert not (keeper.run / "exit").exists()
        with fake("read line; exit 2") as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, stdin="1")
            await link.request(Request.START, {})
            keeper.process.terminate()
            await link.request(Request.HELLO, {})
            client.half_close()
            assert (await keeper.ended())["code"] == ["2"]

    asyncio.run(story())


def _connect(path: str) -> socket.socket:
    conn = socket.socket(socket.AF_UNIX)
    conn.settimeout(PATIENCE)
    conn.connect(path)
    return conn


def _closed(conn: socket.socket) -> bool:
    with conn:
        with suppress(ConnectionResetError):
            while conn.recv(65536):
                pass
        return True


def test_garbage_closes_its_connection_and_nothing_else() -> None:
    seeded = random.Random(20)
    endless = Frame(1, 1, b"a=" + b"x" * 60_000, 1).encode()
    garbage = [
        b"\xff" * 12,
        b"\0\0\0\0\x01\0\x01\0" + bytes(4),
        Frame(1, 1, b"no record").encode(),
        Frame(1, 1, b"=x\0").encode(),
        Frame(1, 1, b"a=", 1).encode() + Frame(2, 1, b"b\0").encode(),
        Frame(1, 1, b"", 1).encode(),
        Frame(1, 1, b"", 4).encode(),
        endless * 80,
        *(seeded.randbytes(5000) for _ in range(20)),
    ]

    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            path = str(keeper.run / "keeper.sock")
            for data in garbage:
                conn = _connect(path)
                with suppress(BrokenPipeError, ConnectionResetError):
                    conn.sendall(data)
                    conn.shutdown(socket.SHUT_WR)
                assert await asyncio.to_thread(_closed, conn)
            assert (await link.request(Request.HELLO, {}))["state"] == ["running"]
            assert keeper.pss() < 1024

    asyncio.run(story())


def test_descriptors_belong_to_their_request_and_are_not_kept() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            before = keeper.descriptors()
            path = str(keeper.run / "keeper.sock")
            unwanted = [
                ([record_frames(1, 1, b"")], 1),
                ([record_frames(1, 1, b"")], 3),
                ([record_frames(1, 1, b"")], 200),
                ([record_frames(99, 1, b"")], 1),
                ([b"\0\0\0"], 1),
            ]
            null = os.open("/dev/null", os.O_RDONLY)
            for data, count in unwanted:
                conn = _connect(path)
                socket.send_fds(conn, data, [null] * count)
                conn.shutdown(socket.SHUT_WR)
                await asyncio.to_thread(_closed, conn)
            # A file is no stream.
            conn = _connect(path)
            socket.send_fds(conn, [record_frames(2, 1, b"")], [null])
            head = await asyncio.to_thread(conn.recv, 12)
            assert head[4] == 129
            conn.close()
            os.close(null)
            await eventually(
                lambda: keeper.descriptors() == before,
                "descriptors closed",
            )

    asyncio.run(story())


def test_frames_in_one_piece_keep_their_own_descriptors() -> None:
    """HELLO, ATTACH with a descriptor, HELLO: sent as fast as possible, cut anywhere."""

    async def story() -> None:
        with fake("echo hi") as keeper:
            link = await keeper.connect()
            path = str(keeper.run / "keeper.sock")
            attach = record_frames(2, 2, encode_record([("stdout", "1"), ("mux", "0")]))
            for cut in (1, 5, 12, 20, len(attach)):
                client = keeper.client()
                conn = _connect(path)
                conn.sendall(record_frames(1, 1, b""))
                socket.send_fds(conn, [attach[:cut]], [client.theirs.fileno()])
                client.theirs.close()
                conn.sendall(attach[cut:] + record_frames(1, 3, b""))
                conn.shutdown(socket.SHUT_WR)
                answers = b""
                while piece := await asyncio.to_thread(conn.recv, 65536):
                    answers += piece
                conn.close()
                kinds = []
                while answers:
                    length, kind, channel = struct.unpack(">IB3xI", answers[:12])
                    kinds.append((kind, channel))
                    answers = answers[12 + length :]
                assert kinds == [(128, 1), (128, 2), (128, 3)]
            await link.request(Request.START, {})
            for client in keeper.clients:
                assert await client.rest() == b"hi\n"

    asyncio.run(story())


def test_many_connections_are_served_and_their_number_is_bounded() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            links = [await keeper.connect() for _ in range(60)]
            answers = await asyncio.gather(*(one.request(Request.HELLO, {}) for one in links * 5))
            assert all(answer["state"] == ["waiting"] for answer in answers)
            path = str(keeper.run / "keeper.sock")
            crowd = [_connect(path) for _ in range(40)]
            await eventually(lambda: sum(map(hung_up, crowd)) >= 36, "most were refused")
            for conn in crowd:
                conn.close()
            for one in links:
                await one.close()

            await eventually(lambda: keeper.descriptors() < 20, "the crowd has gone")
            assert (await keeper.connect()).hello["state"] == ["waiting"]
            await link.request(Request.START, {})
            for one in keeper.links:
                await one.close()

    asyncio.run(story())


def test_a_daemon_that_never_reads_its_answers_is_cut_off() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            conn = _connect(str(keeper.run / "keeper.sock"))
            hello = record_frames(1, 1, b"") * 1000
            cut = False
            for _ in range(2000):
                try:
                    conn.sendall(hello)
                except (BrokenPipeError, ConnectionResetError):
                    cut = True
                    break
            conn.close()
            assert cut
            await eventually(lambda: keeper.pss() < 1024, "the memory given back")
            await link.request(Request.HELLO, {})

    asyncio.run(story())


def test_no_keeper_is_unavailable() -> None:
    async def story() -> None:
        with fake("true") as keeper:
            link = await keeper.connect()
            await link.close()
            await link.close()
            deaf = socket.socket(socket.AF_UNIX)
            deaf.bind(str(keeper.run / "deaf.sock"))
            deaf.listen(1)
            for name, code in (("nothing.sock", "unavailable"), ("deaf.sock", SLOW)):
                with pytest.raises(Unavailable, match=name) as caught:
                    await KeeperLink.connect(
                        keeper.run / name,
                        on_event=lambda _: None,
                        on_closed=lambda: None,
                        timeout=0.2,
                    )
                assert caught.value.code == code, "slow is not dead"
            deaf.close()

    asyncio.run(story())
