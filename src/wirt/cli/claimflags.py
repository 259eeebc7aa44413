"""The flags that say what a guest, or a group, may have of the host; and docker's for the same."""

from __future__ import annotations

from wirt.cli.flags import Flag

SHARES = "Weight from 1 to 10000, 1000 is normal, as 0"

OF_ALL = (
    Flag(
        "cpu-reservation",
        kind="portion",
        value="N",
        help="CPUs that are guaranteed, as 0.5; 0 for none",
    ),
    Flag(
        "cpu-shares", "c", kind="int", value="N", help="Relative CPU weight, 1024 is normal, as 0"
    ),
    Flag(
        "io-limit", kind="size", value="RATE", help="Most bytes a second of disks, as 10m; 0: any"
    ),
    Flag(
        "io-reservation",
        kind="size",
        value="RATE",
        help="Bytes a second that are guaranteed; 0 for none",
    ),
    Flag("io-shares", kind="int", value="N", help=f"{SHARES}: disks"),
    Flag(
        "memory-reservation",
        kind="size",
        value="SIZE",
        help="Memory that is guaranteed, as 256m; 0 for none",
    ),
    Flag("memory-shares", kind="int", value="N", help=f"{SHARES}: memory"),
    Flag(
        "net-limit", kind="rate", value="RATE", help="Most bits a second each way, from 8k; 0: any"
    ),
    Flag(
        "net-reservation",
        kind="rate",
        value="RATE",
        help="Bits a second that are guaranteed; 0 for none",
    ),
    Flag("net-shares", kind="int", value="N", help=f"{SHARES}: network"),
)
"""What guests and groups have in common."""

OF_GUESTS = (
    *OF_ALL,
    Flag(
        "blkio-weight", kind="int", value="N", help="As --io-shares, on docker's scale: 10 to 1000"
    ),
    Flag(
        "blkio-weight-device",
        kind="list",
        value="DEVICE:N",
        help="Refused: weights are for all disks, see --io-shares",
    ),
    Flag(
        "class",
        choices=("interactive", "normal", "batch"),
        value="CLASS",
        help="interactive, normal (default) or batch: who waits when time is short",
    ),
    Flag("cpu-period", kind="int", value="MICROSECONDS", help="What --cpu-quota is counted in"),
    Flag("cpu-quota", kind="int", value="MICROSECONDS", help="As --cpus, times --cpu-period"),
    Flag(
        "device-read-bps",
        kind="list",
        value="DEVICE:RATE",
        help="As --io-limit, together with the same --device-write-bps",
    ),
    Flag(
        "device-read-iops", kind="list", value="DEVICE:N", help="Refused: bytes count, not requests"
    ),
    Flag(
        "device-write-bps",
        kind="list",
        value="DEVICE:RATE",
        help="As --io-limit, together with the same --device-read-bps",
    ),
    Flag(
        "device-write-iops",
        kind="list",
        value="DEVICE:N",
        help="Refused: bytes count, not requests",
    ),
    Flag("group", value="PATH", help="Group that it belongs to, as tenant/department"),
    Flag(
        "idle",
        choices=("never", "minimal", "pause"),
        value="ACTION",
        help="When it has nothing to do: never (do anything), minimal or pause",
    ),
    Flag("idle-after", kind="duration", value="TIME", help="How long it must be idle, as 10m"),
    Flag(
        "oom-rank",
        kind="int",
        value="N",
        help="0 (stopped first) to 1000, when the host runs out of memory; 500 is normal",
    ),
    Flag(
        "wake-at",
        kind="list",
        value="WHEN",
        help="When it is woken if it is paused for being idle, as 'Mon-Fri 07:45'; or never",
    ),
    Flag(
        "wake-every",
        kind="duration",
        value="TIME",
        help="Longest time that it is paused for being idle, as 1h; 0: any",
    ),
)

OF_GROUPS = (
    *OF_ALL,
    Flag("cpus", kind="portion", value="N", help="Most CPUs of all its guests, as 1.5; 0: any"),
    Flag("expandable", kind="bool", help="Its guests may be promised what its parent has left"),
    Flag(
        "memory",
        "m",
        kind="size",
        value="SIZE",
        help="Most memory of all its guests, as 2g; 0: any",
    ),
)
