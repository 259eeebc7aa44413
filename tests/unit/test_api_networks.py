"""``/v1/networks`` over HTTP: statuses, bodies, problems."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nethost import Host, host, on, spec
from wirt.api.http.problem import problems
from wirt.api.native.networks import NetworkRoutes

Client = TestClient[web.Request, web.Application]


def client(h: Host) -> Client:
    app = web.Application(middlewares=[problems])
    app.add_routes(NetworkRoutes(networks=h.networks, plug=h.plug, guests=h.guests).routes())
    return TestClient(TestServer(app))


async def call(c: Client, verb: str, path: str, body: Any = None, status: int = 200) -> Any:
    async with c.request(verb, f"/v1/networks{path}", json=body) as answer:
        found = await answer.json() if answer.content_type.endswith("json") else None
        assert answer.status == status, found
        return found


def test_the_life_of_a_network(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h, client(h) as c:
            body = {"name": "web", "subnet": "10.9.0.0/24", "labels": {"a": "b"}, "internal": True}
            made = await call(c, "POST", "", body, 201)
            guest = await h.guest("one", spec(attachments=on("bridge")))
            wish = {"guest": "one", "aliases": ["www"], "address": "10.9.0.7"}
            await call(c, "POST", "/web/connect", wish, 204)
            seen = await call(c, "GET", f"/{made['id'][:12]}")
            assert (seen["subnet"], seen["labels"], seen["internal"]) == (
                "10.9.0.0/24", {"a": "b"}, True,
            )  # fmt: skip
            (place,) = seen["endpoints"]
            assert place == {
                "guest": guest.id, "name": "one", "address": "10.9.0.7", "prefix": 24,
                "mac": "02:42:0a:09:00:07", "interface": "eth1",
                "names": ["one", "www", guest.id[:12]], "running": False,
            }  # fmt: skip
            listed = await call(c, "GET", "")
            assert [network["name"] for network in listed] == ["bridge", "web"]
            problem = await call(c, "DELETE", "/web", status=409)
            assert problem["code"] == "network.in-use"
            assert "one" in problem["message"]
            assert "disconnect" in problem["hint"]
            await call(c, "POST", "/web/disconnect", {"guest": guest.id}, 204)
            assert await call(c, "POST", "/prune") == {"removed": ["web"]}
            await call(c, "DELETE", "/web", status=404)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "words"),
    [
        ("POST", "", {}, 400, "missing required field `name`"),
        ("POST", "", {"name": 1}, 400, "$.name"),
        ("POST", "", {"name": "x", "driver": "overlay"}, 400, "unknown field `driver`"),
        ("POST", "", [], 400, "expected `object`"),
        ("POST", "", {"name": "x", "mtu": 10**400}, 400, "not in 576"),
        ("POST", "", {"name": "x", "mtu": 10**6}, 400, "MTU"),
        ("POST", "", {"name": "bridge"}, 400, "reserved"),
        ("POST", "", {"name": "x", "options": {"parent": "eth0"}}, 501, "parent"),
        ("DELETE", "/bridge", None, 409, "predefined"),
        ("GET", "/nope", None, 404, "no such network: nope"),
        ("POST", "/nope/connect", {"guest": "x"}, 404, "no such network"),
        ("POST", "/bridge/connect", {"guest": ""}, 400, "no guest given"),
        ("POST", "/bridge/connect", {"guest": "nobody"}, 404, "nobody"),
        ("POST", "/bridge/disconnect", {"guest": "x", "force": 1}, 400, "$.force"),
    ],
)
def test_bad_requests(
    tmp_path: Path, verb: str, path: str, body: Any, status: int, words: str
) -> None:
    async def story() -> None:
        async with host(tmp_path) as h, client(h) as c:
            problem = await call(c, verb, path, body, status)
            assert words.lower() in problem["message"].lower()
            assert len(h.networks.all()) == 1

    asyncio.run(story())
