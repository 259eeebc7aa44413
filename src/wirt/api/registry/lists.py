"""Lists: tags (end-8), and the catalogue, which clients want though no specification has it."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.api.registry.visit import Visit
from wirt.host.registry.manifests import MAX_PAGE, Manifests, Page
from wirt.host.registry.refusals import unauthorized
from wirt.model.registry import ANYBODY, Right

CATALOG_PAGE = 100
"""Names of an answer to a client that says no number."""


class ListAnswers:
    """What is answered at ``/v2/_catalog`` and ``/v2/NAME/tags/list``."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests

    async def tags(self, visit: Visit) -> web.StreamResponse:
        """Tags in order; ``n=0`` is an empty list."""
        visit.need(Right.PULL)
        most = visit.number("n")
        wished = MAX_PAGE if most is None else most
        page = await self._manifests.tags(visit.name, after=visit.last(), most=wished)
        return _answer(visit, {"name": visit.name, "tags": page.names}, page, wished)

    async def catalog(self, visit: Visit) -> web.StreamResponse:
        """Repositories that the caller may pull from."""
        most = visit.number("n")
        wished = CATALOG_PAGE if most is None else min(most, MAX_PAGE)
        caller = visit.caller
        names: list[str] = []
        page = Page(names=(), more=visit.last())
        first = True
        while wished and len(names) < wished and (first or page.more):
            first = False
            page = await self._manifests.names(after=page.more, most=wished - len(names))
            names += [name for name in page.names if caller.sees(name)]
        stranger = caller.user == ANYBODY and caller.grant is None
        if wished and not names and stranger and visit.gate.accounts:
            raise unauthorized("list repositories")
        shown = Page(names=tuple(names), more=page.more if wished else "")
        return _answer(visit, {"repositories": shown.names}, shown, wished)


def _answer(visit: Visit, body: dict[str, object], page: Page, wished: int) -> web.Response:
    response = web.Response(body=msgspec.json.encode(body), content_type="application/json")
    if page.more:
        response.headers["Link"] = visit.next_link(n=str(min(wished, MAX_PAGE)), last=page.more)
    return response
