"""The async client against the scripted daemon: types, streams, errors."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from fakes.daemon import Exchange, FakeDaemon, frame
from fakes.guest import GUEST, ROUTE, Script
from wirt.client.aio import Client
from wirt.errors import Conflict, Invalid, NotFound, Unavailable
from wirt.model.group import GuestGroup
from wirt.model.guest import ExecSpec, GuestClass, GuestState, Isolation
from wirt.model.resources import Resources

T = TypeVar("T")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


def use(daemon: FakeDaemon, work: Callable[[Client], Awaitable[T]]) -> T:
    """Run a story with a client."""

    async def story() -> T:
        async with Client(str(daemon.path)) as client:
            return await asyncio.wait_for(work(client), 10)

    return asyncio.run(story())


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_run(daemon: FakeDaemon) -> None:
    script = Script(daemon)
    script.output = frame(1, b"out") + frame(2, b"err")
    script.code = 3
    done = use(
        daemon,
        lambda c: c.guests.run("busybox", "x", isolation=Isolation.MICROVM, env=("A=1",)),
    )
    assert (done.code, done.stdout, done.stderr) == (3, b"out", b"err")
    spec = daemon.requests[0].json
    assert (spec["isolation"], spec["env"], spec["remove_on_exit"]) == ("microvm", ["A=1"], True)
    assert daemon.last(f"POST {ROUTE}/wait").one("condition") == "removed"
    asked = daemon.asked()
    assert asked.index(f"POST {ROUTE}/start") > asked.index(f"POST {ROUTE}/wait")


def test_run_feeds_stdin(daemon: FakeDaemon) -> None:
    script = Script(daemon)
    data = bytes(3_000_000)
    done = use(daemon, lambda c: c.guests.run("busybox", "cat", feed=data))
    assert (done.stdout, script.received) == (b"bye\n", data)


def test_a_failed_start_leaves_no_guest(daemon: FakeDaemon) -> None:
    script = Script(daemon)
    daemon.routes[f"POST {ROUTE}/start"] = lambda x: x.problem(
        "invalid", "no", status=400, exit=127
    )
    daemon.routes[f"DELETE {ROUTE}"] = lambda x: x.answer(status=204)
    with pytest.raises(Invalid) as caught:
        use(daemon, lambda c: c.guests.run("busybox"))
    assert caught.value.facts == {"exit": 127}
    assert daemon.last(f"DELETE {ROUTE}").one("force") == "1"
    script.begin.set()
    script.over.set()


def test_exec(daemon: FakeDaemon) -> None:
    daemon.routes["POST /v1/guests/w/exec"] = lambda x: x.answer({"id": "e"}, status=201)

    def stream(exchange: Exchange) -> None:
        raw = exchange.upgrade(frame(1, b"a"))
        raw.sendall(frame(2, b"b") + frame(1, b"c")[:5])
        raw.sendall(frame(1, b"c")[5:])
        raw.shutdown(socket.SHUT_WR)

    daemon.routes["POST /v1/exec/e/start"] = stream
    daemon.routes["POST /v1/exec/e/wait"] = lambda x: x.answer({"code": 9})
    done = use(daemon, lambda c: c.guests.exec("w", ExecSpec(command=("x",))))
    assert (done.code, done.stdout, done.stderr) == (9, b"ac", b"b")


def test_a_refused_stream_is_the_daemons_problem(daemon: FakeDaemon) -> None:
    daemon.routes["POST /v1/guests/w/attach"] = lambda x: x.problem(
        "conflict", "it is paused", status=409, hint="unpause it"
    )
    with pytest.raises(Conflict, match="it is paused") as caught:
        use(daemon, lambda c: c.guests.attach("w"))
    assert caught.value.hint == "unpause it"


def test_list_and_verbs(daemon: FakeDaemon) -> None:
    row = {
        "id": GUEST,
        "name": "w",
        "image": "b",
        "isolation": "vm",
        "state": "running",
        "status": "Up",
        "created_at": 1,
        "ports": [{"guest_port": 80, "host_port": 8080}],
        "new": "field",
    }
    daemon.routes["GET /v1/guests"] = lambda x: x.answer([row])
    found = use(daemon, lambda c: c.guests.list(all=True, filters=["label=a=b"]))
    assert found[0].state is GuestState.RUNNING
    assert found[0].ports[0].host_port == 8080
    assert daemon.requests[-1].query == [("all", "1"), ("filter", "label=a=b")]
    daemon.routes["POST /v1/guests/w/start"] = lambda x: x.answer(status=304)
    daemon.routes["POST /v1/guests/w/stop"] = lambda x: x.answer(status=204)
    assert use(daemon, lambda c: c.guests.start("w")) is False
    assert use(daemon, lambda c: c.guests.stop("w", timeout=0)) is True
    assert daemon.requests[-1].query == [("timeout", "0")]
    daemon.routes["POST /v1/guests/w/update"] = lambda x: x.answer({"warnings": ["w"]})
    assert use(daemon, lambda c: c.guests.update("w", resources=Resources(pids=3))) == ("w",)
    with pytest.raises(NotFound):
        use(daemon, lambda c: c.guests.kill("gone"))


def test_images(daemon: FakeDaemon) -> None:
    daemon.routes["POST /v1/images/load"] = lambda x: x.answer(
        b'{"status":"x"}\n{"loaded":"a:1"}\n'
    )
    assert use(daemon, lambda c: c.images.load(pieces(b"ta", b"r"))) == ("a:1",)
    assert daemon.requests[-1].body == b"tar"
    problem = {"kind": "invalid", "code": "image.bad", "message": "no image"}
    told = json.dumps({"problem": problem}).encode()
    daemon.routes["POST /v1/images/load"] = lambda x: x.answer(b'{"status":"x"}\n' + told)
    with pytest.raises(Invalid, match="no image"):
        use(daemon, lambda c: c.images.load(pieces(b"tar")))
    daemon.routes["POST /v1/images/import"] = lambda x: x.answer({"id": "sha256:1"})
    assert use(daemon, lambda c: c.images.import_root(pieces(b""), reference="a")) == "sha256:1"
    pulled = b'{"layer":"a","state":"done","total":1}\n{"image":"a:1","id":"sha256:2","fresh":true}'
    daemon.routes["POST /v1/images/pull"] = lambda x: x.answer(pulled)
    login = {"username": "u", "password": "p"}
    found = use(daemon, lambda c: c.images.pull("a", credentials=login, all_tags=True))
    assert found == ("sha256:2",)
    assert daemon.requests[-1].json == {
        "reference": "a",
        "credentials": login,
        "all_tags": True,
    }
    daemon.routes["POST /v1/images/push"] = lambda x: x.answer(
        {"pushed": "a:1", "digest": "sha256:3", "size": 1}
    )
    assert use(daemon, lambda c: c.images.push("a")) == ("sha256:3",)
    daemon.routes["DELETE /v1/images/a/b"] = lambda x: x.answer([{"untagged": "a/b"}])
    assert use(daemon, lambda c: c.images.remove("a/b"))[0].untagged == "a/b"


def test_networks_volumes_files_events(daemon: FakeDaemon) -> None:
    daemon.routes["POST /v1/networks"] = lambda x: x.answer({"id": "n"}, status=201)
    assert use(daemon, lambda c: c.networks.create("web", internal=True)) == "n"
    daemon.routes["POST /v1/volumes"] = lambda x: x.answer({"name": "v", "guests": []}, status=201)
    assert use(daemon, lambda c: c.volumes.create("v")).name == "v"
    daemon.routes["PUT /v1/guests/w/archive"] = lambda x: x.answer()
    use(daemon, lambda c: c.files.write("w", "/tmp", pieces(b"x")))
    assert daemon.requests[-1].body == b"x"
    event = {"sequence": 1, "time": 2, "type": "guest", "action": "die", "subject": "w"}
    daemon.routes["GET /v1/events"] = lambda x: x.answer(
        json.dumps(event).encode() + b'\n{"lagged":1}'
    )

    async def gather(client: Client) -> list[str]:
        return [one.action async for one in client.system.events(since=1, follow=False)]

    assert use(daemon, gather) == ["die"]


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no daemon answers"):
        asyncio.run(Client.connect(str(tmp_path / "none")))


def test_a_lost_daemon(daemon: FakeDaemon) -> None:
    daemon.routes["GET /v1/ping"] = lambda x: x.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Unavailable, match="broke off"):
        use(daemon, lambda c: c.system.ping())


def test_groups(daemon: FakeDaemon) -> None:
    group = {"path": "a/b", "resources": {"cpu_reservation": 5}, "expandable": True, "guests": []}
    daemon.routes["GET /v1/groups"] = lambda x: x.answer([{"path": ""}, group])
    daemon.routes["GET /v1/groups/a/b"] = lambda x: x.answer(group)
    daemon.routes["POST /v1/groups"] = lambda x: x.answer(group, status=201)
    daemon.routes["POST /v1/groups/a/b"] = lambda x: x.answer(group)
    daemon.routes["DELETE /v1/groups/a/b"] = lambda x: x.answer(status=204)
    found = GuestGroup(path="a/b", resources=Resources(cpu_reservation=5), expandable=True)
    assert use(daemon, lambda c: c.groups.list()) == (found,)
    assert use(daemon, lambda c: c.groups.inspect("a/b")) == found
    made = use(daemon, lambda c: c.groups.create("a/b", resources=Resources(memory=9)))
    assert made == found
    asked = daemon.last("POST /v1/groups").json
    assert (asked["path"], asked["resources"]["memory"]) == ("a/b", 9)
    assert use(daemon, lambda c: c.groups.change("a/b", expandable=False)) == found
    assert daemon.last("POST /v1/groups/a/b").json["expandable"] is False
    use(daemon, lambda c: c.groups.remove("a/b"))
    daemon.routes["POST /v1/guests/w/update"] = lambda x: x.answer({"warnings": []})
    use(daemon, lambda c: c.guests.update("w", group="a", guest_class=GuestClass.BATCH, oom_rank=3))
    assert daemon.last("POST /v1/guests/w/update").json == {
        "group": "a", "guest_class": "batch", "oom_rank": 3,
    }  # fmt: skip
