"""Connections of clients to their own SSH agents, held ready for the steps of a build."""

from __future__ import annotations

from aiohttp import web

from wirt.api.http.hijack import Hijacked, take_socket
from wirt.api.http.operation import operation
from wirt.host.build.visitors import Agents


class BuildAgentRoutes:
    """The route of agents."""

    def __init__(self, *, agents: Agents) -> None:
        self._agents = agents

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [web.post("/v1/build/agents/{token}/{name}", self.give)]

    @operation(
        "Hold a connection to the client's SSH agent ready (hijack)",
        answer="application/vnd.docker.raw-stream",
        status=101,
    )
    async def give(self, request: web.Request) -> web.StreamResponse:
        """The first byte says that a step begins to use it; then the agent's protocol follows."""
        token, name = request.match_info["token"], request.match_info["name"]
        self._agents.require(token, name)
        self._agents.give(token, name, take_socket(request, tty=True))
        return Hijacked()
