"""From the flags of ``wirt build`` to the head of its request, and to where files come from."""

from __future__ import annotations

import binascii
import posix

from wirt.cli.building import ignore_text, read_all, read_file
from wirt.cli.buildoutput import Output, output_of
from wirt.cli.flags import Call, misuse, platform_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_URLS = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
_PART = 1 << 20


class Place:
    """Where the context and the Dockerfile are, and where the result goes."""

    def __init__(self, call: Call) -> None:
        (context,) = call.args
        self.output: Output = output_of(call.text("output"))
        self.directory = ""
        self.url = ""
        self.stream: Iterator[bytes] | None = None
        self.dockerfile: str | None = None
        self.dockerfile_path = ""
        self.name = "Dockerfile"
        self.further: list[tuple[str, str]] = []
        self.contexts: list[dict[str, str]] = []
        self._file = call.text("file")
        self.wanted = not call.on("check")
        """Whether the daemon needs the context's files."""
        if context == "-":
            self._standard_input()
        elif context.startswith(_URLS):
            self.url = context
        else:
            self._directory(context)
        self._contexts(call.many("build-context"))
        self._read_dockerfile()

    def _directory(self, path: str) -> None:
        try:
            mode = posix.stat(path).st_mode
        except OSError as error:
            raise misuse(
                f"cannot use {path} as the build context: {error.strerror}",
                hint="give a directory, a URL, or - for standard input",
            ) from error
        if mode & 0o170000 != 0o040000:
            raise misuse(f"{path} is no directory", hint="name the Dockerfile with -f")
        self.directory = path.rstrip("/") or "/"

    def _standard_input(self) -> None:
        """An archive is the context; anything else is a Dockerfile without one."""
        if self._file == "-":
            raise misuse("the context and the Dockerfile cannot both be standard input")
        if posix.isatty(0):
            raise misuse(
                "standard input is a terminal", hint="redirect an archive or a Dockerfile to it"
            )
        first = _read_some(512)
        if first.startswith(_MAGIC) or first[257:262] == b"ustar":
            self.stream = _following(first)
        else:
            self.dockerfile = _text(first + read_all(0, "standard input"), "standard input")

    def _read_dockerfile(self) -> None:
        """The client reads the Dockerfile, unless it is inside of what the daemon gets."""
        if self.dockerfile is not None:
            return
        if self._file == "-":
            self.dockerfile = _text(read_all(0, "standard input"), "standard input")
        elif self.stream is not None or self.url:
            self.name = self._file or "Dockerfile"
        else:
            path = self._file or f"{self.directory}/Dockerfile"
            data = read_file(path)
            assert data is not None
            self.dockerfile, self.dockerfile_path = _text(data, path), path
            self.name = self._file or "Dockerfile"

    def _contexts(self, texts: list[str]) -> None:
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or not name or not value:
                raise misuse(f"invalid --build-context {text!r}", hint="write NAME=PLACE")
            if value.startswith("docker-image://"):
                image = value.removeprefix("docker-image://")
                self.contexts.append({"name": name, "image": image})
            elif value.startswith(_URLS):
                self.contexts.append({"name": name, "url": value})
            elif self.stream is not None:
                raise misuse(
                    f"the context {name!r} cannot go with one from standard input",
                    hint="unpack it first, and name its directory",
                )
            else:
                prefix = f".wirt-context-{len(self.further)}"
                self.contexts.append({"name": name, "prefix": prefix})
                self.further.append((prefix, value.rstrip("/") or "/"))


def gather(call: Call, place: Place) -> dict[str, Any]:
    """The head of the request; what was not typed is left out."""
    said: dict[str, Any] = {
        "dockerfile": place.dockerfile,
        "dockerfile_name": place.name,
        "context_url": place.url,
        "contexts": place.contexts,
        "tags": call.many("tag"),
        "target": call.text("target"),
        "args": _args(call.many("build-arg")),
        "labels": _pairs(call.many("label"), "label"),
        "secrets": _secrets(call.many("secret")),
        "platform": platform_of(call),
        "no_cache": ["*"] if call.on("no-cache") else call.many("no-cache-filter"),
        "pull": call.on("pull"),
        "network": call.text("network") or "default",
        "extra_hosts": [_host(text) for text in call.many("add-host")],
        "shm_size": call.number("shm-size"),
        "ulimits": _ulimits(call.many("ulimit")),
        "isolation": call.text("as") or "container",
        "output": {"kind": place.output.kind},
        "check": call.on("check"),
        "ignore": _ignore(place),
        "explain": call.on("explain"),
        "verify": call.on("verify"),
        "keep_failed": call.on("debug-shell"),
    }
    return {name: value for name, value in said.items() if value not in (None, "", [], {}, False)}


def _ignore(place: Place) -> str:
    """The rules of the context, as far as they are text that JSON can carry."""
    text, _ = ignore_text(place)
    return (text or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _args(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise misuse(f"invalid --build-arg {text!r}", hint="write NAME=VALUE")
        if not equals:
            raw = posix.environ.get(name.encode("utf-8", "surrogateescape"))
            if raw is None:
                continue
            value = raw.decode("utf-8", "replace")
        found[name] = value
    if "SOURCE_DATE_EPOCH" not in found and (raw := posix.environ.get(b"SOURCE_DATE_EPOCH")):
        found["SOURCE_DATE_EPOCH"] = raw.decode("utf-8", "replace")
    return found


def _ulimits(texts: list[str]) -> dict[str, list[int]]:
    if not texts:
        return {}
    from wirt.cli.spec import ulimits

    return ulimits(texts)


def _pairs(texts: list[str], flag: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name:
            raise misuse(f"invalid --{flag} {text!r}", hint="write NAME=VALUE")
        found[name] = value
    return found


def _host(text: str) -> str:
    name, sign, address = text.partition("=") if "=" in text else text.partition(":")
    if not sign or not name or not address:
        raise misuse(f"invalid --add-host {text!r}", hint="write NAME:IP")
    return f"{name}:{address.strip('[]')}"


def _secrets(texts: list[str]) -> dict[str, str]:
    """``id=ID[,src=FILE|,env=NAME]`` by id, base64; by default the variable or file ``ID``."""
    found = {}
    for text in texts:
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        name = fields.get("id", "")
        known = {"id", "src", "source", "env", "type"}
        if not name or not set(fields) <= known or fields.get("type") not in {None, "file", "env"}:
            raise misuse(f"invalid --secret for {name!r}", hint="write id=ID,src=FILE or env=NAME")
        source = fields.get("src") or fields.get("source", "")
        variable = fields.get("env", "")
        if fields.get("type") == "env" and source:
            source, variable = "", source
        data = _secret(name, source, variable)
        found[name] = binascii.b2a_base64(data, newline=False).decode("ascii")
    return found


def _secret(name: str, source: str, variable: str) -> bytes:
    environ = posix.environ
    if variable:
        value = environ.get(variable.encode())
        if value is None:
            raise misuse(f"the variable {variable} of the secret {name!r} is not set")
        return value
    if not source and (value := environ.get(name.encode())) is not None:
        return value
    data = read_file(source or name)
    assert data is not None
    return data


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise misuse(f"{name} is not UTF-8", hint="is it a Dockerfile?") from error


def _read_some(count: int) -> bytes:
    data = b""
    while len(data) < count and (more := posix.read(0, count - len(data))):
        data += more
    return data


def _following(first: bytes) -> Iterator[bytes]:
    yield first
    while data := posix.read(0, _PART):
        yield data
