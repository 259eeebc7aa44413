"""Nonsense from clients: refused with a sentence, never a crash, and others do not wait for it."""

from __future__ import annotations

import http.client
import json
import random
import socket
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from e2e.test_life import eventually, inspect
from live import Live, running
from needs import require

SPEC = Path(__file__).resolve().parents[2] / "docs" / "reference" / "openapi.json"
ROUNDS = 12
"""Requests for each operation; those for figures take a second each, so they are few."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1.5, 1e308, "", " ", "a",
    "busybox", "bridge", "fuzz", "../../etc", "/", "a" * 300, "\x00", "\ud800", "é\n", "-1", "1m",
    "0.0.0.0/0", "127.0.0.1", [], [[]], {}, {"a": {}}, [None], ["a", 1], {"": ""},
)  # fmt: skip


PLAUSIBLE = (
    "fuzz", "busybox", "bridge", "/tmp", "/etc/hosts", "true", "A=b", "10.77.0.0/24", "10.77.0.5",
    "root", "0:0", "1h", "5", "9", "TERM", "x", "docker", "10.210.0.9", "02:00:00:00:00:07",
)  # fmt: skip
KNOWN = {"exec": "fuzz", "name": "busybox"}
"""What a name in a path should be; all else is called ``fuzz``."""


@pytest.fixture(scope="module")
def shared_instance(session_tag: str) -> Iterator[Live]:
    """An instance of this module alone: nonsense leaves names and tags behind in it."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with running(f"wt{session_tag}b") as live:
        yield live


class Client(http.client.HTTPConnection):
    """HTTP on the daemon's socket."""

    def __init__(self, live: Live) -> None:
        super().__init__("wirt", timeout=30)
        self._path = str(live.socket)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def ask(
    live: Live, verb: str, target: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    client = Client(live)
    try:
        client.request(verb, target, body=body, headers=headers)
        answer = client.getresponse()
        return answer.status, answer.read(100_000)
    finally:
        client.close()


def check(live: Live, verb: str, target: str, body: bytes | None, **headers: str) -> None:
    """No such request may be a bug, and a refusal has a sentence."""
    status, data = ask(live, verb, target, body, **headers)
    told = f"{verb} {target[:300]} {(body or b'')[:300]!r}: {status} {data[:300]!r}"
    assert status != 500, told
    if status >= 400 and verb != "HEAD":
        problem = json.loads(data)
        assert problem["message"], told
        assert problem["kind"], told
        assert "Traceback" not in problem["message"], told


class Fuzz:
    """Requests of wrong shapes, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._oddness = 0.2 if seed % 2 else 0.03
        self._document = json.loads(SPEC.read_text())

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """All but deletions; first those that leave the guest, its name and its network alone."""
        return sorted(self._operations(), key=lambda found: found[1].endswith(LAST))

    def _operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, verbs in self._document["paths"].items():
            for verb, operation in verbs.items():
                if verb != "delete":
                    yield verb.upper(), path, operation

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """Something near the schema, and at times beside it."""
        if self._random.random() < self._oddness or depth > 6:
            return self._random.choice(ODD)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.value(self._document["components"]["schemas"][name], depth + 1)
        if "anyOf" in schema:
            return self.value(self._random.choice(schema["anyOf"]), depth + 1)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        return self._of_type(schema, depth)

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if kind == "object":
            fields = schema.get("properties", {})
            chosen = [
                name
                for name in fields
                if name in schema.get("required", ()) or self._random.random() < 0.15
            ]
            made = {name: self.value(fields[name], depth + 1) for name in chosen}
            if made.get("image") is not None and self._random.random() < 0.9:
                made["image"] = "busybox"
            return made
        if kind == "array":
            items = schema.get("items", {})
            return [self.value(items, depth + 1) for _ in range(self._random.randrange(4))]
        if kind in {"integer", "number"}:
            return self._random.choice((0, 1, -1, 7, 1000, 2**40, 2**63, -(2**70)))
        if kind == "boolean":
            return self._random.random() < 0.5
        return self.text()

    def text(self) -> str:
        if self._random.random() > self._oddness:
            return self._random.choice(PLAUSIBLE)
        odd = self._random.choice(ODD)
        letters = "".join(self._random.choices(string.printable, k=self._random.randrange(12)))
        return odd if isinstance(odd, str) and self._random.random() < 0.7 else letters

    def target(self, path: str, operation: dict[str, Any]) -> str:
        """The path with names, and some of its query."""
        query = []
        for parameter in operation.get("parameters", ()):
            text = quote(self.text().encode("utf-8", "surrogatepass"), safe="")
            if parameter["in"] == "path":
                known = KNOWN.get(parameter["name"], "fuzz")
                name = known if self._random.random() < 0.8 else text or "x"
                path = path.replace("{" + parameter["name"] + "}", name)
            elif parameter["name"] in {"follow", "stream"}:
                query.append(f"{parameter['name']}={self._random.choice(('0', 'x' + text))}")
            elif parameter["name"] == "name" and path == "/v1/images/save":
                query.append("name=busybox")
            elif self._random.random() < 0.5:
                query.append(f"{parameter['name']}={text}")
        return path + ("?" + "&".join(query) if query else "")

    def body(self, operation: dict[str, Any]) -> tuple[bytes | None, str]:
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            return None, "text/plain"
        kind, media = next(iter(content.items()))
        if kind != "application/json" or self._random.random() < 0.15:
            return bytes(self._random.choices(range(256), k=600)), kind
        made = json.dumps(self.value(media["schema"]))
        return made.encode(), kind


ENDLESS = ("/v1/events", "/logs", "/stats", "/v1/stats")
LAST = ("/kill", "/pause", "/prune", "/rename", "/disconnect")
WAITING = ("/wait", "/attach", "/v1/exec/{exec}/start", "/stop", "/restart")
"""These take as long as the guest does, or take the connection over."""


@contextmanager
def running_guest(live: Live) -> Iterator[None]:
    """A guest ``fuzz`` on a network, a volume of that name; afterwards nothing but the image."""
    live.wirt("network", "create", "fuzz")
    live.wirt("run", "-d", "--name", "fuzz", "-v", "fuzz:/v", "busybox", "sleep", "1000")
    try:
        yield
    finally:
        for guest in live.ask("GET", "/v1/guests?all=1")[1]:
            live.ask("DELETE", f"/v1/guests/{guest['id']}?force=1&volumes=1")
        for network in live.ask("GET", "/v1/networks")[1]:
            live.ask("DELETE", f"/v1/networks/{network['id']}")
        live.ask("POST", "/v1/volumes/prune?all=1")
        for image in live.ask("GET", "/v1/images")[1]:
            if "busybox:latest" not in str(image):
                live.ask("DELETE", f"/v1/images/{image['id']}?force=1")


@pytest.mark.parametrize("seed", range(2))
def test_no_request_whatever_is_an_internal_error(shared_instance: Live, seed: int) -> None:
    live, fuzz = shared_instance, Fuzz(seed)
    with running_guest(live):
        for verb, path, operation in fuzz.operations():
            for _ in range(2 if path.endswith("/stats") else ROUNDS):
                target = fuzz.target(path, operation)
                body, kind = fuzz.body(operation)
                if path.endswith(ENDLESS) and "follow=" not in target and "stream=" not in target:
                    target += ("&" if "?" in target else "?") + "follow=0&stream=0"
                if not path.endswith(WAITING):
                    check(live, verb, target, body, **{"Content-Type": kind})
        assert live.ask("GET", "/v1/ping")[0] == 200
        assert live.wirt("exec", "-w", "/", "fuzz", "true", code=None).returncode in {0, 125}
    assert live.ask("GET", "/v1/images/busybox/json")[0] == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "array"),
        (b'{"image": 5}', "$.image"),
        (b'{"image": "busybox", "isolation": "jail"}', "$.isolation"),
        (b'{"image": "busybox", "resources": {"memory": "1g"}}', "$.resources.memory"),
        (b'{"image": "busybox", "mounts": [{"kind": "floppy"}]}', "$.mounts[0].kind"),
        (b'{"image": "busybox", "command": [null]}', "$.command[0]"),
        (b"[" * 100_000, "body"),
        (b'{"image": "\xff"}', "body"),
    ],
)
def test_a_wrong_body_is_told_where(shared_instance: Live, body: bytes, text: str) -> None:
    status, data = ask(shared_instance, "POST", "/v1/guests", body)
    assert status == 400
    assert text in json.loads(data)["message"]


def test_a_huge_body_is_refused_before_it_is_read(shared_instance: Live) -> None:
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        client = Client(shared_instance)
        parts = (b'"' + b"a" * (1 << 20) for _ in range(100))
        try:
            client.putrequest("POST", "/v1/guests")
            if headers:
                client.putheader("Transfer-Encoding", "chunked")
            else:
                client.putheader("Content-Length", str(100 << 20))
            client.endheaders()
            try:
                for part in parts:
                    client.send(b"%x\r\n%b\r\n" % (len(part), part) if headers else part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered and closed
            answer = client.getresponse()
            assert answer.status == 413
            assert json.loads(answer.read())["code"] == "http.413"
        finally:
            client.close()


def test_a_web_page_may_not_ask(shared_instance: Live) -> None:
    for verb, target in (("GET", "/v1/info"), ("POST", "/v1/guests"), ("GET", "/nosuch")):
        status, data = ask(shared_instance, verb, target, b"{}", Origin="http://evil.example")
        assert status == 403
        assert json.loads(data)["code"] == "api.origin"


def test_wrong_routes_verbs_and_lines(shared_instance: Live) -> None:
    live = shared_instance
    assert ask(live, "GET", "/v1/nosuch")[0] == 404
    assert ask(live, "PUT", "/v1/guests")[0] == 405
    assert ask(live, "GET", "/v1/guests?filter=" + "a" * 20_000)[0] == 400
    assert ask(live, "GET", "/v1/guests?all=maybe")[0] == 400
    for raw in (b"\x16\x03\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 5000):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(str(live.socket))
            link.sendall(raw)
            link.shutdown(socket.SHUT_WR)
            answer = link.recv(100)
            # our end may be seen first; and the version in the answer is the malformed line's
            assert answer == b"" or (answer[:7], answer[9:12]) == (b"HTTP/1.", b"400")
    assert ask(live, "GET", "/v1/ping")[0] == 200


def test_slow_clients_do_not_keep_others_waiting(shared_instance: Live) -> None:
    live = shared_instance
    links = []
    try:
        for number in range(60):
            link = socket.socket(socket.AF_UNIX)
            link.connect(str(live.socket))
            link.sendall((b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
                          b"GET /v1/guests HT", b"")[number % 3])  # fmt: skip
            links.append(link)
        assert live.ask("GET", "/v1/guests", timeout=30)[0] == 200, "they wait for good"
    finally:
        for link in links:
            link.close()


def test_a_guest_at_its_worst_leaves_the_others_and_ps_alone(shared_instance: Live) -> None:
    live = shared_instance
    bomb = "f() { f | f & }; f; sleep 1000"
    live.wirt("run", "-d", "--name", "bomb", "--pids-limit", "64", "-m", "64m", "--cpus", "0.5",
              "busybox", "sh", "-c", bomb)  # fmt: skip
    live.wirt("run", "-d", "--name", "calm", "busybox", "sleep", "1000")
    try:
        with ThreadPoolExecutor(4) as pool:
            for listed in [
                pool.submit(live.ask, "GET", "/v1/guests", timeout=30) for _ in range(8)
            ]:
                assert len(listed.result()[1]) == 2
        assert live.wirt("exec", "calm", "echo", "fine").stdout == "fine\n"
        assert live.wirt("stats", "--no-stream", "--format", "{{.Name}}").returncode == 0
        live.wirt("rm", "-f", "bomb")
        live.wirt("inspect", "bomb", code=3)
    finally:
        live.wirt("rm", "-f", "bomb", "calm", code=None)


def over(processes: str) -> bool:
    """Whether the shell has become the sleep, its last command: at first there is neither."""
    return "sleep 1000" in processes and "head" not in processes


def test_endless_output_without_a_newline_is_bounded(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("run", "-d", "--name", "loud", "--log-opt", "max-size=4m", "--log-opt", "max-file=2",
              "busybox", "sh", "-c", "head -c 1000000000 /dev/zero; sleep 1000")  # fmt: skip
    try:
        guest = str(inspect(live, "loud")["id"])
        eventually(lambda: over(live.wirt("top", "loud").stdout))
        stored = sum(
            path.stat().st_size
            for path in (live.instance.state / "guests" / guest).rglob("*")
            if path.is_file()
        )
        assert 4 << 20 <= stored < 10 << 20
        assert len(live.pipe("logs", "loud")) < 10 << 20
        assert len(live.pipe("logs", "-n", "1", "loud")) < 10 << 20
    finally:
        live.wirt("rm", "-f", "loud")


def test_a_guest_that_was_just_killed_is_not_called_lost(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("run", "-d", "--name", "brief", "busybox", "sleep", "1000")
    try:
        assert live.ask("POST", "/v1/guests/brief/kill?signal=KILL")[0] == 204
        refused = 0
        while refused < 20:  # the test's own bound ends one that is killed for ever
            status, problem = live.ask("POST", "/v1/guests/brief/kill?signal=HUP")
            assert status in {204, 409}, problem
            if status == 409:
                assert problem["code"] == "guest.not-running"
                refused += 1
    finally:
        live.wirt("rm", "-f", "brief")
