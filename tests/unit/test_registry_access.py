"""Who may do what with the registry, and what strangers, thieves and forgers get."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from registrylab import Client, Lab, digest_of, image, lab
from wirt.errors import Forbidden, Invalid
from wirt.host.registry.access import Access, parse
from wirt.host.registry.accounts import Accounts
from wirt.host.registry.tokens import Grant, Tokens
from wirt.model.registry import Listener, Right


def line(user: str, password: str) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


HTPASSWD = "# users\n\n" + line("alice", "wonder") + line("bob", "builds") + line("ci-1", "robot")
POLICY = """
[[rule]]
users = ["alice"]
repositories = ["**"]
rights = ["pull", "push", "delete"]

[[rule]]
users = ["bob"]
repositories = ["team/*", "pub"]
rights = ["pull"]

[[rule]]
users = ["ci-*"]
repositories = ["team/**"]
rights = ["pull", "create"]

[[rule]]
users = ["anonymous"]
repositories = ["pub"]
rights = ["pull"]
"""


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


PASSWORDS = {"alice": "wonder", "bob": "builds", "ci-1": "robot"}


class Guarded:
    """A registry with users and a policy."""

    def __init__(self, own: Lab, anybody: Client) -> None:
        self.lab = own
        self.anybody = anybody

    def user(self, name: str) -> Client:
        return Client(self.lab.http, self.anybody.base, basic(name, PASSWORDS[name]))

    async def token(self, who: Client, *scopes: str) -> Client:
        """A client that bears a token."""
        query = "&".join(f"scope={scope}" for scope in scopes)
        made = await who("GET", f"/token?{query}")
        assert made.status == 200, made
        bearer = {"Authorization": f"Bearer {made.json['token']}"}
        return Client(self.lab.http, self.anybody.base, bearer)


def guarded(tmp_path: Path, story: Callable[[Guarded], Awaitable[None]], **settings: Any) -> None:
    async def tell() -> None:
        wish = {"htpasswd": HTPASSWD, "policy": POLICY, "anonymous": "none", **settings}
        async with lab(tmp_path) as own:
            await story(Guarded(own, await own.serve(**wish)))

    asyncio.run(tell())


def test_rights_follow_the_policy(tmp_path: Path) -> None:
    async def story(g: Guarded) -> None:
        alice, bob, robot = g.user("alice"), g.user("bob"), g.user("ci-1")
        first = await alice.image("team/app", "v1", b"layer")
        await alice.image("pub", "v1", b"layer")
        read = "/v2/team/app/manifests/v1"
        for who, status in ((alice, 200), (bob, 200), (robot, 200), (g.anybody, 401)):
            assert (await who("GET", read)).status == status
        assert (await g.anybody("GET", "/v2/pub/manifests/v1")).status == 200
        assert (await robot("GET", "/v2/pub/manifests/v1")).status == 200  # as anybody may
        assert (await robot("GET", "/v2/other/tags/list")).code == "DENIED"
        assert (await bob("POST", "/v2/team/app/blobs/uploads/")).status == 403
        assert (await bob("DELETE", read)).status == 403
        assert (await robot("DELETE", read)).status == 403
        # create only: new tags, but never another content for one that exists (CVE-2026-31801)
        second = await robot.image("team/app", "v2", b"other")
        moved = await robot.manifest("team/app", "v1", second)
        assert (moved.status, moved.code) == (403, "DENIED")
        assert (await robot("GET", read)).body == first
        assert (await robot.manifest("team/app", "v1", first)).status == 201
        query = f"{digest_of(second)}?tag=v3&tag=v1"
        assert (await robot.manifest("team/app", query, second)).status == 403
        tags = await robot("GET", "/v2/team/app/tags/list")
        assert tags.json["tags"] == ["v1", "v2"]
        assert (await alice.manifest("team/app", "v1", second)).status == 201
        assert (await alice("DELETE", read)).status == 202
        listing = await g.token(bob, "registry:catalog:*")
        blind = await g.token(bob, "repository:pub:pull")
        for who, names in (
            (alice, ["pub", "team/app"]), (listing, ["pub", "team/app"]), (blind, ["pub"]),
            (bob, ["pub", "team/app"]), (g.anybody, ["pub"]),
        ):  # fmt: skip
            assert (await who("GET", "/v2/_catalog")).json["repositories"] == names

    guarded(tmp_path, story)


def test_a_mount_needs_the_right_to_read_its_source(tmp_path: Path) -> None:
    """CVE-2024-39897: who knows a digest of a secret repository must not get its blob by it."""

    async def story(g: Guarded) -> None:
        alice, robot = g.user("alice"), g.user("ci-1")
        digest = await alice.blob("secret", b"the plans")
        uploads = "/v2/team/x/blobs/uploads/"
        for query in (f"mount={digest}&from=secret", f"mount={digest}"):
            refused = await robot("POST", f"{uploads}?{query}")
            assert refused.status == 202
            assert (await robot("DELETE", refused.place)).status == 204
            assert (await robot("GET", f"/v2/team/x/blobs/{digest}")).status == 404
        narrow = await g.token(alice, "repository:team/x:pull,push")
        assert (await narrow("POST", f"{uploads}?mount={digest}&from=secret")).status == 202
        manifest = image(b"the plans", [])
        stolen = await robot.manifest("team/x", "v1", manifest)
        assert stolen.code == "MANIFEST_BLOB_UNKNOWN"
        assert (await alice("POST", f"{uploads}?mount={digest}&from=secret")).status == 201
        assert (await robot("GET", f"/v2/team/x/blobs/{digest}")).body == b"the plans"

    guarded(tmp_path, story)


def test_strangers_are_told_where_to_log_in(tmp_path: Path) -> None:
    async def story(g: Guarded) -> None:
        asked = await g.anybody("GET", "/v2/")
        assert (asked.status, asked.code) == (401, "UNAUTHORIZED")
        challenge = asked.headers["WWW-Authenticate"]
        assert challenge.startswith(f'Bearer realm="{g.anybody.base}/token",service="')
        asked = await g.anybody("POST", "/v2/team/app/blobs/uploads/")
        assert 'scope="repository:team/app:pull,push"' in asked.headers["WWW-Authenticate"]
        asked = await g.anybody("GET", "/v2/", Host='x",realm="http://evil')
        assert "evil" not in asked.headers["WWW-Authenticate"]
        assert (await g.user("alice")("GET", "/v2/")).status == 200
        for headers in (basic("alice", "wrong"), basic("nobody", "x"), {"Authorization": "Basic !"},
                        {"Authorization": "Digest x"}, basic("alice", "wonder\0x")):  # fmt: skip
            refused = await Client(g.lab.http, g.anybody.base, headers)("GET", "/v2/")
            assert (refused.status, refused.code) == (401, "UNAUTHORIZED")

    guarded(tmp_path, story)


def test_tokens(tmp_path: Path) -> None:
    async def story(g: Guarded) -> None:
        alice = g.user("alice")
        await alice.image("team/app", "v1", b"layer")
        reader = await g.token(alice, "repository:team/app:pull")
        assert (await reader("GET", "/v2/")).status == 200
        assert (await reader("GET", "/v2/team/app/manifests/v1")).status == 200
        refused = await reader("POST", "/v2/team/app/blobs/uploads/")
        assert refused.status == 401
        assert "insufficient_scope" in refused.headers["WWW-Authenticate"]
        assert (await reader("GET", "/v2/pub/tags/list")).status == 401
        # asking for more than one has gives no more
        wide = await g.token(g.user("bob"), "repository:team/app:pull,push,delete,*")
        assert (await wide("GET", "/v2/team/app/tags/list")).status == 200
        assert (await wide("DELETE", "/v2/team/app/manifests/v1")).status == 403
        assert (await wide("POST", "/v2/team/app/blobs/uploads/")).status == 403
        nobody = await g.token(g.anybody, "repository:team/app:pull repository:pub:pull,push")
        assert (await nobody("GET", "/v2/team/app/tags/list")).status == 401
        assert (await nobody("GET", "/v2/pub/tags/list")).code == "NAME_UNKNOWN"
        both = await g.token(alice, "repository:a:pull", "repository:b:push", "junk", "x:y:z")
        assert (await both("POST", "/v2/b/blobs/uploads/?digest=" + digest_of(b""))).status == 201
        form = {"grant_type": "password", "username": "alice", "password": "wonder",
                "scope": "repository:team/app:pull", "client_id": "test"}  # fmt: skip
        made = await g.anybody("POST", "/token", form)
        assert (made.status, made.json["expires_in"]) == (200, 300)
        assert made.headers["Cache-Control"] == "no-store"
        for change in ({"password": "x"}, {"grant_type": "refresh_token"}):
            assert (await g.anybody("POST", "/token", {**form, **change})).status == 401
        assert (await g.anybody("GET", "/token?service=another")).status == 400

    guarded(tmp_path, story)


def _segment(node: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(node).encode()).rstrip(b"=").decode()


def test_forged_tokens_do_not_count(tmp_path: Path) -> None:
    async def story(g: Guarded) -> None:
        made = (await g.user("alice")("GET", "/token?scope=repository:a:pull")).json["token"]
        header, claims, signature = made.split(".")
        padded = claims + "=" * (-len(claims) % 4)
        said = json.loads(base64.urlsafe_b64decode(padded))
        service = said["aud"]
        wider = _segment({**said, "access": [
            {"type": "repository", "name": "secret", "actions": ["pull"]}]})  # fmt: skip
        foreign = Tokens().make(Grant(user="alice"), service)
        others = {
            "none": f"{_segment({'typ': 'JWT', 'alg': 'none'})}.{claims}.",
            "key in the header": ".".join(
                [_segment({"alg": "HS256", "jwk": {"kty": "oct", "k": ""}}), claims, signature]
            ),
            "wider": f"{header}.{wider}.{signature}",
            "foreign key": foreign,
            "cut": made[:-2],
            "empty": "",
            "junk": "a.b.c",
            "huge": "x" * 7000,
        }
        for name, forged in others.items():
            bearer = {"Authorization": f"Bearer {forged}"}
            refused = await Client(g.lab.http, g.anybody.base, bearer)("GET", "/v2/")
            assert (refused.status, refused.code) == (401, "UNAUTHORIZED"), name
            assert "invalid_token" in refused.headers["WWW-Authenticate"], name

    guarded(tmp_path, story)


def test_tokens_end() -> None:
    now = [1000.0]
    tokens = Tokens(key=b"k" * 32, clock=lambda: now[0])
    text = tokens.make(Grant(user="a", rights={"x": frozenset({Right.PULL})}), "here")
    assert tokens.read(text, "here").rights == {"x": frozenset({Right.PULL})}
    with pytest.raises(Forbidden):
        tokens.read(text, "elsewhere")
    for moment in (1301.0, 900.0):
        now[0] = moment
        with pytest.raises(Forbidden):
            tokens.read(text, "here")


def test_uploads_belong_to_who_began_them(tmp_path: Path) -> None:
    async def story(g: Guarded) -> None:
        alice, robot = g.user("alice"), g.user("ci-1")
        place = (await alice("POST", "/v2/team/a/blobs/uploads/")).place
        for verb in ("GET", "PATCH", "PUT", "DELETE"):
            path = f"{place}?digest={digest_of(b'x')}"
            assert (await robot(verb, path, b"x")).code == "BLOB_UPLOAD_UNKNOWN"
            moved = path.replace("team/a", "team/b")
            assert (await alice(verb, moved, b"x")).code == "BLOB_UPLOAD_UNKNOWN"
        assert (await alice("PATCH", place, b"x")).status == 202

    guarded(tmp_path, story)


def test_credentials_are_nowhere_to_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def story(g: Guarded) -> None:
        secret = "hunter2-very-secret"
        wrong = Client(g.lab.http, g.anybody.base, basic("alice", secret))
        for path in ("/v2/", "/token", "/v2/A/tags/list", "/nowhere"):
            answer = await wrong("GET", path)
            seen.append(f"{answer.headers}{answer.body!r}")
        form = {"grant_type": "password", "username": "alice", "password": secret}
        seen.append(repr((await g.anybody("POST", "/token", form)).body))
        seen.append(repr(await g.lab.parts.listeners.status()))
        listener = Listener(host="127.0.0.1", port=1, htpasswd=HTPASSWD, key=secret)
        seen.append(repr(listener))
        seen.append(caplog.text)

    guarded(tmp_path, story)
    encoded = base64.b64encode(b"alice:hunter2").decode()[:12]
    assert not [text for text in seen if "hunter2" in text or encoded in text or "$2b$" in text]


def test_htpasswd_files(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    check = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        checked.append(password)
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)

    async def story() -> None:
        accounts = Accounts(HTPASSWD)
        assert accounts.names == ("alice", "bob", "ci-1")
        assert all([await accounts.right("alice", "wonder") for _ in range(10)])
        assert checked == [b"wonder"]  # remembered
        assert not await accounts.right("alice", "builds")
        assert not await accounts.right("nobody", "builds")
        assert checked == [b"wonder", b"builds", b"builds"]  # time tells nobody who there is
        assert not await Accounts("").right("alice", "wonder")

    asyncio.run(story())
    plain = "alice:{SHA}x\n"
    for text in (plain, "alice:$2y$20$" + "a" * 53, "a:b:c", HTPASSWD + line("bob", "x"), "x" * 99):
        with pytest.raises(Invalid) as caught:
            Accounts(text)
        assert "line" in caught.value.message
        assert "$2" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x", "policy"), ("[rule]", "list"), ("[[rule]]", "users"), ("other = 1", "other"),
        ('[[rule]]\nusers=["a"]\nrepositories=["b"]\nrights=["fly"]', "fly"),
        ('[[rule]]\nusers=["a"]\nrepositories=["b"]\nrights=[]', "rights"),
        ('[[rule]]\nusers=["a"]\nrepositories=["b"]\nrights=["pull"]\nx=1', "'x'"),
    ],
)  # fmt: skip
def test_policies_that_are_refused(text: str, word: str) -> None:
    with pytest.raises(Invalid, match="policy") as caught:
        parse(text)
    assert word in caught.value.message


@pytest.mark.parametrize(
    ("user", "repository", "wanted"),
    [
        ("bob", "team/app", "pull"), ("bob", "team/app/x", ""), ("bob", "teams", ""),
        ("bobby", "team/app", ""), ("ci-7", "team/a/b/c", "pull create"), ("ci-", "team/a", ""),
        ("", "pub", "pull"), ("", "team/app", ""), ("alice", "x", "pull push create delete"),
    ],
)  # fmt: skip
def test_patterns(user: str, repository: str, wanted: str) -> None:
    policy = POLICY.replace('"ci-*"', '"ci-[1-9]", "ci-7"')  # brackets are meant literally
    access = Access.of(Listener(host="::1", port=1, policy=policy, anonymous="none"))
    assert {right.value for right in access.rights(user, repository)} == set(wanted.split())
