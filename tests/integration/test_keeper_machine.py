"""The keeper's machine mode against an agent that is played by the test. QEMU is a sleep."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from agenting import (
    CALL,
    CREDIT,
    DATA,
    EOF,
    ERROR,
    EXIT,
    RESIZE,
    RESULT,
    SIGNAL,
    SPAWN,
    STARTED,
    WINDOW,
    comm,
    exists,
    machine,
    running,
)
from keeping import demux, eventually
from needs import needs
from wirt.errors import Conflict, NotFound, Unavailable, WirtError
from wirt.guest.frame import Frame, record_frames
from wirt.guest.keeper import Request

pytestmark = needs("root", "keeper")


def test_a_machine_from_its_start_to_its_end() -> None:
    async def story() -> None:
        async with machine(qemu="echo booting; exec sleep 1000") as (rig, link, agent):
            client = await rig.attach(link, stdin="1")
            start = asyncio.ensure_future(link.request(Request.START, {}))
            config = await agent.greet()
            assert (config["hostname"], len(config["argv"][0])) == (["h"], 70_000)
            assert len(bytes.fromhex(config["entropy"][0])) == 32
            assert int(config["time"][0]) > 1_700_000_000 * 10**9
            assert not start.done()
            await agent.record(STARTED, 1, pid="1", uid="5", gid="6")
            pid = int((await start)["pid"][0])
            await eventually(lambda: comm(pid) == "sleep", "QEMU's start")
            await client.send(b"input")
            frame = await agent.frame()
            assert frame == Frame(DATA, 1, b"input", 0)
            client.half_close()
            assert await agent.frame() == Frame(EOF, 1, b"", 0)
            await agent.send(DATA, 1, b"out\n", 1)
            await agent.send(DATA, 1, b"err\n", 2)
            await agent.send(EOF, 1, flags=1)
            await agent.send(EOF, 1, flags=2)
            await agent.record(EXIT, 1, code="42", signal="0")
            os.kill(pid, signal.SIGTERM)
            assert demux(await client.rest()) == (b"out\n", b"err\n")
            assert (await rig.event("exit"))["code"] == ["42"]
            assert (await rig.ended())["code"] == ["42"]
            assert (rig.run / "console").read_text() == "booting\n"

    asyncio.run(story())


def test_execs_signals_and_sizes_go_to_the_agent() -> None:
    async def story() -> None:
        async with running() as (rig, link, agent):
            client = rig.client()
            wish = {
                "id": ["one"], "argv": ["sh", "-c", "x"], "env": ["A=b=c"], "cwd": ["/"],
                "user": ["u:g"], "tty": ["1"], "stdin": ["1"], "rows": ["3"], "columns": ["4"],
                "detach": ["10"],
            }  # fmt: skip
            asked = asyncio.ensure_future(
                link.request(Request.EXEC, wish, descriptor=client.theirs.fileno())
            )
            spawn = await agent.expect(SPAWN, 2)
            assert spawn == {key: wish[key] for key in wish if key not in ("id", "detach")}
            await agent.record(STARTED, 2, pid="77")
            assert (await asked)["pid"] == ["77"]
            client.theirs.close()
            assert await agent.expect(RESIZE, 2) == {"rows": ["3"], "columns": ["4"]}
            size = {"target": ["one"], "rows": ["5"], "columns": ["6"]}
            await link.request(Request.RESIZE, size)
            assert await agent.expect(RESIZE, 2) == {"rows": ["5"], "columns": ["6"]}
            await link.request(Request.SIGNAL, {"target": ["one"], "signal": ["15"]})
            assert await agent.expect(SIGNAL, 2) == {"signal": ["15"]}
            await link.request(Request.SIGNAL, {"target": ["main"], "signal": ["2"]})
            assert await agent.expect(SIGNAL, 1) == {"signal": ["2"]}
            await agent.send(DATA, 2, b"bye", 1)
            await agent.record(EXIT, 2, code="143", signal="15")
            assert await client.rest() == b"bye"
            assert (await rig.event("exit", "one"))["signal"] == ["15"]

    asyncio.run(story())


def test_what_the_agent_cannot_run_is_told_with_its_code() -> None:
    async def story() -> None:
        async with running() as (_, link, agent):
            wish = {"id": ["one"], "argv": ["x"]}
            asked = asyncio.ensure_future(link.request(Request.EXEC, wish))
            await agent.expect(SPAWN, 2)
            await agent.record(ERROR, 2, message="no x here", errno="2", exit="127")
            with pytest.raises(WirtError, match="no x here") as caught:
                await asked
            assert caught.value.facts == {"errno": 2, "exit": 127}
        async with machine() as (rig, link, agent):
            start = asyncio.ensure_future(link.request(Request.START, {}))
            await agent.greet()
            await agent.record(ERROR, 1, message="not executable", errno="13", exit="126")
            with pytest.raises(WirtError, match="not executable"):
                await start
            record = await rig.ended()
            assert (record["code"], record["error"]) == (["126"], ["not executable"])

    asyncio.run(story())


def test_credit_stalls_the_guest_while_a_client_is_behind() -> None:
    async def story() -> None:
        async with running() as (rig, link, agent):
            slow = await rig.attach(link, mux="0")
            credit, sent, block = WINDOW, 0, b"x" * 65_536

            async def pump() -> None:
                nonlocal credit, sent
                while sent < 100 * len(block):
                    while credit < len(block):
                        frame = await agent.frame()
                        assert (frame.type, frame.channel) == (CREDIT, 1)
                        credit += int.from_bytes(frame.payload)
                    await agent.send(DATA, 1, block, 1)
                    credit -= len(block)
                    sent += len(block)

            pumping = asyncio.ensure_future(pump())
            seen = [-1]
            while seen[-1] != sent:
                seen.append(sent)
                await asyncio.sleep(0.2)
            assert sent < 2_000_000
            assert rig.pss() < 2048
            assert len(await slow.read(100 * len(block))) == 100 * len(block)
            await pumping

    asyncio.run(story())


def test_input_keeps_to_the_agent_s_credit() -> None:
    async def story() -> None:
        async with running() as (rig, link, agent):
            client = await rig.attach(link, stdin="1")
            data = os.urandom(1_000_000)
            sending = asyncio.ensure_future(client.send(data))
            got = b""
            while len(got) < WINDOW:
                frame = await agent.frame()
                assert (frame.type, frame.flags) == (DATA, 0)
                got += frame.payload
            assert len(got) == WINDOW
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(agent.frame(), 0.2)
            while len(got) < len(data):
                await agent.send(CREDIT, 1, (100_000).to_bytes(4))
                end = min(len(got) + 100_000, len(data))
                while len(got) < end:
                    got += (await agent.frame()).payload
            assert got == data
            await sending

    asyncio.run(story())


def test_calls_with_and_without_a_stream() -> None:
    async def story() -> None:
        async with running() as (rig, link, agent):
            asked = asyncio.ensure_future(link.request(Request.AGENT, {"call": ["stats"]}))
            assert await agent.expect(CALL, 2) == {"call": ["stats"]}
            await agent.record(RESULT, 2, cpu="1", memory="2")
            assert await asked == {"cpu": ["1"], "memory": ["2"]}

            for result_first in (False, True):
                out = rig.client()
                wish = {"call": ["tar-out"], "path": ["/x"]}
                asked = asyncio.ensure_future(
                    link.request(Request.AGENT, wish, descriptor=out.theirs.fileno())
                )
                channel = 4 if result_first else 3
                assert await agent.expect(CALL, channel) == wish
                if result_first:
                    await agent.record(RESULT, channel, name="x")
                await agent.send(DATA, channel, b"tar bytes", 1)
                await agent.send(EOF, channel, flags=1)
                if not result_first:
                    await agent.record(RESULT, channel, name="x")
                assert await asked == {"name": ["x"]}
                out.theirs.close()
                assert await out.rest() == b"tar bytes"

            into = rig.client()
            asked = asyncio.ensure_future(
                link.request(Request.AGENT, {"call": ["tar-in"]}, descriptor=into.theirs.fileno())
            )
            assert await agent.expect(CALL, 5) == {"call": ["tar-in"]}
            await into.send(b"archive")
            into.half_close()
            assert await agent.frame() == Frame(DATA, 5, b"archive", 0)
            assert await agent.frame() == Frame(EOF, 5, b"", 0)
            await agent.record(RESULT, 5)
            assert await asked == {}
            into.theirs.close()
            assert await into.rest() == b""

            asked = asyncio.ensure_future(link.request(Request.AGENT, {"call": ["stat"]}))
            await agent.expect(CALL, 6)
            await agent.record(ERROR, 6, message="there is no /y", errno="2")
            with pytest.raises(NotFound, match="there is no /y"):
                await asked
            assert (await link.request(Request.HELLO, {})).get("execs") is None

    asyncio.run(story())


@pytest.mark.parametrize(
    ("qemu", "code"),
    [("exec sleep 1000", "137"), ("while [ ! -e end ]; do sleep 0.01; done", "255")],
)
def test_a_machine_that_ends_without_its_agent_s_word(qemu: str, code: str) -> None:
    async def story() -> None:
        async with running(qemu=qemu) as (rig, link, agent):
            client = await rig.attach(link)
            asked = asyncio.ensure_future(link.request(Request.AGENT, {"call": ["stats"]}))
            await agent.expect(CALL, 2)
            await agent.send(DATA, 1, b"last words", 1)
            if code == "137":
                pid = int((await link.request(Request.HELLO, {}))["pid"][0])
                os.kill(pid, signal.SIGKILL)
            (rig.run / "end").touch()
            with pytest.raises(Unavailable):
                await asked
            assert demux(await client.rest()) == (b"last words", b"")
            record = await rig.ended()
            assert record["code"] == [code]
            assert record["error"] == ["the machine ended without an exit status"]

    asyncio.run(story())


def test_qemu_that_fails_tells_why() -> None:
    async def story() -> None:
        async with machine(qemu="echo 'qemu: bad option' >&2; exit 1") as (rig, link, _):
            client = await rig.attach(link)
            with pytest.raises(WirtError, match="qemu: bad option") as caught:
                await link.request(Request.START, {})
            assert caught.value.facts["exit"] == 125
            assert await client.rest() == b""
            assert (await rig.ended())["error"] == ["qemu: bad option"]
        async with machine(qemu="exit 1") as (_, link, _):
            with pytest.raises(WirtError, match="before its agent answered"):
                await link.request(Request.START, {})

    asyncio.run(story())


@pytest.mark.parametrize(
    "attack",
    [
        b"\xff" * 12,
        Frame(DATA, 1, b"x", 0).encode(),
        Frame(DATA, 1, b"x", 3).encode(),
        Frame(DATA, 1, b"x" * 65_536, 1).encode() * 50,
        Frame(CREDIT, 1, b"\xff" * 4).encode(),
        Frame(CREDIT, 1, b"\xff").encode(),
        record_frames(EXIT, 1, b"code=999\0"),
        record_frames(STARTED, 1, b"pid=1\0"),
        record_frames(ERROR, 1, b"message=no\0"),
        record_frames(RESULT, 1, b""),
        record_frames(99, 1, b""),
        Frame(RESULT, 1, b"a=" + b"x" * 65_000, 1).encode() * 70,
    ],
    ids=range(12),
)
def test_an_agent_that_breaks_the_protocol_loses_its_machine(attack: bytes) -> None:
    async def story() -> None:
        async with running() as (rig, link, agent):
            await rig.attach(link)  # nobody reads it, so credit does not come back for ever
            with suppress(BrokenPipeError, ConnectionResetError):
                await asyncio.get_running_loop().sock_sendall(agent.sock, attack)
            record = await rig.ended()
            assert record["code"] == ["255"]
            assert record["error"] == ["the machine's agent broke the protocol"]
            assert any(e["event"] == ["lost"] for e in rig.events)

    asyncio.run(story())


def test_the_agent_speaks_first_and_in_order() -> None:
    async def story() -> None:
        async with machine() as (rig, link, agent):
            start = asyncio.ensure_future(link.request(Request.START, {}))
            await agent.record(STARTED, 1, pid="1")
            with pytest.raises(WirtError, match="broke the protocol"):
                await start
            assert (await rig.ended())["code"] == ["125"]
        async with machine() as (_, link, _):
            start = asyncio.ensure_future(link.request(Request.START, {}))
            await asyncio.sleep(0)
            with pytest.raises(Conflict):
                await link.request(Request.START, {})
            with pytest.raises(NotFound):
                await link.request(Request.AGENT, {"call": ["stats"]})
            start.cancel()

    asyncio.run(story())


def test_programs_beside_the_machine_live_as_long_as_it() -> None:
    async def story() -> None:
        helper = "\x1f".join(["sh", "-c", "echo aux $1; exec sleep 1000", "-", "a b"])
        async with running(aux=helper) as (rig, link, agent):
            pids = rig.children()
            qemu = int((await link.request(Request.HELLO, {}))["pid"][0])
            assert len(pids) == 2
            console = rig.run / "console"
            await eventually(lambda: console.read_text() == "aux a b\n", "its output")
            await agent.record(EXIT, 1, code="0", signal="0")
            os.kill(qemu, signal.SIGTERM)
            await rig.ended()
            assert not any(exists(pid) for pid in pids)

    asyncio.run(story())


def test_qemu_s_own_output_is_bounded() -> None:
    async def story() -> None:
        qemu = "head -c 5000000 /dev/zero; exec sleep 1000"
        async with running(qemu=qemu) as (rig, link, _):
            await eventually(
                lambda: (rig.run / "console").stat().st_size == 1 << 20, "the whole bound"
            )
            pid = int((await link.request(Request.HELLO, {}))["pid"][0])
            await eventually(lambda: comm(pid) == "sleep", "all output taken, QEMU not blocked")

    asyncio.run(story())
