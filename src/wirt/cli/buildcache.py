"""``--cache-to`` and ``--cache-from``: the build cache in a folder.

It is one archive that is replaced whole, so a folder never grows beyond what the last build was
made of.
"""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import warn, write
from wirt.cli.upload import parts
from wirt.client.daemon import unreachable
from wirt.client.fastjson import encode
from wirt.client.wire import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wirt.client.daemon import Daemon

NAME = "wirt-build-cache.tar"
_FLAGS = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC


def _folder(text: str, flag: str, key: str) -> str:
    """The folder of ``DIR`` or ``type=local,src=DIR``. Raises Invalid."""
    if "=" not in text:
        return text
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    folder = fields.get(key, "")
    if fields.get("type", "local") != "local" or not folder or set(fields) - {"type", key, "mode"}:
        raise misuse(f"invalid --{flag} {text!r}", hint=f"write type=local,{key}=DIR")
    return folder


def take(daemon: Daemon, text: str) -> None:
    """Import from a folder; one that has nothing yet is no error."""
    path = f"{_folder(text, 'cache-from', 'src')}/{NAME}"
    if not _is_there(path):
        warn(f"there is no build cache in {path}")
        return
    daemon.upload("POST", "/v1/build/cache", parts(path), kind="application/x-tar").read()


def _is_there(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def put(daemon: Daemon, text: str, result: dict[str, Any]) -> None:
    """Export what a build was made of into a folder; the archive before it stays until the new
    one is whole."""
    folder = _folder(text, "cache-to", "dest")
    wish = {"keys": result.get("keys", []), "mounts": result.get("mounts", [])}
    answer = daemon.request(
        "POST", "/v1/build/cache/export", body=encode(wish), kind="application/json"
    )
    half = f"{folder}/{NAME}.half"
    try:
        if not _is_there(folder):
            posix.mkdir(folder)
        fd = posix.open(half, _FLAGS, 0o666)
        try:
            for chunk in answer.chunks():
                write(fd, chunk)
        finally:
            posix.close(fd)
        posix.rename(half, f"{folder}/{NAME}")
    except Lost as error:
        raise unreachable(daemon.path, error) from error
    except OSError as error:
        raise misuse(
            f"cannot write the build cache to {folder}: {error.strerror}",
            hint="may you write there?",
        ) from error
