"""A token server for registries, as a program: ``tokenserver.py PORT FOLDER``.

Reads ``key.pem`` and ``cert.der`` in the folder. One user may do everything; anybody may pull what
begins with ``public/``. Tokens are signed by openssl; each answer is noted in ``FOLDER/asked``.
"""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD, REFRESH = "wirt", "s3cret-word", "refresh-of-wirt"
ISSUER, SERVICE = "test-issuer", "test-registry"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(folder: Path, user: str, scopes: list[str]) -> str:
    """A signed token for what the user may do of what was asked for."""
    access = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        may = [
            a for a in actions.split(",") if user or (a == "pull" and name.startswith("public/"))
        ]
        access.append({"type": kind, "name": name, "actions": may})
    now = int(time.time())
    chain = base64.b64encode((folder / "cert.der").read_bytes()).decode()
    head = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
    body = {
        "iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": uuid.uuid4().hex, "access": access,
    }  # fmt: skip
    signed = ".".join(_encode(json.dumps(part).encode()) for part in (head, body))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(folder / "key.pem")],
        input=signed.encode(), stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    return f"{signed}.{_encode(signature)}"


class Tokens(http.server.BaseHTTPRequestHandler):
    folder: Path

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        given = self.headers.get("Authorization", "")
        user = ""
        if given:
            if base64.b64decode(given.removeprefix("Basic ")).decode() != f"{USER}:{PASSWORD}":
                self._answer(401, {"details": "incorrect username or password"})
                return
            user = USER
        self._grant(user, asked.get("scope", []), offline="offline_token" in asked)

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(size).decode()).items()}
        good = {
            "refresh_token": form.get("refresh_token") == REFRESH,
            "password": (form.get("username"), form.get("password")) == (USER, PASSWORD),
        }
        if not good.get(form.get("grant_type", ""), False):
            self._answer(401, {"error": "invalid_grant"})
            return
        self._grant(USER, [form.get("scope", "")], offline=False)

    def _grant(self, user: str, scopes: list[str], *, offline: bool) -> None:
        made: dict[str, object] = {"token": token(self.folder, user, scopes), "expires_in": 300}
        if offline and user:
            made["refresh_token"] = REFRESH
        self._answer(200, made)

    def _answer(self, status: int, value: dict[str, object]) -> None:
        with (self.folder / "asked").open("a") as file:
            file.write(f"{self.command} {status}\n")
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    Tokens.folder = Path(sys.argv[2])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Tokens).serve_forever()
