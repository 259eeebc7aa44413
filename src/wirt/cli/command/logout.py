"""``wirt logout``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.output import out


def run(call: Call) -> int:
    """Forget a registry's credentials."""
    from wirt.cli.docker_config import HUB, DockerConfig, registry_name

    registry = registry_name(call.args[0] if call.args else HUB)
    if DockerConfig().erase(registry):
        out(f"Removing login credentials for {registry}\n")
    else:
        out(f"Not logged in to {registry}\n")
    return 0


COMMAND = Command(
    "logout",
    summary="Forget the credentials of a registry",
    arguments="[REGISTRY]",
    takes=(0, 1),
    run=run,
)
