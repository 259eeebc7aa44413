"""``--cache-to`` and ``--cache-from``: the build cache in a folder or at a registry.

In a folder it is one archive that is replaced whole, so a folder never grows beyond what the last
build was made of. At a registry it is an artifact under a tag.
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
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_FIXED = {"compression": "gzip", "oci-mediatypes": "true", "image-manifest": "true"}
"""What is so in any case, and may be said."""


class Place:
    """``type=TYPE,KEY=VALUE,...``, or the short forms DIR and REFERENCE.

    ``name``: the folder, or the reference. ``all``: also what only other stages are made of, and
    cache mounts. ``lenient``: a failed export is only told.
    """

    def __init__(self, text: str, flag: str) -> None:
        self._text, self._flag = text, flag
        self._folder_key = "dest" if flag == "cache-to" else "src"
        fields = self._fields()
        self.kind = fields.pop("type", "local")
        if self.kind == "inline":
            raise self._wrong("images have no cache in them: write type=registry,ref=REFERENCE")
        key = {"local": self._folder_key, "registry": "ref"}.get(self.kind)
        if key is None:
            raise self._wrong("there are type=local and type=registry")
        self.name = fields.pop(key, "")
        mode = fields.pop("mode", "max" if self.kind == "local" else "min")
        ignore = fields.pop("ignore-error", "false")
        for name, value in _FIXED.items():
            if fields.pop(name, value) != value:
                raise self._wrong(f"{name} is always {value} here")
        if not self.name or fields or mode not in {"min", "max"} or ignore not in _TRUTH:
            raise self._wrong(f"write type=local,{self._folder_key}=DIR or type=registry,ref=NAME")
        self.all = mode == "max"
        self.lenient = _TRUTH[ignore]

    def _fields(self) -> dict[str, str]:
        """What starts like a path is a folder; any other lone word is a reference."""
        if "=" in self._text:
            return dict(part.partition("=")[::2] for part in self._text.split(","))
        if self._text.startswith(("/", "./", "../")) or self._text in {".", ".."}:
            return {"type": "local", self._folder_key: self._text}
        return {"type": "registry", "ref": self._text}

    def _wrong(self, hint: str) -> Exception:
        return misuse(f"invalid --{self._flag} {self._text!r}", hint=hint)


def take(daemon: Daemon, place: Place) -> None:
    """Import from a folder; one that has nothing yet is no error."""
    path = f"{place.name}/{NAME}"
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


def put(daemon: Daemon, place: Place, result: dict[str, Any], *, quiet: bool) -> None:
    """Export what a build was made of."""
    wish = {
        "keys": result.get("keys" if place.all else "target_keys", []),
        "mounts": result.get("mounts", []) if place.all else [],
    }
    try:
        if place.kind == "registry":
            _push(daemon, place.name, wish, quiet=quiet)
        else:
            _write(daemon, place.name, wish)
    except Exception as error:
        if not place.lenient:
            raise
        warn(f"the build cache was not exported: {error}")


def _push(daemon: Daemon, reference: str, wish: dict[str, Any], *, quiet: bool) -> None:
    from wirt.cli.pulling import ask, registry_of, shown, with_credentials

    body = with_credentials(registry_of(reference), {"reference": reference, **wish})
    for _ in shown(ask(daemon, "/v1/build/cache/push", body), quiet=quiet):
        pass


def _write(daemon: Daemon, folder: str, wish: dict[str, Any]) -> None:
    """Replace the archive in a folder; the one before it stays until the new one is whole."""
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
