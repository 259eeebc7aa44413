"""Uploads: end-4a, 4b, 4c, 5, 6, 11, 13 and 14."""

from __future__ import annotations

import re

from aiohttp import web

from wirt.aio import shielded
from wirt.api.registry.errors import answer
from wirt.api.registry.visit import Visit, digest
from wirt.errors import Conflict
from wirt.host.registry.blobs import Blobs
from wirt.host.registry.refusals import bad_digest, bad_upload
from wirt.host.registry.uploads import Session, Uploads
from wirt.model.image import Digest
from wirt.model.registry import Right

DEADLINE = 600.0
"""Seconds that storing a blob may go on after its client went away."""

_CONTENT_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/(?:\*|[0-9]+))?", re.ASCII)
_ALGORITHMS = ("sha256", "sha512")


class UploadAnswers:
    """What is answered below ``/v2/NAME/blobs/uploads/``."""

    def __init__(self, *, uploads: Uploads, blobs: Blobs) -> None:
        self._uploads = uploads
        self._blobs = blobs

    async def post(self, visit: Visit) -> web.StreamResponse:
        """Begin an upload; with ``digest`` and a body it is whole at once, with ``mount`` it may
        not be needed."""
        visit.need(Right.CREATE)
        if "mount" in visit.query:
            wanted = visit.digest(visit.query["mount"])
            if await self._mount(visit, wanted):
                return _created(visit, wanted)
        whole = digest(visit.query["digest"]) if "digest" in visit.query else None
        algorithm = whole.algorithm if whole else visit.query.get("digest-algorithm", "sha256")
        if algorithm not in _ALGORITHMS:
            raise bad_digest(f"the digest algorithm {algorithm[:40]!r} is not known")
        session = await self._uploads.begin(visit.name, visit.caller.user, algorithm)
        if whole is None:
            return _accepted(visit, session)
        try:
            return await self._finish(visit, session, whole)
        finally:
            await shielded(self._uploads.drop(session))

    async def _mount(self, visit: Visit, wanted: Digest) -> bool:
        mount = self._blobs.mount(
            visit.name,
            wanted,
            source=visit.query.get("from", ""),
            may_read=lambda name: visit.caller.may(Right.PULL, name),
        )
        return await shielded(mount)

    async def get(self, visit: Visit) -> web.StreamResponse:
        """How far it has come."""
        visit.need(Right.CREATE)
        return web.Response(status=204, headers=_standing(visit, self._find(visit)))

    async def patch(self, visit: Visit) -> web.StreamResponse:
        """The next chunk, or a stream of any length."""
        visit.need(Right.CREATE)
        session = self._find(visit)
        try:
            await self._append(visit, session)
        except Conflict as error:
            return answer(error, _standing(visit, session))
        return _accepted(visit, session)

    async def put(self, visit: Visit) -> web.StreamResponse:
        """The last chunk, perhaps empty, and the digest of all."""
        visit.need(Right.CREATE)
        session = self._find(visit)
        if "digest" not in visit.query:
            raise bad_digest("the query parameter 'digest' is missing")
        wanted = digest(visit.query["digest"])
        try:
            return await self._finish(visit, session, wanted)
        except Conflict as error:
            return answer(error, _standing(visit, session))

    async def delete(self, visit: Visit) -> web.StreamResponse:
        """Cancel it."""
        visit.need(Right.CREATE)
        await shielded(self._uploads.cancel(self._find(visit)))
        return web.Response(status=204)

    def _find(self, visit: Visit) -> Session:
        return self._uploads.find(visit.target.reference, visit.name, visit.caller.user)

    async def _append(self, visit: Visit, session: Session) -> None:
        headers = visit.request.headers
        at, length = None, visit.request.content_length
        if "Content-Range" in headers:
            match = _CONTENT_RANGE.fullmatch(headers["Content-Range"])
            if match is None or int(match[2]) < int(match[1]):
                raise bad_upload("its Content-Range is not FIRST-LAST")
            at, said = int(match[1]), int(match[2]) - int(match[1]) + 1
            if length is not None and length != said:
                raise bad_upload(f"Content-Length is {length}, but Content-Range has {said} bytes")
            length = said
        await self._uploads.append(session, visit.chunks(), at=at, length=length)

    async def _finish(self, visit: Visit, session: Session, wanted: Digest) -> web.StreamResponse:
        if visit.has_body():
            await self._append(visit, session)
        elif "Content-Range" in visit.request.headers:
            raise bad_upload("it has a Content-Range but no body")
        await shielded(self._uploads.finish(session, wanted), deadline=DEADLINE)
        return _created(visit, wanted)


def _standing(visit: Visit, session: Session) -> dict[str, str]:
    """The headers that say where an upload stands. ``Range`` is inclusive, so 0-0 is also "no byte
    yet", as clients expect."""
    return {
        "Location": f"/v2/{visit.name}/blobs/uploads/{session.id}",
        "Range": f"0-{max(session.offset - 1, 0)}",
        "Docker-Upload-UUID": session.id,
    }


def _accepted(visit: Visit, session: Session) -> web.Response:
    return web.Response(status=202, headers=_standing(visit, session))


def _created(visit: Visit, wanted: Digest) -> web.Response:
    return web.Response(
        status=201,
        headers={
            "Location": f"/v2/{visit.name}/blobs/{wanted}",
            "Docker-Content-Digest": str(wanted),
        },
    )
