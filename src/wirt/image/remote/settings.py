"""What an administrator says about registries: the table ``registries`` of the daemon's file.

::

    [registries."docker.io"]
    mirrors = ["mirror.example:5000", "cache.example/hub"]

    [registries."registry.example:5000"]
    ca = "/etc/ssl/example-ca.pem"
    cert = "/etc/wirt/client.pem"
    key = "/etc/wirt/client.key"
    insecure = false
    realms = ["login.example"]
    foreign = false
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wirt.errors import Invalid
from wirt.model.image import Reference

DOCKER_CERTIFICATES = Path("/etc/docker/certs.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Another registry that has the same repositories, below ``prefix`` (empty or ``hub``)."""

    host: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Mirror:
        """``HOST[:PORT][/PREFIX]``. Raises Invalid."""
        host, _, prefix = text.partition("/")
        try:
            Reference.parse(f"{host}/{prefix or 'x'}")
        except Invalid:
            host = ""
        if not host or not ("." in host or ":" in host or host == "localhost"):
            raise Invalid(
                f"invalid mirror {text[:200]!r}",
                hint="write HOST[:PORT][/PREFIX]; TLS is set in the table of that host",
                code="config.invalid",
            )
        return cls(host=host, prefix=prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe. ``insecure``: plain http, or TLS without a check. ``ca``, ``cert``, ``key``:
    files, PEM. Several CAs are all believed, besides the system's."""

    insecure: bool = False
    ca: tuple[Path, ...] = ()
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """One registry. ``mirrors``: asked first, for pulls only. ``realms``: further hosts that may
    be given its credentials for a token. ``foreign``: follow the ``urls`` of foreign layers."""

    mirrors: tuple[Mirror, ...] = ()
    trust: Trust = field(default_factory=Trust)
    realms: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All registries by name, as in references (``docker.io``, ``registry.example:5000``).

    ``certificates``: where docker's layout of certificates is looked for
    (``HOST[:PORT]/*.crt``, ``*.cert`` with its ``*.key``).
    """

    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    certificates: Path = DOCKER_CERTIFICATES

    def of(self, domain: str) -> RegistrySettings:
        """What is said about one registry; the defaults when nothing is."""
        return self.registries.get(domain) or RegistrySettings()


def read(table: object) -> Settings:
    """The settings of the table ``registries``. Raises Invalid naming the key that is wrong."""
    if not isinstance(table, dict):
        raise _wrong("registries", "is no table")
    return Settings(registries={name: _registry(name, said) for name, said in table.items()})


def _registry(name: str, said: object) -> RegistrySettings:
    where = f'registries."{name}"'
    if not isinstance(said, dict):
        raise _wrong(where, "is no table")
    Reference.parse(f"{name}/x")
    known = ("ca", "cert", "foreign", "insecure", "key", "mirrors", "realms")
    for key in said:
        if key not in known:
            raise _wrong(f"{where}.{key}", "is unknown", hint=f"keys are: {', '.join(known)}")
    ca = _text(said, "ca", where)
    cert, key = _text(said, "cert", where), _text(said, "key", where)
    if bool(cert) != bool(key):
        raise _wrong(where, "needs both cert and key, or neither")
    return RegistrySettings(
        mirrors=tuple(Mirror.parse(text) for text in _texts(said, "mirrors", where)),
        trust=Trust(
            insecure=_truth(said, "insecure", where),
            ca=(Path(ca),) if ca else (),
            cert=Path(cert) if cert else None,
            key=Path(key) if key else None,
        ),
        realms=_texts(said, "realms", where),
        foreign=_truth(said, "foreign", where),
    )


def _text(said: dict[str, object], key: str, where: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str):
        raise _wrong(f"{where}.{key}", "is no text")
    return value


def _texts(said: dict[str, object], key: str, where: str) -> tuple[str, ...]:
    value = said.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise _wrong(f"{where}.{key}", "is no list of texts")
    return tuple(value)


def _truth(said: dict[str, object], key: str, where: str) -> bool:
    value = said.get(key, False)
    if not isinstance(value, bool):
        raise _wrong(f"{where}.{key}", "is neither true nor false")
    return value


def _wrong(where: str, why: str, *, hint: str | None = None) -> Invalid:
    return Invalid(f"the setting {where[:200]} {why}", hint=hint, code="config.invalid")
