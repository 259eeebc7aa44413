"""Creating a guest: what ``run`` and ``create`` share."""

from __future__ import annotations

import posix
import select
import time

from wirt.cli.flags import Call, misuse
from wirt.cli.output import warn
from wirt.cli.spec import guest_spec
from wirt.cli.stream import Streams
from wirt.client.wire import quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wirt.client.daemon import Daemon

_PATIENCE = 10.0
"""Seconds that :func:`abandon` waits for a daemon that is away."""
_STEP = 0.1


def create(call: Call, *, attached: bool) -> str:
    """Create the guest, show the daemon's warnings, and return its id."""
    spec = guest_spec(call)
    if spec.get("stdin_open") and attached:
        spec["stdin_once"] = True
    check_text(spec)
    cidfile = _open_cidfile(call.text("cidfile"))
    try:
        told = _make(call, spec)
    except BaseException:
        if cidfile is not None:
            posix.close(cidfile)
            posix.unlink(call.text("cidfile"))
        raise
    guest = str(told["id"])
    if cidfile is not None:
        posix.write(cidfile, guest.encode())
        posix.close(cidfile)
    for warning in told.get("warnings") or ():
        warn(str(warning))
    return guest


def _make(call: Call, spec: dict[str, Any]) -> Any:
    """Have the guest made, its image pulled when ``--pull`` says so or it is not here."""
    where = target("/v1/guests", [("name", call.text("name") or None)])
    when, image = call.text("pull"), str(spec["image"])
    how: dict[str, Any] = {"quiet": call.on("quiet"), "platform": str(spec.get("platform", ""))}
    if when == "always":
        from wirt.cli.pulling import pull_for

        pull_for(call.daemon, image, **how)
    try:
        return call.daemon.call("POST", where, spec)
    except Exception as error:
        missing = getattr(error, "code", "") in {"image.not-found", "image.other-platform"}
        if not missing or when in {"never", "always"}:
            raise
        from wirt.cli.pulling import pull_missing

        pull_missing(call.daemon, image, error=error, **how)
        return call.daemon.call("POST", where, spec)


def abandon(daemon: Daemon, guest: str, error: Exception) -> None:
    """Remove a guest that was to vanish at its end, when the daemon went away before the end could
    be seen: whoever ran it was told that it failed, so nothing of it may stay or go on."""
    from wirt.errors import Unavailable, WirtError

    if not isinstance(error, Unavailable):
        return
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            daemon.call("DELETE", f"/v1/guests/{quote(guest)}?force=1&volumes=1")
        except Unavailable:
            select.select([], [], [], _STEP)
        except WirtError:
            return  # it is gone, or going
        else:
            return


def check_text(value: object) -> None:
    """JSON has no bytes: an argument that is no UTF-8 cannot be sent. Raises Invalid."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise misuse(
                    f"{value.encode('utf-8', 'surrogateescape')!r} is not UTF-8 text",
                    hint="arguments, variables and labels are UTF-8",
                ) from None
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key)
            check_text(inner)
    elif isinstance(value, list):
        for inner in value:
            check_text(inner)


def _open_cidfile(path: str) -> int | None:
    if not path:
        return None
    try:
        return posix.open(
            path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644
        )
    except FileExistsError:
        raise misuse(
            f"the file {path} for --cidfile exists already", hint="remove it or name another one"
        ) from None
    except OSError as error:
        raise misuse(f"cannot make {path} for --cidfile: {error.strerror}") from error


def run_streams(call: Call) -> Streams:
    """The streams that ``run`` joins, checked against each other."""
    names = [text.lower() for text in call.many("attach")]
    for name in names:
        if name not in {"stdin", "stdout", "stderr"}:
            raise misuse(
                f"invalid value {name!r} for -a, --attach", hint="write stdin, stdout or stderr"
            )
    detached = call.on("detach")
    if detached and names:
        raise misuse("-d and -a exclude each other", hint="leave one of them out")
    streams = Streams(
        tty=call.on("tty"),
        stdin=call.on("interactive") and (not names or "stdin" in names),
        stdout=not names or "stdout" in names,
        stderr=not names or "stderr" in names,
        keys=call.text("detach-keys"),
    )
    if not detached:
        streams.check()
    return streams
