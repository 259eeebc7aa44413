"""The real keeper with a stand-in for the engine: streams, input, exit, execs."""

from __future__ import annotations

import asyncio
import os
import resource
import signal

import pytest

from keeping import demux, fake
from needs import needs
from wirt.errors import Conflict, Invalid, NotFound, Unavailable, WirtError
from wirt.guest.frame import decode_record
from wirt.guest.keeper import Request

pytestmark = needs("root", "keeper")


def test_both_streams_reach_an_attached_client_and_the_exit_is_told_last() -> None:
    async def story() -> None:
        with fake("echo out; echo err >&2; exit 7") as keeper:
            link = await keeper.connect()
            assert link.hello["state"] == ["waiting"]
            client = await keeper.attach(link)
            answer = await link.request(Request.START, {})
            assert int(answer["pid"][0]) > 1
            assert demux(await client.rest()) == (b"out\n", b"err\n")
            event = await keeper.event("exit")
            assert (event["code"], event["signal"], event["oom"]) == (["7"], ["0"], ["0"])
            assert (await keeper.ended())["code"] == ["7"]
            assert decode_record((keeper.run / "started").read_bytes())["pid"] == answer["pid"]
            assert not (keeper.run / "keeper.sock").exists()
            assert keeper.lost == 1

    asyncio.run(story())


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 128, 137, 255])
def test_exit_codes(code: int) -> None:
    async def story() -> None:
        with fake(f"exit {code}") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            assert (await keeper.ended())["code"] == [str(code)]

    asyncio.run(story())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signals_end_the_guest_with_128_plus_their_number(number: int) -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            await link.request(Request.SIGNAL, {"target": ["main"], "signal": [str(number)]})
            record = await keeper.ended()
            assert (record["code"], record["signal"]) == ([str(128 + number)], [str(number)])

    asyncio.run(story())


def test_input_and_half_close() -> None:
    async def story() -> None:
        with fake("cat; echo done") as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, stdin="1")
            await client.send(b"early ")
            await link.request(Request.START, {})
            await client.send(b"late\n")
            client.half_close()
            assert demux(await client.rest()) == (b"early late\ndone\n", b"")

    asyncio.run(story())


def test_a_client_without_input_may_half_close_at_once() -> None:
    async def story() -> None:
        with fake("read line; echo got $line") as keeper:
            link = await keeper.connect()
            watcher = await keeper.attach(link)
            watcher.half_close()
            writer = await keeper.attach(link, stdin="1", stdout="0", stderr="0")
            await link.request(Request.START, {})
            await writer.send(b"hello\n")
            assert demux(await watcher.rest()) == (b"got hello\n", b"")
            assert await writer.rest() == b""

    asyncio.run(story())


def test_without_stdin_once_input_stays_open_for_the_next_client() -> None:
    async def story() -> None:
        with fake("cat", stdin_once="0") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            first = await keeper.attach(link, stdin="1")
            await first.send(b"one\n")
            assert demux(await first.until(b"one\n"))[0] == b"one\n"
            first.close()
            second = await keeper.attach(link, stdin="1")
            await second.send(b"two\n")
            assert demux(await second.until(b"two\n"))[0] == b"two\n"
            assert (await link.request(Request.HELLO, {}))["state"] == ["running"]

    asyncio.run(story())


def test_input_of_a_client_that_went_away_before_the_start_is_not_lost() -> None:
    async def story() -> None:
        with fake("cat >copy") as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, stdin="1")
            await client.send(b"x" * 100_000)
            client.close()
            await link.request(Request.START, {})
            await keeper.ended()
            assert (keeper.run / "copy").read_bytes() == b"x" * 100_000

    asyncio.run(story())


def test_a_guest_without_input_reads_the_end_at_once() -> None:
    async def story() -> None:
        with fake("cat; echo end", stdin="0") as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, stdin="1")
            await link.request(Request.START, {})
            assert demux(await client.rest()) == (b"end\n", b"")

    asyncio.run(story())


def test_several_clients_get_all_and_only_what_they_asked_for() -> None:
    async def story() -> None:
        with fake("seq 20000; seq 3 >&2") as keeper:
            link = await keeper.connect()
            clients = [await keeper.attach(link) for _ in range(5)]
            errors = await keeper.attach(link, stdout="0")
            raw = await keeper.attach(link, stderr="0", mux="0")
            await link.request(Request.START, {})
            out = b"".join(b"%d\n" % n for n in range(1, 20001))
            everything = await asyncio.gather(*(client.rest() for client in clients))
            assert all(demux(data) == (out, b"1\n2\n3\n") for data in everything)
            assert demux(await errors.rest()) == (b"", b"1\n2\n3\n")
            assert await raw.rest() == out

    asyncio.run(story())


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("fail exec: executable file `x` not found in $PATH", 127, Invalid),
        ("fail open x: No such file or directory", 127, Invalid),
        ("fail exec x: Permission denied", 126, Invalid),
        ("fail the moon is in the wrong quarter", 125, WirtError),
        ("mutter only on the standard error", 125, WirtError),
        ("die", 125, WirtError),
    ],
)
def test_an_engine_that_fails(words: str, code: int, kind: type[WirtError]) -> None:
    async def story() -> None:
        with fake(words.split()) as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link)
            with pytest.raises(kind) as caught:
                await link.request(Request.START, {})
            assert caught.value.facts["exit"] == code
            if words != "die":
                assert caught.value.message == words.partition(" ")[2]
            assert await client.rest() == b""
            record = await keeper.ended()
            assert record["code"] == [str(code)]
            assert record["error"] == [caught.value.message]
            assert [e for e in keeper.events if e["event"] == ["exit"]] == []

    asyncio.run(story())


def test_execs_have_their_own_streams_and_codes() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            first, answer = await keeper.execute(link, "one", "cat; exit 3", stdin="1")
            second, _ = await keeper.execute(link, "two", "echo hi >&2; exit 0")
            assert int(answer["pid"][0]) > 1
            assert (await link.request(Request.HELLO, {}))["execs"][0] == "one"
            await first.send(b"abc")
            first.half_close()
            assert demux(await first.rest()) == (b"abc", b"")
            assert demux(await second.rest()) == (b"", b"hi\n")
            assert (await keeper.event("exit", "one"))["code"] == ["3"]
            assert (await keeper.event("exit", "two"))["code"] == ["0"]
            assert list(keeper.run.glob("exec-*")) == []
            os.kill(int(answer["pid"][0]) and keeper.process.pid, 0)

    asyncio.run(story())


def test_requests_that_cannot_be_fulfilled_are_refused_by_kind() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            with pytest.raises(NotFound):
                await link.request(Request.EXEC, {"id": ["x"], "process": ["true"]})
            with pytest.raises(NotFound):
                await link.request(Request.SIGNAL, {"target": ["main"], "signal": ["9"]})
            await link.request(Request.START, {})
            with pytest.raises(Conflict):
                await link.request(Request.START, {})
            with pytest.raises(Invalid):
                await link.request(Request.ATTACH, {})
            for bad in ("", "0", "65", "-1", "9x", "99999999999999999999"):
                with pytest.raises(Invalid):
                    await link.request(Request.SIGNAL, {"target": ["main"], "signal": [bad]})
            with pytest.raises(NotFound):
                await link.request(Request.SIGNAL, {"target": ["nobody"], "signal": ["9"]})
            with pytest.raises(Conflict):
                await link.request(Request.RESIZE, {"target": ["main"], "rows": ["1"]})
            for bad in ("main", "../x", "", ".x", "a" * 65):
                with pytest.raises(Invalid):
                    await link.request(Request.EXEC, {"id": [bad], "process": ["true"]})
            await keeper.execute(link, "same", "sleep 1000")
            with pytest.raises(Conflict):
                await link.request(Request.EXEC, {"id": ["same"], "process": ["true"]})
            with pytest.raises(WirtError, match="no agent"):
                await link.request(Request.AGENT, {"call": ["stats"]})

    asyncio.run(story())


def test_an_exec_without_a_stream_has_no_input() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            wish = {"id": ["one"], "process": ["cat; exit 4"], "stdin": ["1"]}
            await link.request(Request.EXEC, wish)
            assert (await keeper.event("exit", "one"))["code"] == ["4"]
            with pytest.raises(Invalid, match="NUL"):
                await link.request(Request.EXEC, {"id": ["two"], "process": ["a\0b"]})

    asyncio.run(story())


def test_a_client_that_left_with_input_pending_does_not_stall_the_guest() -> None:
    async def story() -> None:
        with fake("head -c 3000000 /dev/zero; exit 3") as keeper:
            link = await keeper.connect()
            for _ in range(3):
                client = await keeper.attach(link, stdin="1")
                await asyncio.get_running_loop().sock_sendall(client.sock, b"x" * 150_000)
            await link.request(Request.START, {})
            await asyncio.sleep(0.2)
            assert keeper.process.poll() is None
            for client in keeper.clients:
                client.close()
            assert (await keeper.ended())["code"] == ["3"]

    asyncio.run(story())


def test_running_out_of_descriptors_refuses_and_does_not_spin() -> None:
    async def story() -> None:
        with fake("exec sleep 1000") as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            pid, before = keeper.process.pid, resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (keeper.highest() + 1, before[1]))
            while keeper.descriptors() <= keeper.highest():
                await keeper.connect()  # the first few take numbers that were free
            for _ in range(5):
                with pytest.raises(Unavailable):
                    await keeper.connect()
            with pytest.raises(WirtError):
                await link.request(Request.EXEC, {"id": ["one"], "process": ["true"]})
            used = keeper.cpu()
            await asyncio.sleep(0.5)
            assert keeper.cpu() - used < 0.1
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            again = await keeper.connect()
            assert again.hello["state"] == ["running"]

    asyncio.run(story())
