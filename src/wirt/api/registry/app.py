"""The registry as one handler: find out what is meant and who asks, answer, and tell errors.

Credentials are in headers and forms only, and neither is ever logged or repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from wirt.api.registry import token
from wirt.api.registry.blobs import BlobAnswers
from wirt.api.registry.caller import Caller, Gate
from wirt.api.registry.errors import CODES, answer
from wirt.api.registry.lists import ListAnswers
from wirt.api.registry.manifests import ManifestAnswers
from wirt.api.registry.route import Kind, Target, parse
from wirt.api.registry.uploads import UploadAnswers
from wirt.api.registry.visit import Visit
from wirt.errors import Forbidden, Internal, Unsupported, WirtError, primary
from wirt.host.registry.mark import ANSWER, CHALLENGE, Mark
from wirt.host.registry.refusals import unauthorized
from wirt.model.registry import ANYBODY

log = logging.getLogger("wirt.registry")

Answering = Callable[[Visit], Awaitable[web.StreamResponse]]

_SCOPES = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


class Registry:
    """What the registry answers, the same on every listener."""

    def __init__(
        self,
        *,
        blobs: BlobAnswers,
        uploads: UploadAnswers,
        manifests: ManifestAnswers,
        lists: ListAnswers,
        mark: Mark,
    ) -> None:
        self._mark = mark
        self._table: Mapping[Kind, Mapping[str, Answering]] = {
            Kind.BASE: {"GET": base, "HEAD": base},
            Kind.TOKEN: {"GET": token.get, "POST": token.post},
            Kind.CATALOG: {"GET": lists.catalog, "HEAD": lists.catalog},
            Kind.TAGS: {"GET": lists.tags, "HEAD": lists.tags},
            Kind.MANIFEST: {
                "GET": manifests.get,
                "HEAD": manifests.get,
                "PUT": manifests.put,
                "DELETE": manifests.delete,
            },
            Kind.REFERRERS: {"GET": manifests.referrers, "HEAD": manifests.referrers},
            Kind.BLOB: {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
            Kind.UPLOADS: {"POST": uploads.post},
            Kind.UPLOAD: {
                "GET": uploads.get,
                "PATCH": uploads.patch,
                "PUT": uploads.put,
                "DELETE": uploads.delete,
            },
        }

    async def handle(self, request: web.BaseRequest, gate: Gate) -> web.StreamResponse:
        """The answer to a request; errors are answers too."""
        target = Target(kind=Kind.BASE)
        common = self._common(request)
        try:
            if "Origin" in request.headers:
                raise Forbidden("requests from web pages are refused", code="registry.denied")
            target = parse(request.raw_path.partition("?")[0])
            response = await self._answer(request, target, gate, common)
        except (ConnectionError, TimeoutError):
            raise
        except web.RequestPayloadError as error:
            raise ConnectionResetError("the body broke off") from error
        except Exception as error:  # noqa: BLE001 - told to the client, and logged below
            response = self._told(request, error, target, gate)
        if not response.prepared:
            response.headers.update(common)
        return response

    async def _answer(
        self, request: web.BaseRequest, target: Target, gate: Gate, common: Mapping[str, str]
    ) -> web.StreamResponse:
        verbs = self._table[target.kind]
        answering = verbs.get(request.method)
        if answering is None:
            response = answer(
                Unsupported(f"{request.method[:20]} is not answered here", code="registry.method")
            )
            response.headers["Allow"] = ", ".join(verbs)
            return response
        caller = await gate.caller(request)
        return await answering(
            Visit(request=request, target=target, caller=caller, gate=gate, common=common)
        )

    def _told(
        self, request: web.BaseRequest, error: Exception, target: Target, gate: Gate
    ) -> web.Response:
        known = primary(error)
        if not isinstance(known, WirtError):
            log.error("%s %s failed", request.method, request.raw_path[:300], exc_info=error)
            known = Internal("internal error")
        response = answer(known)
        if response.status == CODES["registry.unauthorized"][1]:
            response.headers["WWW-Authenticate"] = gate.challenge(request, _scope(request, target))
        if known.code == "registry.range":
            response.headers["Content-Range"] = f"bytes */{known.facts['size']}"
        if known.code in {"registry.too-slow", "registry.encoding"}:
            response.force_close()
        return response

    def _common(self, request: web.BaseRequest) -> dict[str, str]:
        headers = {
            "Server": "wirt",
            "Docker-Distribution-Api-Version": "registry/2.0",
            "X-Content-Type-Options": "nosniff",
        }
        challenge = request.headers.get(CHALLENGE)
        if challenge and request.transport is not None:
            peer = request.transport.get_extra_info("peername")
            headers[ANSWER] = self._mark.answer(challenge, (str(peer[0]), int(peer[1])))
        return headers


async def base(visit: Visit) -> web.StreamResponse:
    """``/v2/``: the registry speaks this protocol. Where there are users, whoever is none of them
    is asked to log in, since this is where clients learn how."""
    caller: Caller = visit.caller
    if visit.gate.accounts and caller.user == ANYBODY and caller.grant is None:
        raise unauthorized("the registry")
    return web.Response(body=b"{}", content_type="application/json")


def _scope(request: web.BaseRequest, target: Target) -> str:
    if target.kind is Kind.CATALOG:
        return "registry:catalog:*"
    if not target.name:
        return ""
    return f"repository:{target.name}:{_SCOPES.get(request.method, 'pull,push')}"
