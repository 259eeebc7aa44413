"""Pulling as ``pull``, ``run`` and ``create`` do it: credentials along, progress shown."""

from __future__ import annotations

from wirt.cli.progress import Progress
from wirt.cli.upload import lines
from wirt.client.fastjson import encode
from wirt.model.image import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wirt.client.daemon import Daemon


def credentials(registry: str) -> dict[str, str] | None:
    """What the user has for a registry. Raises Invalid when docker's file is broken."""
    from wirt.cli.docker_config import DockerConfig

    return DockerConfig().credentials(registry)


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
    domain = Reference.parse(reference).domain
    body = with_credentials(domain, {"reference": reference, **wish})
    progress = Progress(quiet=quiet)
    try:
        for line in ask(daemon, "/v1/images/pull", body):
            if "layer" in line:
                progress.take(line)
            elif "pulling" in line:
                progress.note(f"{line['reference']}: Pulling from {line['pulling']}")
            elif "status" in line:
                progress.note(str(line["status"]))
            elif "image" in line:
                progress.settle()
                yield line
    finally:
        progress.settle()


def status(line: dict[str, Any]) -> str:
    """Docker's last word about a pull."""
    what = "Downloaded newer image for" if line["fresh"] else "Image is up to date for"
    return f"Status: {what} {line['image']}"
