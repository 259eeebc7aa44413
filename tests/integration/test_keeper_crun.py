"""The keeper with real containers: terminals, execs, namespaces, crun's failures."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine

import pytest

from cruning import crun, process_json
from keeping import Keeper, demux
from needs import needs
from waiting import eventually
from wirt.errors import WirtError
from wirt.guest.keeper import Request

pytestmark = needs("root", "keeper", "crun", "mountns", "busybox")


def run(story: Coroutine[None, None, None]) -> None:
    """The whole story within a bound."""

    async def bounded() -> None:
        async with asyncio.timeout(100):
            await story

    asyncio.run(bounded())


def test_streams_input_and_exit_code(instance_name: str) -> None:
    async def story() -> None:
        command = ["sh", "-c", "echo hi; echo err >&2; cat; exit 3"]
        with crun(command, name=instance_name) as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, stdin="1")
            answer = await link.request(Request.START, {})
            pid = int(answer["pid"][0])
            # Until a process that crun left in between is gone, it is that one's child.
            await eventually(lambda: pid in keeper.children(), "the guest is the keeper's child")
            assert keeper.pss() <= 512
            await client.send(b"abc")
            client.half_close()
            assert demux(await client.rest()) == (b"hi\nabc", b"err\n")
            assert (await keeper.ended())["code"] == ["3"]

    run(story())


def test_containers_that_end_at_once_are_never_missed(instance_name: str) -> None:
    async def story() -> None:
        for code in range(8):
            with crun(["sh", "-c", f"echo x; exit {code}"], name=instance_name) as keeper:
                link = await keeper.connect()
                client = await keeper.attach(link)
                await link.request(Request.START, {})
                assert demux(await client.rest()) == (b"x\n", b"")
                assert (await keeper.event("exit"))["code"] == [str(code)]
                await keeper.ended()

    run(story())


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("nosuch", 127, "not found"),
        ("/bin/nosuch", 127, "No such file"),
        ("/proc/version", 126, "Permission denied"),
        ("/bin", 126, "open executable"),
    ],
)
def test_what_cannot_be_run(instance_name: str, command: str, code: int, words: str) -> None:
    async def story() -> None:
        with crun([command], name=instance_name) as keeper:
            link = await keeper.connect()
            with pytest.raises(WirtError, match=words) as caught:
                await link.request(Request.START, {})
            assert caught.value.facts["exit"] == code
            assert (await keeper.ended())["code"] == [str(code)]
        with crun(["sleep", "1000"], name=instance_name) as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            for _ in range(2):
                with pytest.raises(WirtError, match=words) as caught:
                    await keeper.execute(link, "one", process_json(command))
                assert caught.value.facts["exit"] == code
                assert await keeper.clients[-1].rest() == b""
            assert keeper.events == [keeper.events[0]]

    run(story())


async def _terminal(keeper: Keeper) -> None:
    link = await keeper.connect()
    client = await keeper.attach(link, stdin="1", detach="7e71")
    await link.request(Request.RESIZE, {"target": ["main"], "rows": ["44"], "columns": ["55"]})
    await link.request(Request.START, {})
    await client.send(b"tty; stty size\n")
    assert b"/dev/pts/0\r\n44 55\r\n" in await client.until(b"44 55\r\n")
    await link.request(Request.RESIZE, {"target": ["main"], "rows": ["10"], "columns": ["20"]})
    await client.send(b"stty size\n")
    await client.until(b"10 20\r\n")
    # A lone first key of the sequence is input like any other, once the next one is not the second.
    await client.send(b"echo a~")
    await client.send(b"b c'~'\n")
    await client.until(b"\na~b c~\r\n/ # ")
    await client.send(b"~")
    await client.send(b"q")
    assert await client.rest() == b""
    assert (await keeper.event("detach"))["target"] == ["main"]
    again = await keeper.attach(link, stdin="1", mux="1")
    await again.send(b"exit 5\n")
    assert (await again.rest()).endswith(b"exit 5\r\n")
    assert (await keeper.ended())["code"] == ["5"]


def test_a_terminal_its_size_and_the_detach_keys(instance_name: str) -> None:
    async def story() -> None:
        with crun(["sh"], name=instance_name, tty=True) as keeper:
            await _terminal(keeper)

    run(story())


def test_execs(instance_name: str) -> None:
    async def story() -> None:
        with crun(["sleep", "1000"], name=instance_name) as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            names = [f"e{number}" for number in range(6)]
            texts = [process_json("sh", "-c", f"echo {name}; exit {name[1]}") for name in names]
            started = await asyncio.gather(
                *(keeper.execute(link, *pair) for pair in zip(names, texts, strict=True))
            )
            for name, (client, _) in zip(names, started, strict=True):
                assert demux(await client.rest()) == (f"{name}\n".encode(), b"")
                assert (await keeper.event("exit", name))["code"] == [name[1]]
            text = process_json("sh", "-c", "read go; stty size; cat; exit 7", tty=True)
            client, _ = await keeper.execute(
                link, "tty", text, tty="1", stdin="1", rows="33", columns="99"
            )
            await client.send(b"\n")
            await client.until(b"33 99\r\n")
            await client.send(b"x\n\x04")
            assert await client.rest() == b"x\r\nx\r\n"
            assert (await keeper.event("exit", "tty"))["code"] == ["7"]
            await keeper.execute(link, "victim", process_json("sleep", "1000"))
            await link.request(Request.SIGNAL, {"target": ["victim"], "signal": ["9"]})
            victim = await keeper.event("exit", "victim")
            assert (victim["code"], victim["signal"]) == (["137"], ["9"])
            assert list(keeper.run.glob("exec-*")) == []

    run(story())


def test_an_exec_ends_although_a_descendant_holds_its_output(instance_name: str) -> None:
    async def story() -> None:
        with crun(["sleep", "1000"], name=instance_name) as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            text = process_json("sh", "-c", "sleep 1000 & seq 20000; exit 4")
            client, _ = await keeper.execute(link, "one", text)
            out, _ = demux(await client.rest())
            assert out == b"".join(b"%d\n" % n for n in range(1, 20001))
            assert (await keeper.event("exit", "one"))["code"] == ["4"]

    run(story())


def test_the_container_s_end_ends_its_execs_first(instance_name: str) -> None:
    async def story() -> None:
        with crun(["sleep", "1000"], name=instance_name) as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            client, _ = await keeper.execute(link, "one", process_json("sleep", "1000"))
            await link.request(Request.SIGNAL, {"target": ["main"], "signal": ["9"]})
            assert await client.rest() == b""
            assert (await keeper.event("exit", "one"))["code"] == ["137"]
            assert (await keeper.ended())["code"] == ["137"]

    run(story())


def test_orphans_in_the_container_leave_no_zombies_with_the_keeper(instance_name: str) -> None:
    async def story() -> None:
        with crun(["sh", "-c", "(sleep 0.05 &) ; sleep 1000"], name=instance_name) as keeper:
            link = await keeper.connect()
            answer = await link.request(Request.START, {})
            for number in range(5):
                await keeper.execute(link, f"e{number}", process_json("sh", "-c", "(sleep 0.1 &)"))
                await keeper.event("exit", f"e{number}")
            init = int(answer["pid"][0])
            await eventually(lambda: keeper.children() == [init], "only the container is left")
            os.kill(init, signal.SIGKILL)
            await keeper.ended()

    run(story())
