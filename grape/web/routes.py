"""Declares routes on a Klein application and serves them: access rules, requests, answers and errors in one place.

A route is one decorated method, which takes a Request and returns an Answer, a Deferred of one, or a coroutine::

    class Pages(RoutedResource):
        app = Klein()
        route: ClassVar[Routes[Pages]] = Routes(app)

        @route.get("/hello", "Says hello.", Right.READ, Parameter("name", "Whom to greet."))
        def hello(self, request: Request) -> Answer:
            return Answer(200, b"hello", TEXT_TYPE)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from grape.metrics import Answers
from grape.web.access import Access
from grape.web.answer import JSON_TYPE, NO_STORE, PAYLOAD_TOO_BIG, Answer, Headers, StreamedAnswer
from grape.web.api import error_answer
from grape.web.parameters import Parameter, arguments_of
from grape.web.request import Request, Right, Route, in_origin_form
from grape.web.schemas import MakeSchema

S = TypeVar("S")
M = TypeVar("M")

# Without a body, and so without its length.
NOT_MODIFIED = 304

Handler: TypeAlias = Callable[[S, Request], "Answer | Awaitable[Answer]"]
Decorator: TypeAlias = Callable[[Handler[S]], Handler[S]]


class Routes(Generic[S]):
    """The routes that the methods of a class answer, in the order of their declaration.

    Those of a resource are Klein routes of its ``app``. Those of another class have no application of their own: a
    resource mounts them.
    """

    def __init__(self, app: Klein | None = None) -> None:
        self._app = app
        if app is not None:
            # werkzeug would redirect "/a//b" to "/a/b"; it is an unknown path.
            app.url_map.merge_slashes = False
        self._handlers: dict[Route, Handler[S]] = {}

    def __iter__(self) -> Iterator[Route]:
        """Returns the declarations."""
        return iter(self._handlers)

    def __call__(self, *routes: Route) -> Decorator[S]:
        """Declares routes that are all answered by the decorated method. Raises ValueError for one declared twice."""

        def declare(handler: Handler[S]) -> Handler[S]:
            for route in routes:
                self._add(route, handler)
            return handler

        return declare

    def get(
        self,
        path: str,
        summary: str,
        right: Right,
        *parameters: Parameter,
        exempt: bool = False,
        example: str = "",
        schema: MakeSchema | None = None,
        media_type: bytes = JSON_TYPE,
        may_be_unavailable: bool = False,
        may_be_linked: bool = False,
        is_described: bool = True,
    ) -> Decorator[S]:
        """Declares a route that is found by GET and HEAD. Its answers are not to be stored, unless they say otherwise.

        ``right`` is declared, not enforced yet: the API has no authentication. ``example`` is an answer, as JSON, and
        ``schema`` describes all.
        """
        return self(
            Route(
                path,
                ("GET",),
                summary,
                right,
                parameters,
                exempt=exempt,
                example=example,
                schema=schema,
                media_type=media_type,
                may_be_unavailable=may_be_unavailable,
                may_be_linked=may_be_linked,
                is_described=is_described,
            )
        )

    def mount(self, routes: Routes[M], owner: Callable[[S], M]) -> None:
        """Declares the routes of another class, too; ``owner`` returns the object whose methods answer them."""
        for route, handler in routes._handlers.items():
            self._add(route, partial(_call_of_owner, owner, handler))

    def _add(self, route: Route, handler: Handler[S]) -> None:
        if any(route.overlaps(other) for other in self):
            raise ValueError(f"the route {route.path} is declared twice")
        self._handlers[route] = handler
        if self._app is not None:
            # Without methods Klein finds the path by any; with GET by HEAD, too. A call judges the method itself.
            name = f"{route.path} {' '.join(route.methods)}"
            methods = None if route.forms else list(route.methods) or None
            klein_route = self._app.route(route.path, methods=methods, endpoint=name)
            klein_route(_klein_handler(route, handler))


def _call_of_owner(
    owner: Callable[[S], M], handler: Handler[M], resource: S, request: Request
) -> Answer | Awaitable[Answer]:
    return handler(owner(resource), request)


def _klein_handler(route: Route, handler: Handler[S]) -> Callable[..., Deferred[bytes]]:
    def serve(resource: RoutedResource, http: IRequest, **variables: str) -> Deferred[bytes]:
        return resource.serve(http, partial(handler, cast("S", resource)), route)

    serve.__name__ = route.name
    return serve


class RoutedResource:
    """A resource whose routes are declared by ``Routes``.

    ``access`` are the rules whose requests are served, None leaves that to the site. ``max_payload_size`` is in bytes,
    or a function that returns the limit of the moment. Answers are counted in ``answers``.
    """

    app: ClassVar[Klein]

    def __init__(
        self, access: Access | None, max_payload_size: int | Callable[[], int], answers: Answers | None = None
    ) -> None:
        self._access = access
        self._answers = answers if answers is not None else Answers()
        self._limit = (lambda: max_payload_size) if isinstance(max_payload_size, int) else max_payload_size

    def resource(self) -> IResource:
        """Returns the resource to mount in a twisted.web site, at any path."""
        root: IResource = _Root(self.app.resource(), self._limit)
        return root

    def serve(
        self, http: IRequest, handler: Callable[[Request], Answer | Awaitable[Answer]], route: Route | None = None
    ) -> Deferred[bytes]:
        """Returns the body of the answer to a request, whose head is set. ``route`` is None for an unknown path."""
        request = _request_of(http)
        refusal, cors = self._judge(http, request, route)
        if refusal is None and len(request.body) > self._limit():
            refusal = PAYLOAD_TOO_BIG
        if refusal is None:
            answered = maybeDeferred(_handled, handler, request, route).addErrback(_error_of)
        else:
            answered = succeed(refusal)
        # Where the page is, other clients get the answer of an unknown call.
        is_momentary = route is not None and route.methods == ("GET",) and not route.may_be_linked
        headers = (*NO_STORE, *cors) if is_momentary else cors
        return answered.addCallback(self._given, route, headers, http)

    def _given(self, answer: Answer, route: Route | None, headers: Headers, http: IRequest) -> bytes | Deferred[bytes]:
        self._answers.count(route.counted if route is not None else "other", answer.status)
        return _set_head(answer, headers, http)

    def _judge(self, http: IRequest, request: Request, route: Route | None) -> tuple[Answer | None, Headers]:
        if self._access is None:
            return None, ()
        if route is not None and route.exempt and not request.query:
            return None, self._access.cors(request.headers)
        local_host = getattr(http.getHost(), "host", None)
        may_be_linked = route is not None and route.may_be_linked
        return self._access.judge(request.method, request.headers, local_host, may_be_linked=may_be_linked)


class _Root(Resource):
    """Prepares a request for Klein: reads it, and changes what Klein's router would fail at."""

    isLeaf = True

    def __init__(self, klein: IResource, limit: Callable[[], int]) -> None:
        super().__init__()
        self._klein = klein
        self._limit = limit

    def render(self, request: Any) -> int:
        """Reads a request and has Klein route it."""
        target, authority = in_origin_form(request.uri)
        if authority is not None and not request.prepath:
            # This resource is the root of its site, which has split the absolute URL as if it were a path.
            path = target.partition(b"?")[0]
            request.uri, request.postpath = target, [unquote_to_bytes(part) for part in path[1:].split(b"/")]
            request.requestHeaders.setRawHeaders(b"host", [authority])
        request.grape_request = _read(request, self._limit())
        if not request.uri.startswith(b"/") or b"" in request.postpath[:-1] or not _is_text(b"".join(request.postpath)):
            # No path, or not the literal one of a route: werkzeug would decode it or pass over its first slashes.
            request.postpath = [b"*"]
        if request.getHeader(b"host") is None or not _is_text(request.getRequestHostname()):
            # Klein needs a name, and no route depends on it.
            request.requestHeaders.setRawHeaders(b"host", [b"localhost"])
        rendered: int = self._klein.render(request)
        return rendered


def _read(http: Any, max_payload_size: int) -> Request:
    """Returns a request of twisted.web as one of ours, its target relative to where the resource is mounted."""
    path, mark, query = http.uri.partition(b"?")
    if path.startswith(b"/"):
        path = b"/" + b"/".join(path.split(b"/")[1 + len(http.prepath) :])
    raw = http.requestHeaders.getAllRawHeaders()
    headers = {name.lower(): b", ".join(values) for name, values in raw}
    peer, local = (getattr(end, "host", None) for end in (http.getClientAddress(), http.getHost()))
    return Request(http.method, path + mark + query, headers, peer, http.content.read(max_payload_size + 1), local)


def path_of(http: IRequest) -> str:
    """Returns the path of a request that a resource of ours serves, relative to where it is mounted."""
    return _request_of(http).path


def _request_of(http: IRequest) -> Request:
    request: Request = cast("Any", http).grape_request
    return request


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _handled(handler: Callable[[Request], Answer | Awaitable[Answer]], request: Request, route: Route | None) -> Answer:
    """Returns what a handler returns, for maybeDeferred: a Deferred or a coroutine becomes its result there."""
    if route is not None:
        request.arguments = arguments_of(route.parameters, request.query) if route.parameters else {}
    return cast("Answer", handler(request))


def _error_of(failure: Failure) -> Answer:
    if failure.check(CancelledError) is not None:
        # The client is gone: Klein answers nothing.
        failure.raiseException()
    return error_answer(failure)


def _set_head(answer: Answer, headers: Headers, http: IRequest) -> bytes | Deferred[bytes]:
    http.setResponseCode(answer.status)
    http.setHeader(b"content-type", answer.content_type)
    if not isinstance(answer, StreamedAnswer) and answer.status != NOT_MODIFIED:
        http.setHeader(b"content-length", b"%d" % len(answer.body))
    for name, value in (*headers, *answer.headers):
        http.setHeader(name, value)
    if isinstance(answer, StreamedAnswer) and http.method != b"HEAD":
        return answer.begin(http)
    return answer.body
