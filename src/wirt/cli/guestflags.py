"""The flags that describe a guest: shared by ``run`` and ``create``, in docker's words."""

from __future__ import annotations

from wirt.cli.claimflags import OF_GUESTS
from wirt.cli.flags import Flag

_FLAGS = (
    *OF_GUESTS,
    Flag(
        "add-host",
        kind="list",
        value="NAME:IP",
        help="Add a line to the guest's /etc/hosts; the address may be host-gateway",
    ),
    Flag("annotation", kind="list", value="KEY=VALUE", help="Add an annotation for the runtime"),
    Flag(
        "as",
        choices=("container", "microvm", "vm"),
        value="KIND",
        help="The dial: container (default), microvm or vm",
    ),
    Flag("attach", "a", kind="list", value="STREAM", help="Attach to stdin, stdout or stderr only"),
    Flag("cap-add", kind="list", value="CAP", help="Add a Linux capability, or ALL"),
    Flag("cap-drop", kind="list", value="CAP", help="Drop a Linux capability, or ALL"),
    Flag("cidfile", value="FILE", help="Write the guest's id to this new file"),
    Flag("cpus", kind="portion", value="N", help="Number of CPUs, as 1.5; 0: any"),
    Flag("cpuset-cpus", value="LIST", help="CPUs that may be used, as 0-2,4"),
    Flag("disk-size", kind="size", value="SIZE", help="Size of a machine's writable layer"),
    Flag("dns", kind="list", value="IP", help="Use this name server"),
    Flag("entrypoint", value="PROGRAM", help="Replace the image's entrypoint; empty clears it"),
    Flag(
        "env",
        "e",
        kind="list",
        value="NAME[=VALUE]",
        help="Set an environment variable; without a value it is taken from here",
    ),
    Flag("env-file", kind="list", value="FILE", help="Read environment variables from a file"),
    Flag("health-cmd", value="LINE", help="Shell line that tells whether the guest is well"),
    Flag("health-interval", kind="duration", value="TIME", help="Time between two checks, as 30s"),
    Flag("health-retries", kind="int", value="N", help="Failures in a row until it is unhealthy"),
    Flag(
        "health-start-interval",
        kind="duration",
        value="TIME",
        help="Time between two checks in the start period",
    ),
    Flag(
        "health-start-period",
        kind="duration",
        value="TIME",
        help="Time to start in which failures do not count",
    ),
    Flag("health-timeout", kind="duration", value="TIME", help="Longest time of one check"),
    Flag("hostname", "h", value="NAME", help="Host name inside the guest"),
    Flag("init", kind="bool", help="Run an init inside that forwards signals and reaps processes"),
    Flag("interactive", "i", kind="bool", help="Keep standard input open"),
    Flag("ip", value="IP", help="Fixed IPv4 address on the network"),
    Flag("label", "l", kind="list", value="KEY[=VALUE]", help="Set a label"),
    Flag("label-file", kind="list", value="FILE", help="Read labels from a file"),
    Flag("log-opt", kind="list", value="KEY=VALUE", help="Log options: max-size=SIZE, max-file=N"),
    Flag("mac-address", value="MAC", help="Fixed MAC address on the network"),
    Flag(
        "memory",
        "m",
        kind="size",
        value="SIZE",
        help="Memory limit, as 512m, 0: none; the size of a machine, 0: the usual",
    ),
    Flag(
        "memory-swap",
        kind="swap",
        value="SIZE",
        help="Memory plus swap; -1 is unlimited, 0: twice the memory",
    ),
    Flag(
        "mount",
        kind="list",
        value="OPTIONS",
        help="Mount a volume, a host path or a tmpfs: type=...,source=...,target=...",
    ),
    Flag("name", value="NAME", help="Name of the guest"),
    Flag("network", kind="list", value="NETWORK", help="Join a network; or none, host, guest:NAME"),
    Flag(
        "network-alias", kind="list", value="NAME", help="Further name of the guest on its network"
    ),
    Flag("no-healthcheck", kind="bool", help="Do not run the image's health check"),
    Flag("pids-limit", kind="int", value="N", help="Number of tasks; -1 or 0 is unlimited"),
    Flag("platform", value="OS/ARCH", help="Platform that the image must be for"),
    Flag(
        "publish",
        "p",
        kind="list",
        value="PORTS",
        help="Publish ports: [[ADDRESS:]PORT:]PORT[/tcp|udp], ranges as 8000-8010",
    ),
    Flag("publish-all", "P", kind="bool", help="Publish all exposed ports to free ones"),
    Flag(
        "pull",
        choices=("missing", "never", "always"),
        value="WHEN",
        help="Pull the image first: missing (default), always or never",
    ),
    Flag("quiet", "q", kind="bool", help="Do not show the progress of a pull"),
    Flag("read-only", kind="bool", help="Make the guest's root file system read-only"),
    Flag("restart", value="POLICY", help="no, always, unless-stopped or on-failure[:N]"),
    Flag("rm", kind="bool", help="Remove the guest and its anonymous volumes when it ends"),
    Flag(
        "security-opt",
        kind="list",
        value="OPTION",
        help="no-new-privileges, seccomp=unconfined or seccomp=FILE",
    ),
    Flag("shm-size", kind="size", value="SIZE", help="Size of /dev/shm"),
    Flag("stop-signal", value="SIGNAL", help="Signal that asks the guest to stop"),
    Flag(
        "stop-timeout", kind="int", value="SECONDS", help="Seconds from the stop signal to the kill"
    ),
    Flag("sysctl", kind="list", value="NAME=VALUE", help="Set a kernel parameter inside the guest"),
    Flag("tmpfs", kind="list", value="PATH[:OPTIONS]", help="Mount a tmpfs"),
    Flag("tty", "t", kind="bool", help="Give the guest a terminal"),
    Flag(
        "ulimit",
        kind="list",
        value="NAME=SOFT[:HARD]",
        help="Set a resource limit, as nofile=1024:2048",
    ),
    Flag("user", "u", value="USER[:GROUP]", help="User and group, names or numbers"),
    Flag(
        "userns",
        choices=("", "host", "private"),
        value="MODE",
        help="User namespace: host (default) or private",
    ),
    Flag(
        "volume",
        "v",
        kind="list",
        value="[SOURCE:]PATH[:OPTIONS]",
        help="Mount a volume or a host path",
    ),
    Flag("workdir", "w", value="PATH", help="Working directory inside the guest"),
)
GUEST_FLAGS = tuple(sorted(_FLAGS, key=lambda flag: flag.name))

DETACH = Flag("detach", "d", kind="bool", help="Run in the background and print the id")
DETACH_KEYS = Flag(
    "detach-keys", value="KEYS", help="Keys that leave the guest running, as ctrl-p,ctrl-q"
)
SIG_PROXY = Flag(
    "sig-proxy",
    kind="bool",
    help="Pass signals on to the guest (default true; --sig-proxy=false)",
)
