"""Which addresses a registry may send us to. A registry is a stranger: it may lie in every URL.

The rules are those of the attacks they stop: no downgrade from https, nothing that only this
machine or its cloud's metadata service answers, nothing but http.
"""

from __future__ import annotations

import ipaddress

from yarl import URL

from wirt.errors import Upstream
from wirt.image.remote.endpoint import is_loopback


def follow(source: URL, location: str) -> URL:
    """Where a redirect or a Location of ``source`` leads. Raises Upstream for where none may."""
    try:
        target = source.join(URL(location, encoded=True))
    except ValueError:
        raise _refused(source, "to something that is no address") from None
    check(target, source)
    return target


def check(target: URL, source: URL) -> None:
    """Raise Upstream unless ``source`` may send us to ``target``."""
    if target.scheme not in {"http", "https"} or not target.host:
        raise _refused(source, f"to a {target.scheme[:20] or 'nameless'} address")
    if target.user is not None or target.password is not None:
        raise _refused(source, "to an address with credentials in it")
    if source.scheme == "https" and target.scheme == "http":
        raise _refused(source, f"from https to plain http at {target.host[:100]}")
    if not is_public_enough(target.host):
        raise _refused(source, f"to the reserved address {target.host[:100]}")
    if is_loopback(target.host) and not is_loopback(source.host or ""):
        raise _refused(source, f"to this very machine ({target.host[:100]})")


def is_public_enough(host: str) -> bool:
    """False for numeric addresses that no registry has: link-local (where clouds put their
    metadata), multicast, unspecified. Names are checked when they are resolved."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    inner = getattr(address, "ipv4_mapped", None) or address
    return not (inner.is_link_local or inner.is_multicast or inner.is_unspecified)


def same_origin(one: URL, other: URL) -> bool:
    """Whether credentials for one may go to the other: same scheme, host and port."""
    return one.origin() == other.origin()


def may_see_credentials(realm: URL, registry: URL, allowed: tuple[str, ...]) -> bool:
    """Whether a token server may be given the credentials of a registry.

    It is the registry's own host, a domain above it (whose owner rules the registry's name
    anyway), or was named by the administrator.
    """
    if registry.scheme == "https" and realm.scheme != "https":
        return False
    own, other = registry.host or "", realm.host or ""
    above = "." in other and own.endswith(f".{other}") and not other.replace(".", "").isdigit()
    return own == other or above or other in allowed or f"{other}:{realm.port}" in allowed


def _refused(source: URL, why: str) -> Upstream:
    return Upstream(
        f"the registry {source.host} sends us {why}, which is refused",
        hint="ask its administrator; a proxy before it may be set up wrongly",
        code="registry.redirect",
    )
