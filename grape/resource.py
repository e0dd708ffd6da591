"""Declares the HTTP API, each route once, as a Klein resource for the own port or any path of a twisted.web site.

The server in front of the own port answers the calls itself, by the same ``Api``, and hands every other request to this
resource.

Under 60 lines: routes with code of their own come from modules of ``grape.web`` that it mounts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from grape.logs.recent import RecentLines
from grape.node.node import Node
from grape.web.access import Access
from grape.web.answer import NOT_ALLOWED, NOT_FOUND, Answer
from grape.web.api import Api
from grape.web.events import Events
from grape.web.exposition import Exposition
from grape.web.health import Health
from grape.web.inspection import Inspection
from grape.web.live_page import LivePage
from grape.web.openapi import Description
from grape.web.request import CALLS, Request, Route
from grape.web.routes import RoutedResource, Routes, path_of
from grape.web.tracing import Tracing

__all__ = ["GrapeResource", "routes"]


class GrapeResource(RoutedResource):
    """The routes of one node's API.

    ``max_payload_size`` (bytes, or a function that returns them) is checked here, too, for sites that do not check it.
    ``access`` decides whose requests are served; None leaves that to the site. A resource that ``has_log`` remembers
    the warnings of the whole process from now on, to show them; others those of the grape while somebody looks.

    To add an endpoint, add a method under ``@route.get``: it gets the request and has ``self.node``. Or mount the
    ``Routes`` of a module of ``grape.web`` by ``route.mount``.
    """

    app = Klein()
    route: ClassVar[Routes[GrapeResource]] = Routes(app)

    def __init__(
        self,
        node: Node,
        api: Api,
        max_payload_size: int | Callable[[], int],
        access: Access | None,
        *,
        has_log: bool = False,
    ) -> None:
        super().__init__(access, max_payload_size, api.counters.answers)
        self.node = node
        self._api = api
        self.health = Health(node.inspector)
        self.inspection = Inspection(node.inspector, api)
        self.exposition = Exposition(node.inspector)
        self.tracing = Tracing(lambda: node.tracer)
        self.description = Description(routes)
        lines = RecentLines(is_whole=has_log)
        if has_log:
            lines.open()
        self.events = Events(node.inspector, lambda: api.begun, lines)
        self.page = LivePage(api.call)

    @route(*CALLS)
    def call(self, request: Request) -> Awaitable[Answer]:
        """Answers a call. The API knows it by its literal target: what Klein decodes or passes over is no call."""
        return self._api.call(request)

    route.mount(Health.route, lambda resource: resource.health)
    route.mount(Inspection.route, lambda resource: resource.inspection)
    route.mount(Tracing.route, lambda resource: resource.tracing)
    route.mount(Exposition.route, lambda resource: resource.exposition)
    route.mount(Description.route, lambda resource: resource.description)
    route.mount(Events.route, lambda resource: resource.events)
    route.mount(LivePage.route, lambda resource: resource.page)

    @app.handle_errors(HTTPException)
    def unknown(self, request: IRequest, failure: Failure) -> Deferred[bytes]:
        """Answers any other path as an unknown call, whose body is judged first.

        By another method than GET and HEAD nothing is found at a path that is read, either; methods that are not POST
        are told so. The page is read at a path that has always been unknown.
        """
        if failure.check(MethodNotAllowed) is None or path_of(request) == "/":
            return self.serve(request, self._api.call)
        answer = NOT_FOUND if request.method == b"POST" else NOT_ALLOWED
        return self.serve(request, lambda _: answer)


def routes() -> tuple[Route, ...]:
    """Returns the declarations of all routes, the calls first."""
    return tuple(GrapeResource.route)
