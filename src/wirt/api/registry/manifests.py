"""Manifests and referrers: end-3, 7a, 7b, 9 and 12."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.registry.visit import Visit
from wirt.errors import Invalid
from wirt.host.registry.manifests import Manifests
from wirt.host.registry.refusals import bad_manifest, unknown_manifest
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import OCI_INDEX
from wirt.model.image import is_tag
from wirt.model.registry import Right, check_tag
from wirt.state.manifests import ManifestRow

MAX_TAGS = 100
"""Of one push by digest."""
LOW_ROOM = 2 * 1024**3
"""Bytes; with less than that left those who push are warned."""
MAX_WARNING = 4096
"""Bytes of a Warning header, all in all."""


class ManifestAnswers:
    """What is answered below ``/v2/NAME/manifests`` and ``/v2/NAME/referrers``."""

    def __init__(self, manifests: Manifests, room: Callable[[], int]) -> None:
        """``room``: bytes that the store may still take."""
        self._manifests = manifests
        self._room = room

    async def get(self, visit: Visit) -> web.StreamResponse:
        """The very bytes that were pushed; HEAD without them."""
        visit.need(Right.PULL)
        document = await self._manifests.find(visit.name, _existing(visit))
        headers = _describe(document)
        if visit.request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers={"ETag": headers["ETag"]})
        if visit.request.method == "HEAD":
            return await _only_head(visit, document.size, headers)
        return web.Response(body=await self._manifests.content(document), headers=headers)

    async def put(self, visit: Visit) -> web.StreamResponse:
        """Push, under a tag, or under its digest with any number of tags."""
        visit.need(Right.CREATE)
        reference = visit.target.reference
        by_digest = ":" in reference
        further = visit.request.query.getall("tag", [])
        if len(further) > MAX_TAGS:
            raise Invalid(
                f"{len(further)} tags are too many, {MAX_TAGS} are allowed",
                code="registry.too-many-tags",
            )
        tags = [*(() if by_digest else (reference,)), *further]
        wanted = visit.digest() if by_digest else None
        for tag in tags:
            check_tag(tag)
        data = await visit.body(MAX_DOCUMENT)
        push = self._manifests.push(
            visit.name,
            data,
            media_type=_media_type(visit.request),
            digest=wanted,
            tags=tuple(dict.fromkeys(tags)),
            move=visit.caller.may(Right.PUSH, visit.name),
        )
        document = await shielded(push)
        headers = _pushed(visit, document, further)
        if (left := self._room()) < LOW_ROOM:
            text = f"the registry's disk is nearly full: {max(left, 0) // 1024**2} MiB are left"
            headers.append(warning(text))
        return web.Response(status=201, headers=headers)

    async def delete(self, visit: Visit) -> web.StreamResponse:
        """A tag, or a manifest with its tags."""
        visit.need(Right.DELETE)
        await shielded(self._manifests.delete(visit.name, _existing(visit)))
        return web.Response(status=202)

    async def referrers(self, visit: Visit) -> web.StreamResponse:
        """An index of the manifests about this one; it need not be there itself."""
        visit.need(Right.PULL)
        subject = visit.digest()
        artifact_type = visit.query.get("artifactType", "")
        found, more = await self._manifests.referrers(
            visit.name, subject, artifact_type=artifact_type, after=visit.last()
        )
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_descriptor(document) for document in found],
        }
        response = web.Response(
            body=msgspec.json.encode(index), headers={"Content-Type": OCI_INDEX}
        )
        if artifact_type:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if more:
            same = {"artifactType": artifact_type} if artifact_type else {}
            response.headers["Link"] = visit.next_link(**same, last=more)
        return response


def _existing(visit: Visit) -> str:
    """The tag or digest in the path; what is no tag cannot be there. Raises Invalid, NotFound."""
    reference = visit.target.reference
    if ":" in reference:
        return str(visit.digest())
    if not is_tag(reference):
        raise unknown_manifest(reference)
    return reference


def _media_type(request: web.BaseRequest) -> str:
    said = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if not said:
        raise bad_manifest("the request lacks a Content-Type")
    return said


def _describe(document: ManifestRow) -> dict[str, str]:
    return {
        "Content-Type": document.media_type,
        "Docker-Content-Digest": document.digest,
        "ETag": f'"{document.digest}"',
    }


async def _only_head(visit: Visit, size: int, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**visit.common, **headers})
    response.content_length = size
    await response.prepare(visit.request)
    await response.write_eof()
    return response


def _pushed(visit: Visit, document: ManifestRow, tags: list[str]) -> list[tuple[str, str]]:
    headers = [
        ("Location", f"/v2/{visit.name}/manifests/{document.digest}"),
        ("Docker-Content-Digest", document.digest),
    ]
    if document.subject:
        headers.append(("OCI-Subject", document.subject))
    headers += [("OCI-Tag", tag) for tag in tags]
    return headers


def warning(text: str) -> tuple[str, str]:
    """The Warning header that clients show to people (spec.md, "Warnings")."""
    plain = quote(text, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")
    return "Warning", f'299 - "{plain}"'[:MAX_WARNING]


def _descriptor(document: ManifestRow) -> dict[str, object]:
    node: dict[str, object] = {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": document.size,
    }
    if document.artifact_type:
        node["artifactType"] = document.artifact_type
    if document.annotations:
        node["annotations"] = document.annotations
    return node
