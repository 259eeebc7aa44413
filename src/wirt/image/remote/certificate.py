"""Of when a server's certificate is, for the error that it is of another time.

Who does not believe a server cannot see its certificate any more, so it is fetched again, by a
connection that only looks at it.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from wirt.errors import Upstream, WirtError

_OUTDATED = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_PATIENCE = 10.0
_SEQUENCE, _VERSION, _UTC, _GENERAL = 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when (both included) a certificate is good."""

    begin: datetime
    end: datetime


async def dated(error: BaseException, failed: WirtError) -> WirtError:
    """``failed``, or an error that names the date when ``error`` is about a certificate that has
    expired or is not good yet."""
    if not isinstance(error, aiohttp.ClientConnectorCertificateError):
        return failed
    inner = error.certificate_error
    if not isinstance(inner, ssl.SSLCertVerificationError) or inner.verify_code not in _OUTDATED:
        return failed
    try:
        async with asyncio.timeout(_PATIENCE):
            found = read_validity(await _fetch(error.host, error.port or 443))
    except (OSError, ValueError, TimeoutError):
        return failed
    now = datetime.now(UTC)
    if now > found.end:
        said = f"has expired on {found.end:%Y-%m-%d %H:%M:%S} UTC"
    elif now < found.begin:
        said = f"is not good before {found.begin:%Y-%m-%d %H:%M:%S} UTC"
    else:
        return failed  # it is one of those that vouch for it
    return Upstream(
        f"the certificate of {error.host}:{error.port} {said}",
        hint=f"its owner must renew it; or is this host's clock wrong? it is {now:%Y-%m-%d %H:%M}",
        code="registry.certificate",
    )


async def _fetch(host: str, port: int) -> bytes:
    """A server's certificate (DER). Nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    if not isinstance(found, bytes):
        raise ValueError("no certificate")
    return found


def read_validity(der: bytes) -> Validity:
    """The validity in a certificate (RFC 5280, section 4.1). Raises ValueError."""
    certificate, _ = _value(der, _SEQUENCE)
    rest, _ = _value(certificate, _SEQUENCE)
    if rest[:1] == bytes([_VERSION]):
        _, rest = _value(rest, _VERSION)
    for _ in range(3):  # serial number, signature, issuer
        _, rest = _value(rest)
    validity, _ = _value(rest, _SEQUENCE)
    begin, behind = _time(validity)
    end, _ = _time(behind)
    return Validity(begin=begin, end=end)


def _value(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """The content of the first value (X.690, DER), and what is behind it."""
    if len(data) < 2 or (tag is not None and data[0] != tag):
        raise ValueError("this is no certificate")
    size, at = data[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(data[2:at], "big")
    if len(data) < at + size:
        raise ValueError("the certificate is cut short")
    return data[at : at + size], data[at + size :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    kind = data[:1]
    content, rest = _value(data)
    text = content.decode("ascii")
    if kind == bytes([_UTC]):  # two digits of the year: 1950 to 2049
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    elif kind != bytes([_GENERAL]):
        raise ValueError("this is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
