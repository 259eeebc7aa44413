"""What a stage's instructions make of the image's configuration.

The value is the ``config`` object of the base image with Docker's keys; fields that are unknown
here stay as they are (OCI image specification, config.md, and Docker's extensions).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wirt.image.build.dockerfile import ast
from wirt.image.document import Object

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration at one point of a stage. ``node``: Docker's ``config`` object.

    ``own_cmd``: CMD was set in this stage, so a later ENTRYPOINT does not reset it.
    """

    node: Object = field(default_factory=dict)
    author: str = ""
    own_cmd: bool = False

    @classmethod
    def base(cls, node: Mapping[str, object], *, author: str = "") -> Settings:
        """Those of a base image (or nothing), with a search path where it names none."""
        made = cls(node=dict(node), author=author)
        return made if "PATH" in made.env else made.with_env({"PATH": DEFAULT_PATH}, first=True)

    def _set(self, key: str, value: object) -> Settings:
        node = {name: old for name, old in self.node.items() if name != key}
        if value not in (None, "", [], {}, ()):
            node[key] = value
        return replace(self, node=node)

    # --- reading ----------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        """Environment variables in their order."""
        return dict(pair.partition("=")[::2] for pair in self.node.get("Env") or () if pair)

    @property
    def cwd(self) -> str:
        """The working directory, absolute."""
        return str(self.node.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        return str(self.node.get("User") or "")

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.node.get("Shell") or DEFAULT_SHELL)

    @property
    def triggers(self) -> tuple[str, ...]:
        """What ONBUILD has noted."""
        return tuple(self.node.get("OnBuild") or ())

    def path(self, text: str) -> str:
        """A path as an instruction means it: relative ones are below the working directory."""
        joined = posixpath.join(self.cwd, text)
        clean = posixpath.normpath("/" + joined.lstrip("/"))
        return clean + "/" if text.endswith(("/", "/.")) and clean != "/" else clean

    def argv(self, command: ast.Command) -> tuple[str, ...]:
        """A command as executed."""
        return (*self.shell, *command.words) if command.shell and command.words else command.words

    # --- changing ---------------------------------------------------------------------------

    def without_triggers(self) -> Settings:
        """ONBUILD counts once: grandchildren do not inherit it."""
        return self._set("OnBuild", None)

    def with_env(self, pairs: Mapping[str, str], *, first: bool = False) -> Settings:
        """Variables set; the place of one that was there stays."""
        merged = {**pairs, **self.env} if first else {**self.env, **pairs}
        return self._set("Env", [f"{name}={value}" for name, value in merged.items()])

    def change(self, instruction: ast.Instruction) -> Settings:
        """The configuration after an (expanded) instruction that only changes it."""
        match instruction:
            case ast.Env(pairs=pairs):
                return self.with_env({pair.key: pair.value for pair in pairs})
            case ast.Label(pairs=pairs):
                labels = {**(self.node.get("Labels") or {}), **{p.key: p.value for p in pairs}}
                return self._set("Labels", dict(sorted(labels.items())))
            case ast.Cmd(command=command):
                return replace(self._set("Cmd", list(self.argv(command))), own_cmd=True)
            case ast.Entrypoint(command=command):
                made = self._set("Entrypoint", list(self.argv(command)))
                return made if self.own_cmd else made._set("Cmd", None)
            case ast.Workdir(path=path):
                return self._set("WorkingDir", self.path(path).rstrip("/") or "/")
            case ast.User(user=user):
                return self._set("User", user)
            case ast.Volume(paths=paths):
                return self._set("Volumes", _added(self.node.get("Volumes"), paths))
            case ast.Expose(ports=ports):
                return self._set("ExposedPorts", _added(self.node.get("ExposedPorts"), ports))
            case _:
                return self._change_rarer(instruction)

    def _change_rarer(self, instruction: ast.Instruction) -> Settings:
        match instruction:
            case ast.Healthcheck():
                return self._set("Healthcheck", self._health(instruction))
            case ast.Shell(words=words):
                return self._set("Shell", list(words))
            case ast.Stopsignal(signal=signal):
                return self._set("StopSignal", signal)
            case ast.Onbuild(trigger=trigger):
                return self._set("OnBuild", [*self.triggers, trigger])
            case ast.Maintainer(name=name):
                return replace(self, author=name)
            case _:
                return self

    def _health(self, check: ast.Healthcheck) -> Object:
        """Docker's object: times in nanoseconds, those not written left out."""
        if check.command is None:
            return {"Test": ["NONE"]}
        kind = "CMD-SHELL" if check.command.shell else "CMD"
        said = {
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
            "Retries": check.retries,
        }
        return {
            "Test": [kind, *check.command.words],
            **{name: value for name, value in said.items() if value},
        }


def _added(before: object, more: Sequence[str]) -> Object:
    """A set in Docker's form: names mapped to empty objects, sorted."""
    names = {*(before if isinstance(before, dict) else ()), *more}
    return {name: {} for name in sorted(names)}
