"""Where a registry answers: its mirrors first, then itself, each with its scheme and trust."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from pathlib import Path

from wirt.errors import Invalid
from wirt.image.remote.settings import Settings, Trust
from wirt.model.image import DEFAULT_DOMAIN

_HUB = "registry-1.docker.io"
_HUB_REALM = "auth.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One server. ``domain``: the registry as references name it. ``host``: ``name[:port]``.

    ``schemes``: tried in this order. ``prefix``: stands before each repository's name.
    ``mirror``: another registry's content, read only and without that one's credentials.
    ``realms``: hosts besides its own that may see its credentials.
    """

    domain: str
    host: str
    schemes: tuple[str, ...] = ("https",)
    trust: Trust = field(default_factory=Trust)
    prefix: str = ""
    mirror: bool = False
    realms: tuple[str, ...] = ()

    def repository(self, path: str) -> str:
        """The name that this server has for a repository."""
        return f"{self.prefix}/{path}" if self.prefix else path


def endpoints(domain: str, settings: Settings) -> tuple[Endpoint, ...]:
    """All servers to pull from, the registry itself last. Touches no file."""
    mirrors = [
        replace(_server(mirror.host, settings), domain=domain, prefix=mirror.prefix, mirror=True)
        for mirror in settings.of(domain).mirrors
    ]
    return (*mirrors, origin(domain, settings))


def origin(domain: str, settings: Settings) -> Endpoint:
    """The registry itself: the only one that is pushed to, logged in at, given credentials."""
    return _server(domain, settings)


def _server(domain: str, settings: Settings) -> Endpoint:
    said = settings.of(domain)
    hub = domain == DEFAULT_DOMAIN
    plain = said.trust.insecure or is_loopback(domain)
    return Endpoint(
        domain=domain,
        host=_HUB if hub else domain,
        schemes=("https", "http") if plain else ("https",),
        trust=said.trust,
        realms=(*said.realms, *((_HUB_REALM,) if hub else ())),
    )


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine by its very spelling; no name is looked up."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def certificates(folder: Path, trust: Trust) -> Trust:
    """``trust`` with what docker's folder of a registry adds (``certs.d/HOST:PORT``).

    Raises Invalid for a client certificate without its key, as docker does.
    """
    if not folder.is_dir():
        return trust
    found = sorted(folder.iterdir())
    ca = tuple(path for path in found if path.suffix == ".crt")
    cert, key = trust.cert, trust.key
    for path in found:
        if path.suffix != ".cert" or cert is not None:
            continue
        partner = path.with_suffix(".key")
        if not partner.exists():
            raise Invalid(
                f"the client certificate {path} has no key",
                hint=f"put its key into {partner}",
                code="config.invalid",
            )
        cert, key = path, partner
    return replace(trust, ca=(*trust.ca, *ca), cert=cert, key=key)
