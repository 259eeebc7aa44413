"""Pulling as ``pull``, ``run`` and ``create`` do it: credentials along, progress shown."""

from __future__ import annotations

import posix

from wirt.cli.output import say
from wirt.cli.progress import Progress
from wirt.cli.upload import lines
from wirt.client.fastjson import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wirt.client.daemon import Daemon


def credentials(registry: str) -> dict[str, str] | None:
    """What the user has for a registry. Raises Invalid when docker's file is broken."""
    if not has_config():
        return None
    from wirt.cli.docker_config import DockerConfig

    return DockerConfig().credentials(registry)


def has_config() -> bool:
    """Whether docker's file may be there, found out without what reading it takes."""
    folder = posix.environ.get(b"DOCKER_CONFIG")
    home = posix.environ.get(b"HOME")
    if folder is None and home is None:
        return True  # the long way knows other ways home
    try:
        posix.stat((folder or (home or b"") + b"/.docker") + b"/config.json")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def registry_of(reference: str) -> str:
    """The registry in a name, by docker's rule; the daemon judges whether it is a name at all."""
    head, slash, _ = reference.partition("/")
    named = slash and ("." in head or ":" in head or head == "localhost" or head != head.lower())
    return head if named and head != "index.docker.io" else "docker.io"


def with_credentials(registry: str, wish: dict[str, Any]) -> dict[str, Any]:
    """The body of a request that a registry must be asked for."""
    found = credentials(registry)
    return {**wish, "credentials": found} if found else wish


def ask(daemon: Daemon, where: str, wish: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the daemon tells while it does this; problems are raised."""
    answer = daemon.request("POST", where, body=encode(wish), kind="application/json")
    return lines(answer, daemon.path)


def pull(
    daemon: Daemon, reference: str, *, quiet: bool = False, **wish: Any
) -> Iterator[dict[str, Any]]:
    """Pull; yields a line for each image that is here then."""
    body = with_credentials(registry_of(reference), {"reference": reference, **wish})
    return shown(ask(daemon, "/v1/images/pull", body), quiet=quiet)


def push(
    daemon: Daemon, reference: str, *, quiet: bool = False, **wish: Any
) -> Iterator[dict[str, Any]]:
    """Push; yields a line for each name that is at its registry then."""
    body = with_credentials(registry_of(reference), {"reference": reference, **wish})
    return shown(ask(daemon, "/v1/images/push", body), quiet=quiet)


def shown(told: Iterator[dict[str, Any]], *, quiet: bool) -> Iterator[dict[str, Any]]:
    """Show what is progress; yield the rest."""
    progress = Progress(quiet=quiet)
    try:
        for line in told:
            if "layer" in line:
                progress.take(line)
            elif "pulling" in line:
                progress.note(f"{line['reference']}: Pulling from {line['pulling']}")
            elif "pushing" in line:
                progress.note(f"The push refers to repository [{line['pushing']}]")
            elif "status" in line:
                progress.note(str(line["status"]))
            else:
                progress.settle()
                yield line
    finally:
        progress.settle()


def pull_missing(
    daemon: Daemon, image: str, *, quiet: bool, platform: str, error: Exception
) -> None:
    """Pull an image that ``run`` or ``create`` did not find, or not for this platform; ``error`` is
    raised again for what no registry can have: an id."""
    if image.startswith("sha256:"):
        raise error
    if not quiet:
        from wirt.model.image import Reference

        say(f"Unable to find image '{Reference.parse(image).familiar}' locally")
    try:
        pull_for(daemon, image, quiet=quiet, platform=platform)
    except Exception as failed:
        failed.add_note(str(error))
        raise


def pull_for(daemon: Daemon, image: str, *, quiet: bool, platform: str) -> None:
    """Pull for another command, whose own output nothing may be mixed into."""
    for line in pull(daemon, image, quiet=quiet, platform=platform):
        if not quiet:
            say(f"Digest: {line['digest']}")
            say(status(line))


def status(line: dict[str, Any]) -> str:
    """Docker's last word about a pull."""
    what = "Downloaded newer image for" if line["fresh"] else "Image is up to date for"
    return f"Status: {what} {line['image']}"
