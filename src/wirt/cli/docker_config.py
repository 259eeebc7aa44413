"""Docker's file of credentials (``~/.docker/config.json``) and its credential helpers.

What wirt does not know in the file is kept. A file that cannot be understood is an error: going on
without credentials would send requests as somebody else.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path

from wirt.cli.flags import misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wirt.errors import Invalid

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - how helpers mark an identity token
_SECONDS = 60.0


def config_path() -> Path:
    """``$DOCKER_CONFIG/config.json``, else the one in the home directory."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def keys(registry: str) -> tuple[str, ...]:
    """The names that the file may have for a registry, the usual one first."""
    if registry in {HUB, "index.docker.io", "registry-1.docker.io"}:
        return HUB_KEY, HUB, "index.docker.io"
    return registry, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/"


def registry_name(text: str) -> str:
    """A registry as the daemon names it, from what people type (also an address)."""
    name = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if name in {"index.docker.io", "registry-1.docker.io", "docker.io", ""} else name


class DockerConfig:
    """The file at ``path``, read when made. Raises Invalid when it is broken."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_path()
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            found = {}
        except (OSError, ValueError) as error:
            raise _broken(self.path, str(error)) from error
        if not isinstance(found, dict):
            raise _broken(self.path, "it is no JSON object")
        self._data: dict[str, Any] = found

    def credentials(self, registry: str) -> dict[str, str] | None:
        """What a request to the daemon carries for a registry; None without any. Raises Invalid."""
        names = keys(registry)
        helper = self._helper(registry)
        if helper:
            return self._ask_helper(helper, names[0])
        auths = self._table("auths")
        for name in names:
            if name in auths:
                return self._entry(name, auths[name])
        return None

    def store(self, registry: str, credentials: dict[str, str]) -> str:
        """Keep credentials, in the helper if one is set, else in the file; the helper's name."""
        name = keys(registry)[0]
        token = credentials.get("identity_token", "")
        helper = self._helper(registry)
        if helper:
            told = {
                "ServerURL": name,
                "Username": _TOKEN_USER if token else credentials["username"],
                "Secret": token or credentials["password"],
            }
            self._run(helper, "store", json.dumps(told).encode())
            return helper
        user = f"{credentials['username']}:{'' if token else credentials['password']}"
        entry = {"auth": base64.b64encode(user.encode()).decode()}
        if token:
            entry["identitytoken"] = token
        self._data["auths"] = {**self._table("auths"), name: entry}
        self._write()
        return ""

    def erase(self, registry: str) -> bool:
        """Forget a registry's credentials; whether there were any."""
        helper = self._helper(registry)
        names = keys(registry)
        there = False
        if helper:
            there = self._ask_helper(helper, names[0]) is not None
            self._run(helper, "erase", names[0].encode())
        auths = self._table("auths")
        left = {name: entry for name, entry in auths.items() if name not in names}
        if len(left) != len(auths):
            self._data["auths"] = left
            self._write()
            there = True
        return there

    def _table(self, key: str) -> dict[str, Any]:
        found = self._data.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise _broken(self.path, f"{key!r} is no object")
        return found

    def _helper(self, registry: str) -> str:
        helpers = self._table("credHelpers")
        for name in keys(registry):
            if helpers.get(name):
                return str(helpers[name])
        return str(self._data.get("credsStore") or "")

    def _entry(self, name: str, entry: Any) -> dict[str, str] | None:
        if not isinstance(entry, dict):
            raise _broken(self.path, f"the entry of {name} is no object")
        made = {
            "username": str(entry.get("username") or ""),
            "password": str(entry.get("password") or ""),
            "identity_token": str(entry.get("identitytoken") or ""),
            "registry_token": str(entry.get("registrytoken") or ""),
        }
        if entry.get("auth"):
            try:
                text = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise _broken(self.path, f"'auth' of {name} is no base64") from error
            user, colon, password = text.partition(":")
            if not colon:
                raise _broken(self.path, f"'auth' of {name} is not USER:PASSWORD")
            made |= {"username": user, "password": password.strip("\0")}
        return made if any(made.values()) else None

    def _ask_helper(self, helper: str, server: str) -> dict[str, str] | None:
        answer = self._run(helper, "get", server.encode())
        if answer is None:
            return None
        try:
            told = json.loads(answer)
            user, secret = str(told["Username"]), str(told["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise misuse(
                f"the credential helper {helper} gave no credentials for {server}",
                hint=f"try: echo {server} | docker-credential-{helper} get",
            ) from error
        if user == _TOKEN_USER:
            return {"identity_token": secret}
        return {"username": user, "password": secret}

    def _run(self, helper: str, verb: str, data: bytes) -> bytes | None:
        """Run a credential helper; None when it has nothing. Its secrets are in no message."""
        import shutil

        from wirt.linux import spawn

        program = shutil.which(f"docker-credential-{helper}") if helper.isprintable() else None
        if program is None or "/" in helper:
            raise misuse(
                f"the credential helper docker-credential-{helper[:80]} is not installed",
                hint=f"install it, or take it out of {self.path}",
            )
        done = spawn.run_sync(
            [program, verb], stdin=data + b"\n", timeout=_SECONDS, env=dict(os.environ), ok=None
        )
        if done.code == 0:
            return done.stdout
        told = (done.stdout or done.stderr)[:200].decode(errors="replace").strip()
        if verb != "store" and "not found" in told:
            return None
        raise misuse(
            f"the credential helper {helper} failed to {verb}: {told or 'no message'}",
            hint=f"see what docker-credential-{helper} says by itself",
        )

    def _write(self) -> None:
        """Replace the file whole, readable for its owner only."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(self._data, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path.resolve())
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _broken(path: Path, why: str) -> Invalid:
    return misuse(f"cannot understand {path}: {why}", hint="mend it, or move it away and log in")
