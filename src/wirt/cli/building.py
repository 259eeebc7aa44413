"""What ``wirt build`` does: gather the wish, send the context, show what happens, take the result.

Imported by the verb alone; what only some builds need is imported when they do.
"""

from __future__ import annotations

import posix

from wirt.cli.buildtar import BLOCK, pack
from wirt.cli.flags import Call, misuse
from wirt.cli.output import harmless, out
from wirt.client.fastjson import decode, encode
from wirt.client.wire import Lost, problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wirt.client.daemon import Daemon
    from wirt.errors import WirtError
    from wirt.model.ignore import Ignore

MEDIA = "application/vnd.wirt.build"
MAX_TEXT = 16 * 1024 * 1024
_GATHER = 256 * 1024


def build(call: Call) -> int:
    """Build, and return the exit code. Raises what the daemon says, or Invalid."""
    from wirt.cli.buildwish import Place, gather

    if call.on("debug-shell"):
        from wirt.cli.stepshell import check_terminal

        check_terminal()
    place = Place(call)
    wish = gather(call, place)
    quiet = call.on("quiet") or call.text("progress") in {"quiet", "rawjson"}
    targets = []
    if call.many("cache-from") or call.many("cache-to"):
        from wirt.cli import buildcache

        targets = [buildcache.Place(text, "cache-to") for text in call.many("cache-to")]
        sources = [buildcache.Place(text, "cache-from") for text in call.many("cache-from")]
        wish["cache_from"] = [one.name for one in sources if one.kind == "registry"]
        for source in sources:
            if source.kind == "local":
                buildcache.take(call.daemon, source)
    if call.many("ssh"):
        from wirt.cli.buildssh import agents, known_hosts, serve

        found = agents(call.many("ssh"))
        wish["known_hosts"] = known_hosts()
        wish["ssh"], wish["ssh_token"] = list(found), posix.urandom(16).hex()
        serve(call.daemon, str(wish["ssh_token"]), found)
    wish["credentials_token"] = posix.urandom(16).hex()
    result = _once(call, place, wish)
    for target in targets:
        buildcache.put(call.daemon, target, result, quiet=quiet)
    return _tell(call, result)


def _answer(daemon: Daemon, token: str, registry: str) -> None:
    """Give the build what the user has for a registry that wants to know who asks."""
    from wirt.cli.pulling import with_credentials
    from wirt.client.daemon import Daemon

    body = with_credentials(registry, {"registry": registry})
    beside = Daemon(daemon.path)
    try:
        beside.call("POST", f"/v1/build/credentials/{token}", body)
    except Exception as error:
        if getattr(error, "code", "") != "build.no-question":  # it has waited for too long
            raise
    finally:
        beside.close()


def _once(call: Call, place: Any, wish: dict[str, Any]) -> dict[str, Any]:
    """Build once; what was made."""
    from wirt.cli.buildview import view_for

    parts = _gathered(_body(encode(wish), place))
    answer = call.daemon.upload("POST", "/v1/build", parts, kind=MEDIA)
    view = view_for("quiet" if call.on("quiet") else call.text("progress") or "auto")
    result: dict[str, Any] = {}
    chunks = answer.chunks()
    rest = b""
    failure: WirtError | None = None
    with view:
        try:
            for line, behind in _lines(chunks):
                one = decode(line)
                if "problem" in one:
                    failure = problem(0, encode(one["problem"]))
                    break
                if "bytes" in one:
                    rest = behind
                    break
                if "credentials" in one:
                    _answer(call.daemon, wish["credentials_token"], str(one["credentials"]))
                elif "image" in one or "check" in one:
                    result = one
                else:
                    view.show(line, one)
        except (OSError, Lost, ValueError) as error:
            from wirt.client.daemon import unreachable

            raise unreachable(call.daemon.path, error) from error
    if failure is not None:
        if failure.facts.get("step"):
            from wirt.cli.stepshell import look_into

            look_into(call.daemon, str(failure.facts["step"]), failure.message)
        raise failure
    place.output.take(rest, chunks, call.daemon.path)
    return result


def _tell(call: Call, result: dict[str, Any]) -> int:
    if "check" in result:
        out(harmless(str(result["check"])))
        return 1 if result.get("warnings") else 0
    if path := call.text("iidfile"):
        _write(path, str(result.get("image", "")).encode())
    if path := call.text("metadata-file"):
        said = {
            "containerimage.config.digest": result.get("image", ""),
            "containerimage.digest": result.get("manifest", ""),
            "image.name": ",".join(result.get("names", ())),
        }
        _write(path, encode(said) + b"\n")
    if call.on("quiet") and result.get("image"):
        out(f"{result['image']}\n")
    return 0


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - pathlib costs a third of the start
            file.write(data)
    except OSError as error:
        raise misuse(f"cannot write {path}: {error.strerror}", hint="may you write it?") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Lines as they come, each with what of its chunk is behind it."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while (end := rest.find(b"\n")) >= 0:
            line, rest = rest[:end], rest[end + 1 :]
            if line:
                yield line, rest


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a system call."""
    kept: list[bytes] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size >= _GATHER:
            yield b"".join(kept)
            kept, size = [], 0
    if kept:
        yield b"".join(kept)


def _body(head: bytes, place: Any) -> Iterator[bytes]:
    yield len(head).to_bytes(4, "big") + head
    if place.stream is not None:
        yield from place.stream
        return
    if place.directory and place.wanted:
        yield from pack(place.directory, ignore_of(place))
    for prefix, directory in place.further if place.wanted else ():
        yield from pack(directory, _ignore(f"{directory}/.dockerignore"), prefix=f"{prefix}/")
    yield bytes(2 * BLOCK)


def ignore_of(place: Any) -> Ignore | None:
    """The rules of the context."""
    text, path = ignore_text(place)
    return _parsed(text, path)


def ignore_text(place: Any) -> tuple[str | None, str]:
    """The rules beside the Dockerfile, else those of the context; and where they stand."""
    if place.dockerfile_path:
        path = f"{place.dockerfile_path}.dockerignore"
        found = _text(path)
        if found is not None:
            return found, path
    path = f"{place.directory}/.dockerignore"
    return (_text(path) if place.directory else None), path


def _text(path: str) -> str | None:
    data = read_file(path, missing_ok=True)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def _ignore(path: str) -> Ignore | None:
    return _parsed(_text(path), path)


def _parsed(text: str | None, path: str) -> Ignore | None:
    if text is None:
        return None
    from wirt.model.ignore import Ignore

    return Ignore.parse(text, path)


def read_file(path: str, *, missing_ok: bool = False) -> bytes | None:
    """A small file's bytes; None when it is missing and may be. Raises Invalid."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError as error:
        if missing_ok:
            return None
        raise misuse(f"there is no {path}", hint="is the path right?") from error
    except OSError as error:
        raise misuse(f"cannot read {path}: {error.strerror}", hint="may you read it?") from error
    try:
        return read_all(fd, path)
    finally:
        posix.close(fd)


def read_all(fd: int, name: str) -> bytes:
    """Everything from a descriptor, at most 16 MiB. Raises Invalid."""
    data = b""
    try:
        while more := posix.read(fd, _GATHER):
            data += more
            if len(data) > MAX_TEXT:
                raise misuse(f"{name} has more than {MAX_TEXT} bytes", hint="is it the right file?")
    except OSError as error:
        raise misuse(f"cannot read {name}: {error.strerror}", hint="is it a file?") from error
    return data
