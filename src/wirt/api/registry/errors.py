"""From errors to the answers of the distribution specification (spec.md, "Error Codes")."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from wirt.errors import Kind, WirtError

CODES: Mapping[str, tuple[str, int]] = {
    "registry.blob-unknown": ("BLOB_UNKNOWN", 404),
    "registry.manifest-unknown": ("MANIFEST_UNKNOWN", 404),
    "registry.name-unknown": ("NAME_UNKNOWN", 404),
    "registry.no-route": ("NAME_UNKNOWN", 404),
    "registry.upload-unknown": ("BLOB_UPLOAD_UNKNOWN", 404),
    "registry.manifest-blob-unknown": ("MANIFEST_BLOB_UNKNOWN", 404),
    "registry.name-invalid": ("NAME_INVALID", 400),
    "registry.tag-invalid": ("MANIFEST_INVALID", 400),
    "registry.manifest-invalid": ("MANIFEST_INVALID", 400),
    "registry.upload-invalid": ("BLOB_UPLOAD_INVALID", 400),
    "registry.digest-invalid": ("DIGEST_INVALID", 400),
    "registry.size-invalid": ("SIZE_INVALID", 400),
    "registry.out-of-order": ("BLOB_UPLOAD_INVALID", 416),
    "registry.range": ("SIZE_INVALID", 416),
    "registry.blob-in-use": ("DENIED", 405),
    "registry.method": ("UNSUPPORTED", 405),
    "registry.denied": ("DENIED", 403),
    "registry.unauthorized": ("UNAUTHORIZED", 401),
    "registry.too-many": ("TOOMANYREQUESTS", 429),
    "registry.too-large": ("MANIFEST_INVALID", 413),
    "registry.too-many-tags": ("MANIFEST_INVALID", 414),
    "registry.too-slow": ("TOOMANYREQUESTS", 408),
    "registry.encoding": ("UNSUPPORTED", 415),
    "registry.query": ("UNSUPPORTED", 400),
    "blob.missing": ("BLOB_UNKNOWN", 404),
    "store.full": ("TOOMANYREQUESTS", 507),
    "store.over-budget": ("TOOMANYREQUESTS", 507),
    "archive.too-large": ("SIZE_INVALID", 413),
}
"""The code on the wire and the status of each error that has its own."""

KINDS: Mapping[Kind, tuple[str, int]] = {
    Kind.INVALID: ("UNSUPPORTED", 400),
    Kind.NOT_FOUND: ("NAME_UNKNOWN", 404),
    Kind.CONFLICT: ("DENIED", 409),
    Kind.FORBIDDEN: ("DENIED", 403),
    Kind.EXHAUSTED: ("TOOMANYREQUESTS", 507),
    Kind.UNSUPPORTED: ("UNSUPPORTED", 501),
    Kind.UNAVAILABLE: ("TOOMANYREQUESTS", 503),
    Kind.UPSTREAM: ("UNSUPPORTED", 502),
    Kind.TIMEOUT: ("TOOMANYREQUESTS", 504),
    Kind.INTERNAL: ("UNKNOWN", 500),
}
"""For all others."""

RETRY_SECONDS = 5


def answer(error: WirtError, further: Mapping[str, str] | None = None) -> web.Response:
    """The answer for an error: its status, and a body that names it. ``further``: headers."""
    code, status = CODES.get(error.code) or KINDS[error.kind]
    detail = {"hint": error.hint} if error.hint else {}
    body = {"errors": [{"code": code, "message": error.message, "detail": detail}]}
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in {429, 503, 507} else {}
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={**headers, **(further or {})},
    )
