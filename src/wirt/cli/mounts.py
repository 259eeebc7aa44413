"""``-v``, ``--mount`` and ``--tmpfs`` as :class:`wirt.model.volume.Mount` JSON."""

from __future__ import annotations

from wirt.cli.flags import misuse
from wirt.cli.output import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
VOLUME_HINT = "write [SOURCE:]TARGET[:OPTIONS], as data:/var/lib/data:ro"
MOUNT_HINT = "write type=volume|bind|tmpfs,source=...,target=...[,readonly]"
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


def volume(text: str) -> dict[str, Any]:
    """One ``-v [SOURCE:]TARGET[:OPTIONS]``. A source that starts with ``/`` or ``.`` is a bind."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise misuse(f"invalid volume {text!r} for -v", hint=VOLUME_HINT)
    if len(parts) == 1:
        return {"kind": "volume", "target": _target(text, text, "-v")}
    source, target, *options = parts
    mount: dict[str, Any] = {"kind": "volume", "source": source}
    if source[0] in "/.~":
        mount = {"kind": "bind", "source": host_path(source), "create_source": True}
    elif not set(source) <= _NAME or not source[0].isalnum() or len(source) > 128:
        raise misuse(
            f"invalid volume name {source!r} in -v {text}",
            hint="a name has letters, digits, '_', '.', '-'; write a host path absolute or with ./",
        )
    mount["target"] = _target(target, text, "-v")
    for option in options[0].split(",") if options else ():
        _volume_option(mount, option, text)
    return mount


def _volume_option(mount: dict[str, Any], option: str, text: str) -> None:
    if option == "ro":
        mount["read_only"] = True
    elif option == "rw":
        mount["read_only"] = False
    elif option == "nocopy" and mount["kind"] == "volume":
        mount["nocopy"] = True
    elif option in PROPAGATION and mount["kind"] == "bind":
        mount["propagation"] = option
    elif option in {"z", "Z", "cached", "delegated", "consistent"}:
        warn(f"the option {option!r} of -v {text} has no meaning here")
    else:
        raise misuse(
            f"invalid option {option!r} in -v {text}",
            hint="options are ro, rw, for a volume nocopy, for a host path rslave, rshared...",
        )


def host_path(text: str) -> str:
    """An absolute host path without ``.`` and ``..``, relative to the current directory."""
    import os.path

    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 - pathlib is 8 ms


def _target(path: str, text: str, flag: str) -> str:
    if not path.startswith("/"):
        raise misuse(
            f"invalid target {path!r} in {flag} {text}",
            hint="the path inside the guest must be absolute",
        )
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or ".." in parts:
        raise misuse(
            f"invalid target {path!r} in {flag} {text}",
            hint="the target is a path below '/' without '..'",
        )
    return "/" + "/".join(parts)


def tmpfs(text: str) -> dict[str, Any]:
    """One ``--tmpfs TARGET[:OPTIONS]``; ``size``, ``mode``, ``ro`` are understood, others pass."""
    target, _, options = text.partition(":")
    mount: dict[str, Any] = {"kind": "tmpfs", "target": _target(target, text, "--tmpfs")}
    others = []
    for option in options.split(",") if options else ():
        name, _, value = option.partition("=")
        if name == "size":
            mount["size"] = _size(value, f"--tmpfs {text}")
        elif name == "mode":
            mount["mode"] = _mode(value, f"--tmpfs {text}")
        elif option == "ro":
            mount["read_only"] = True
        elif option and option != "rw":
            others.append(option)
    if others:
        mount["options"] = others
    return mount


def _size(text: str, where: str) -> int:
    from wirt.errors import Invalid
    from wirt.model.units import parse_size

    try:
        return parse_size(text)
    except Invalid as error:
        raise misuse(f"{error.message} in {where}", hint=error.hint) from error


def _mode(text: str, where: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777 or not text.isdigit():
        raise misuse(f"invalid mode {text!r} in {where}", hint="write octal digits, as 1777")
    return mode


def fields(text: str, flag: str) -> list[tuple[str, str]]:
    """``key=value`` pairs separated by commas; a field may stand in double quotes (RFC 4180)."""
    found: list[str] = []
    rest = text
    while True:
        if rest.startswith('"'):
            body = ""
            position = 1
            while True:
                end = rest.find('"', position)
                if end < 0:
                    raise misuse(f"missing quote in {flag} {text}", hint=MOUNT_HINT)
                body += rest[position:end]
                if rest[end + 1 : end + 2] != '"':
                    break
                body += '"'
                position = end + 2
            rest = rest[end + 1 :]
            if rest[:1] not in {"", ","}:
                raise misuse(f"text behind a quote in {flag} {text}", hint=MOUNT_HINT)
            field, comma, rest = body, rest[:1], rest[1:]
        else:
            field, comma, rest = rest.partition(",")
        found.append(field)
        if not comma:
            break
    pairs = []
    for field in found:
        key, _, value = field.partition("=")
        pairs.append((key.strip().lower(), value))
    return pairs


def mount(text: str) -> dict[str, Any]:
    """One ``--mount type=...,source=...,target=...`` with docker's keys."""
    made: dict[str, Any] = {"kind": "volume"}
    pairs = fields(text, "--mount")
    for key, value in pairs:
        read = _KEYS.get(key)
        if read is None:
            raise misuse(f"unknown key {key!r} in --mount {text}", hint=MOUNT_HINT)
        read(made, value, text)
    if "target" not in made:
        raise misuse(f"--mount {text} has no target", hint=MOUNT_HINT)
    _check_mount(made, {key for key, _ in pairs}, text)
    return made


def _check_mount(made: dict[str, Any], keys: set[str], text: str) -> None:
    kind = made["kind"]
    source = made.get("source", "")
    if kind == "bind":
        if not source:
            raise misuse(f"--mount {text} has no source", hint=MOUNT_HINT)
        made["source"] = host_path(source) if source[0] in "/.~" else source
        if not made["source"].startswith("/"):
            raise misuse(
                f"invalid source {source!r} in --mount {text}",
                hint="the source of a bind is a host path: absolute, or with ./",
            )
    if kind == "tmpfs" and source:
        raise misuse(f"a tmpfs has no source: --mount {text}", hint=MOUNT_HINT)
    if kind == "volume" and "/" in source:
        raise misuse(
            f"invalid volume name {source!r} in --mount {text}",
            hint="for a host path write type=bind",
        )
    for prefix in ("volume", "bind", "tmpfs"):
        wrong = [key for key in keys if key.startswith(f"{prefix}-") and kind != prefix]
        if wrong:
            raise misuse(f"{wrong[0]} is for type={prefix}: --mount {text}", hint=MOUNT_HINT)


def _kind(made: dict[str, Any], value: str, text: str) -> None:
    if value not in {"volume", "bind", "tmpfs"}:
        raise misuse(f"unknown type {value!r} in --mount {text}", hint=MOUNT_HINT)
    made["kind"] = value


def _flag(name: str) -> Callable[[dict[str, Any], str, str], None]:
    def read(made: dict[str, Any], value: str, text: str) -> None:
        if value not in {"", "true", "1", "false", "0"}:
            raise misuse(f"invalid value {value!r} in --mount {text}", hint="write true or false")
        made[name] = value in {"", "true", "1"}

    return read


def _set_propagation(made: dict[str, Any], value: str, text: str) -> None:
    if value not in PROPAGATION:
        raise misuse(
            f"invalid propagation {value!r} in --mount {text}",
            hint=f"write one of: {', '.join(sorted(PROPAGATION))}",
        )
    made["propagation"] = value


def _set_source(made: dict[str, Any], value: str, text: str) -> None:
    made["source"] = value


def _set_target(made: dict[str, Any], value: str, text: str) -> None:
    made["target"] = _target(value, text, "--mount")


def _set_size(made: dict[str, Any], value: str, text: str) -> None:
    made["size"] = _size(value, f"--mount {text}")


def _set_mode(made: dict[str, Any], value: str, text: str) -> None:
    made["mode"] = _mode(value, f"--mount {text}")


def _set_driver(made: dict[str, Any], value: str, text: str) -> None:
    if value not in {"", "local"}:
        raise misuse(f"unknown volume driver {value!r} in --mount {text}", hint="it is 'local'")


def _no_meaning(made: dict[str, Any], value: str, text: str) -> None:
    warn(f"the consistency of --mount {text} has no meaning here")


_KEYS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "type": _kind,
    "source": _set_source,
    "src": _set_source,
    "target": _set_target,
    "dst": _set_target,
    "destination": _set_target,
    "readonly": _flag("read_only"),
    "ro": _flag("read_only"),
    "volume-nocopy": _flag("nocopy"),
    "volume-driver": _set_driver,
    "bind-create-src": _flag("create_source"),
    "bind-propagation": _set_propagation,
    "tmpfs-size": _set_size,
    "tmpfs-mode": _set_mode,
    "consistency": _no_meaning,
}


def all_mounts(
    volumes: Sequence[str], mounts: Sequence[str], tmpfses: Sequence[str]
) -> list[dict[str, Any]]:
    """The mounts of a guest, in order per flag. Raises Invalid for a target named twice."""
    made = [volume(text) for text in volumes]
    made += [mount(text) for text in mounts]
    made += [tmpfs(text) for text in tmpfses]
    seen: set[str] = set()
    for one in made:
        if one["target"] in seen:
            raise misuse(
                f"two mounts have the target {one['target']}", hint="each target can be used once"
            )
        seen.add(one["target"])
    return made
