"""``wirt registry ...``: serve this host's store as a registry."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag, Group, misuse
from wirt.cli.output import out
from wirt.cli.view import human
from wirt.cli.view.table import FORMAT, QUIET, show
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_LISTEN = "127.0.0.1:5000"
LISTENERS = "/v1/registry/listeners"
REPOSITORIES = "/v1/registry/repositories"

_FILES = {
    "tls-cert": "certificate",
    "tls-key": "key",
    "htpasswd": "htpasswd",
    "policy": "policy",
}
"""Flags that name a file to the field that holds its content."""


def serve(call: Call) -> int:
    """Serve the registry and print its address."""
    host, port = address(call.text("listen") or DEFAULT_LISTEN)
    body: dict[str, Any] = {"host": host, "port": port}
    for flag, name in _FILES.items():
        if call.text(flag):
            body[name] = _content(call.text(flag), flag)
    if call.text("anonymous"):
        body["anonymous"] = call.text("anonymous")
    if call.on("insecure"):
        body["insecure"] = True
    out(f"{call.daemon.call('POST', LISTENERS, body)['address']}\n")
    return 0


def address(text: str) -> tuple[str, int]:
    """``IP:PORT`` or ``[IPv6]:PORT``; ``localhost`` is 127.0.0.1. Raises Invalid."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5:
        raise misuse(
            f"invalid value {text!r} for --listen", hint="write IP:PORT, as 127.0.0.1:5000"
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def _content(path: str, flag: str) -> str:
    """A file of the caller's, which the daemon may not be allowed to read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 8 ms
            return file.read().decode("utf-8")
    except OSError as error:
        raise misuse(
            f"cannot read {path}: {error.strerror}", hint=f"--{flag} names a file"
        ) from error
    except UnicodeDecodeError as error:
        raise misuse(f"{path} is no text", hint=f"--{flag} names a text file") from error


def stop(call: Call) -> int:
    """Serve the registry there no more."""
    given = call.args or [one["address"] for one in call.daemon.call("GET", LISTENERS)]
    for one in given:
        host, port = address(one)
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        call.daemon.call("DELETE", f"{LISTENERS}/{quote(shown)}")
        out(f"{shown}\n")
    return 0


def status(call: Call) -> int:
    """Show where the registry listens."""
    rows = [
        {
            "Address": one["address"],
            "TLS": "yes" if one["tls"] else "no",
            "Anonymous": one["anonymous"],
            "Users": str(len(one["users"])),
            "Policy": "yes" if one["policy"] else "no",
            "Status": one["problem"] or "open",
        }
        for one in call.daemon.call("GET", LISTENERS)
    ]
    show(call, rows, columns=[(name.upper(), name) for name in _STATUS], identity="Address")
    return 0


_STATUS = ("Address", "TLS", "Anonymous", "Users", "Policy", "Status")


def ls(call: Call) -> int:
    """List repositories, or the tags of some."""
    found = call.daemon.call("GET", REPOSITORIES)
    rows = [
        {
            "Repository": one["name"],
            "Tags": ",".join(one["tags"]),
            "Manifests": str(one["manifests"]),
            "Blobs": str(one["blobs"]),
            "Size": human.decimal_size(one["size"]),
        }
        for one in found
        if not call.args or one["name"] in call.args
    ]
    columns = [(name.upper(), name) for name in ("Repository", "Tags", "Manifests", "Size")]
    show(call, rows, columns=columns, identity="Repository")
    return 0


def rm(call: Call) -> int:
    """Remove repositories, tags or manifests."""
    return each(call, lambda name: call.daemon.call("DELETE", _where(name)))


def _where(text: str) -> str:
    """``NAME``, ``NAME:TAG`` or ``NAME@DIGEST`` as the path of a removal."""
    name, at, reference = text.partition("@")
    if not at:
        name, _, reference = text.partition(":")
    query = f"?reference={quote(reference)}" if reference else ""
    return f"{REPOSITORIES}/{quote(name)}{query}"


def collect(call: Call) -> int:
    """Delete what no repository has any more."""
    seconds = (call.number("grace") or 0) // 10**9
    query = f"?grace={seconds}" if call.given("grace") else ""
    done = call.daemon.call("POST", f"/v1/registry/gc{query}")
    out(f"{done['removed']} blobs deleted, {done['expired']} uploads without a manifest expired\n")
    return 0


COMMAND = Group(
    "registry",
    summary="Serve images to others",
    verbs={
        "gc": Command(
            "registry gc",
            summary="Delete blobs that no repository and no image needs",
            flags=(
                Flag(
                    "grace",
                    kind="duration",
                    value="DURATION",
                    help="Keep blobs that no manifest names for so long (24h)",
                ),
            ),
            run=collect,
        ),
        "ls": Command(
            "registry ls",
            summary="List repositories",
            arguments="[REPOSITORY...]",
            takes=(0, None),
            flags=(FORMAT, QUIET),
            run=ls,
        ),
        "rm": Command(
            "registry rm",
            summary="Remove repositories, tags or manifests",
            arguments="REPOSITORY[:TAG|@DIGEST] [REPOSITORY[:TAG|@DIGEST]...]",
            takes=(1, None),
            run=rm,
        ),
        "serve": Command(
            "registry serve",
            summary="Answer as a registry, also after a restart",
            flags=(
                Flag(
                    "anonymous",
                    choices=("pull", "none", "all"),
                    value="RIGHTS",
                    help="What needs no login: pull, none or all (pull)",
                ),
                Flag("htpasswd", value="FILE", help="Users, as 'htpasswd -B' writes them"),
                Flag("insecure", kind="bool", help="Beyond loopback without TLS"),
                Flag("listen", value="IP:PORT", help=f"Where ({DEFAULT_LISTEN})"),
                Flag("policy", value="FILE", help="Rules of who may do what, in TOML"),
                Flag("tls-cert", value="FILE", help="Certificate with its chain, in PEM"),
                Flag("tls-key", value="FILE", help="Its key, in PEM"),
            ),
            run=serve,
        ),
        "status": Command(
            "registry status",
            summary="Show where the registry listens",
            flags=(FORMAT, QUIET),
            run=status,
        ),
        "stop": Command(
            "registry stop",
            summary="Answer no more, there or everywhere",
            arguments="[IP:PORT...]",
            takes=(0, None),
            run=stop,
        ),
    },
)
