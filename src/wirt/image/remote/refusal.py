"""What a registry's refusal means to the user: error documents, statuses and broken connections.

Nothing of what was sent is repeated in a message: not a header, not the query of an address.
"""

from __future__ import annotations

import json
import ssl

import aiohttp

from wirt.errors import Forbidden, Invalid, NotFound, Timeout, Unavailable, Upstream, WirtError

MAX_BODY = 64 * 1024
_MAX_TEXT = 200


def said(body: bytes) -> tuple[tuple[str, str], ...]:
    """``(code, message)`` of an error document; empty for anything else."""
    try:
        errors = json.loads(body)["errors"]
        pairs = [(str(e.get("code", "")), str(e.get("message", ""))) for e in errors[:5]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()
    return tuple((code[:60], message[:_MAX_TEXT]) for code, message in pairs)


def refusal(status: int, body: bytes, *, host: str, what: str, shown: bool = False) -> WirtError:
    """The error of an answer. ``what``: what was asked for, as the user named it. ``shown``: a name
    and a password were sent along."""
    words = said(body)
    code = words[0][0] if words else ""
    told = f" ({'; '.join(f'{c}: {m}'.strip(': ') for c, m in words)})" if words else ""
    if status == 401 and shown:
        return Forbidden(
            f"{host} does not accept the user name and password for {what}{told}",
            hint=f"log in again: wirt login {host}",
            code="registry.credentials",
        )
    if status == 401 or code in {"UNAUTHORIZED", "DENIED"} or status == 403:
        return Forbidden(
            f"access to {what} is denied by {host}{told}",
            hint=f"it may not exist, or need a login: wirt login {host}",
            code="registry.denied",
        )
    if status == 404:
        return NotFound(
            f"{host} has no {what}{told}", hint="is the name right?", code="registry.not-found"
        )
    if status == 429:
        return Upstream(
            f"{host} refuses {what}: too many requests{told}",
            hint="wait a while, or log in for a higher limit",
            code="registry.rate-limited",
        )
    if 300 <= status < 400:
        return Upstream(f"{host} redirects {what} without end", code="registry.redirect")
    if status in {400, 405, 413, 415, 416}:
        return Invalid(
            f"{host} does not take {what}: status {status}{told}", code="registry.invalid"
        )
    return Upstream(f"{host} failed with status {status} for {what}{told}", code="registry.failed")


def broken(error: BaseException, *, host: str, what: str) -> WirtError:
    """The error of a connection that failed."""
    if isinstance(error, WirtError):
        return error
    if is_untrusted(error):
        return Upstream(
            f"the certificate of {host} cannot be trusted: {_reason(error)}",
            hint="name its CA in the daemon's configuration: registries, ca = FILE",
            code="registry.certificate",
        )
    if isinstance(error, TimeoutError):
        return Timeout(f"{host} does not answer in time for {what}", code="registry.slow")
    return Unavailable(
        f"cannot reach {host} for {what}: {_reason(error)}",
        hint="is the name right, and the network up?",
        code="registry.unreachable",
    )


def is_untrusted(error: BaseException) -> bool:
    """Whether TLS worked, but who answered is not who we wanted."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return True
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(inner, (ssl.SSLCertVerificationError, ssl.CertificateError))


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)[:_MAX_TEXT]
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or error.os_error)[:_MAX_TEXT]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:_MAX_TEXT]
    return type(error).__name__
