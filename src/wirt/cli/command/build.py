"""``wirt build``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag

PROGRESS = ("auto", "plain", "tty", "quiet", "rawjson")


def run(call: Call) -> int:
    """Build an image from a Dockerfile."""
    from wirt.cli.building import build

    return build(call)


COMMAND = Command(
    "build",
    summary="Build an image from a Dockerfile",
    arguments="PATH|URL|-",
    takes=(1, 1),
    flags=(
        Flag("add-host", kind="list", value="NAME:IP", help="Further line of /etc/hosts in RUN"),
        Flag(
            "as",
            value="KIND",
            help="What RUN steps run in: container or microvm",
            choices=("container", "microvm"),
        ),
        Flag(
            "build-arg", kind="list", value="NAME[=VALUE]",
            help="Value of an ARG; without one that of the environment",
        ),
        Flag(
            "build-context", kind="list", value="NAME=PLACE",
            help="Further context: a directory, or docker-image://IMAGE",
        ),
        Flag("cache-from", kind="list", value="NAME|DIR|type=TYPE,...",
             help="Take results from a registry (ref=NAME) or a folder (type=local,src=DIR)"),
        Flag("cache-to", kind="list", value="NAME|DIR|type=TYPE,...",
             help="Put results there: type=registry,ref=NAME or type=local,dest=DIR, mode=min|max"),
        Flag("check", kind="bool", help="Only look for mistakes in the Dockerfile"),
        Flag("debug-shell", kind="bool", help="Open a shell in a RUN that failed"),
        Flag("explain", kind="bool", help="Say why steps were not taken from the cache"),
        Flag("file", "f", value="FILE", help="Name of the Dockerfile, - for standard input"),
        Flag("iidfile", value="FILE", help="Write the image's id there"),
        Flag("label", kind="list", value="NAME=VALUE", help="Label of the image"),
        Flag("metadata-file", value="FILE", help="Write what was built there, as JSON"),
        Flag("network", value="MODE", help="Network of RUN: default, none or host",
             choices=("default", "none", "host")),
        Flag("no-cache", kind="bool", help="Run every step"),
        Flag("no-cache-filter", kind="list", value="STAGE", help="Run every step of these stages"),
        Flag(
            "output", "o", value="DIR|type=TYPE,dest=PATH",
            help="What to make: image, oci, docker, tar or local",
        ),
        Flag("platform", value="OS/ARCH", help="Platform to build for"),
        Flag("progress", value="FORM", help=f"Form of progress: {', '.join(PROGRESS)}",
             choices=PROGRESS),
        Flag("pull", kind="bool", help="Get base images anew"),
        Flag("quiet", "q", kind="bool", help="Print only the image's id"),
        Flag("secret", kind="list", value="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN"),
        Flag("shm-size", kind="size", help="Size of /dev/shm in RUN"),
        Flag("ssh", kind="list", value="default|NAME[=SOCKET]", help="SSH agent for RUN"),
        Flag("tag", "t", kind="list", value="NAME[:TAG]", help="Name of the image"),
        Flag("target", value="STAGE", help="Stage to build instead of the last"),
        Flag("ulimit", kind="list", value="NAME=SOFT[:HARD]", help="Limit of processes in RUN"),
        Flag("verify", kind="bool", help="Build twice without the cache and compare"),
    ),
    run=run,
)  # fmt: skip
