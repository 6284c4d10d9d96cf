"""The pages: `/healthz`, `/readyz`, `/node.json`, `/status.json`, `/peers.json`, `/metrics` and `/`.

What costs more than a look is made once for all who ask within HTTP_VIEW_KEPT_S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from yzdht.http.guard import Guard, json_response, refusal
from yzdht.http.views import Views
from yzdht.limits import HTTP_VIEW_KEPT_S, PAGE_PEERS_MAX
from yzdht.metrics import NodeMetrics


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from yzdht.http.readiness import ReadyCheck
    from yzdht.node import Node


_OK, _UNAVAILABLE, _NOT_FOUND = 200, 503, 404


class Pages:
    """The pages of one node.

    Args:
        node: It was started.
        check: Says whether it is ready.
        url: Where the pages are.

    """

    def __init__(self, node: Node, check: ReadyCheck, url: str) -> None:
        self._node = node
        self._check = check
        self._views = Views(node, url)
        self._metrics = NodeMetrics(node)
        self._kept: dict[str, tuple[float, Response]] = {}

    def app(self, host: str) -> ASGIApp:
        """The pages behind their guard.

        Args:
            host: What the server listens on.

        """
        pages = {
            "/healthz": self.health,
            "/readyz": self.readiness,
            "/node.json": self._while_running(self.node),
            "/status.json": self._while_running(self.status),
            "/peers.json": self._while_running(self.peers),
            "/metrics": self._while_running(self.metrics),
            "/": self._while_running(self.page),
        }
        routes = [Route(path, page, methods=["GET"]) for path, page in pages.items()]
        app = Starlette(routes=routes, exception_handlers={_NOT_FOUND: _nothing_there})
        app.router.redirect_slashes = False
        return Guard(app, host)

    def _while_running(
        self, make: Callable[[], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A page that is made at most every HTTP_VIEW_KEPT_S, and not after the end."""

        async def show(request: Request) -> Response:
            if not self._node.is_running:
                return refusal(_UNAVAILABLE, "the node has ended", "start it again")
            path, mono = request.url.path, self._node.now().mono
            made_at, response = self._kept.get(path, (float("-inf"), None))
            if response is None or mono >= made_at + HTTP_VIEW_KEPT_S:
                response = await make()
                self._kept[path] = mono, response
            return response

        return show

    async def health(self, _request: Request) -> Response:
        """The process lives and its loop turns."""
        return PlainTextResponse("ok\n")

    async def readiness(self, _request: Request) -> Response:
        """Whether it is of use; the status code alone says it too."""
        ready = await self._check.result()
        return json_response(ready.as_dict(), _OK if ready.is_ready else _UNAVAILABLE)

    async def node(self) -> Response:
        """The node as PROTOCOL.md section 6 shows it."""
        return json_response(self._node.json_view())

    async def status(self) -> Response:
        """The whole state but for single peers."""
        return json_response(self._views.status(await self._check.latest()))

    async def peers(self) -> Response:
        """Who is connected."""
        return json_response(self._views.peers())

    async def metrics(self) -> Response:
        """For Prometheus."""
        body = generate_latest(self._metrics.registry)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(self) -> Response:
        """For people."""
        from yzdht.http.page import POLICY, render  # noqa: PLC0415 - only who is looked at pays for the templates

        status = self._views.status(await self._check.latest())
        html = render(status, self._views.peers(PAGE_PEERS_MAX), self._node.now().wall)
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": POLICY})


async def _nothing_there(_request: Request, _error: Exception) -> Response:
    return refusal(_NOT_FOUND, "there is no such page", "begin at /")
