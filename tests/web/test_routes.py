"""grape.web.routes: how a declared route is served, at the root of a site and below a path."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from klein import Klein
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from werkzeug.exceptions import HTTPException

from grape.errors import GrapeError
from grape.testing import HeapClock
from grape.web.access import Access
from grape.web.answer import FAULT, TEXT_TYPE, Answer
from grape.web.parameters import Parameter
from grape.web.request import Request, Right, Route
from grape.web.routes import RoutedResource, Routes
from grape.web.site import GrapeSite
from tests.web.helpers import LIMIT, PEER, SiteClient, request

EVIL = b"Origin: http://evil.example\r\n"


class Mounted:
    """Routes of a class that is no resource."""

    route: ClassVar[Routes[Mounted]] = Routes()

    def __init__(self) -> None:
        self.number = 21

    @route.get("/mounted", "Returns a number.", Right.READ)
    def tell(self, request: Request) -> Answer:
        return Answer(200, b"%d" % self.number)


class Pages(RoutedResource):
    """Routes of every kind."""

    app = Klein()
    route: ClassVar[Routes[Pages]] = Routes(app)

    def __init__(self, access: Access | None = None) -> None:
        super().__init__(access, LIMIT)
        self.mounted = Mounted()
        self.requests: list[Request] = []
        self.later: Deferred[Answer] = Deferred()

    @route.get("/hello", "Says hello.", Right.READ, Parameter("name", "Whom to greet."))
    def hello(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer(200, b"hello", TEXT_TYPE, ((b"Cache-Control", b"no-store"),))

    @route.get("/livez", "Answers.", Right.NONE, exempt=True)
    async def livez(self, request: Request) -> Answer:
        return Answer(200, b"alive", TEXT_TYPE)

    @route.get("/later", "Answers later.", Right.INSPECT)
    def answer_later(self, request: Request) -> Deferred[Answer]:
        return self.later

    @route.get("/refuses", "Fails with an error of Grenache's.", Right.INSPECT)
    def refuse(self, request: Request) -> Answer:
        raise GrapeError("ERR_GRAPE_NO", 400)

    @route.get("/fails", "Fails.", Right.INSPECT)
    async def fail(self, request: Request) -> Answer:
        raise RuntimeError("secret")

    @route(Route("/echo", ("POST", "PUT"), "Echoes.", Right.WRITE), Route("/mirror", (), "Echoes.", Right.WRITE))
    def echo(self, request: Request) -> Answer:
        return Answer(200, request.body)

    route.mount(Mounted.route, lambda pages: pages.mounted)

    @app.handle_errors(HTTPException)
    def unknown(self, request: IRequest, failure: Failure) -> Deferred[bytes]:
        return self.serve(request, lambda request: Answer(404, b"no " + request.target))


class Mount:
    """A resource at a path of a site, with a client."""

    def __init__(self, path: bytes = b"", access: Access | None = None, peer: IAddress = PEER) -> None:
        self.path = path
        self.pages = Pages(access)
        root = resource = self.pages.resource()
        for segment in reversed(path.split(b"/")[1:]):
            root = Resource()
            root.putChild(segment, resource)
            resource = root
        self.client = SiteClient(GrapeSite(root, LIMIT, HeapClock()), peer)

    def ask(self, path: bytes, body: bytes = b"", headers: bytes = b"", method: bytes = b"GET") -> tuple[int, bytes]:
        """Returns the answer to one request."""
        self.client.send(request(body, self.path + path, headers, method))
        (answer,) = self.client.answers()
        return answer


@pytest.fixture(params=[b"", b"/tools/grape"], ids=["root", "below a path"])
def mount(request: pytest.FixtureRequest) -> Mount:
    return Mount(request.param)


# What a route gets and what it answers


def test_route_gets_method_target_query_headers_and_peer(mount: Mount) -> None:
    mount.ask(b"/hello?name=a%20b&more=&more=1&x", headers=b"X-A: 1\r\nX-A: 2\r\n")
    (got,) = mount.pages.requests
    assert (got.method, got.target, got.peer, got.body) == (b"GET", b"/hello?name=a%20b&more=&more=1&x", PEER.host, b"")
    assert (got.path, got.query) == ("/hello", {"name": ["a b"], "more": ["", "1"], "x": [""]})
    assert (got.headers[b"x-a"], got.headers[b"host"]) == (b"1, 2", b"localhost")


def test_route_sets_status_type_and_headers(mount: Mount) -> None:
    mount.client.send(request(b"", mount.path + b"/hello", method=b"GET"))
    head, _, body = mount.client.received().partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 200 ok"
    assert {b"content-type: text/plain", b"content-length: 5", b"cache-control: no-store"} <= set(lines)
    assert body == b"hello"


def test_route_found_by_get_is_found_by_head_without_its_body(mount: Mount) -> None:
    mount.client.send(request(b"", mount.path + b"/hello", method=b"HEAD"))
    received = mount.client.received().lower()
    assert b"\r\ncontent-length: 5\r\n" in received
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS"])
def test_route_found_by_get_is_unknown_by_another_method(method: bytes, mount: Mount) -> None:
    assert mount.ask(b"/hello", b"x", method=method) == (404, b"no /hello")


def test_route_is_found_by_its_methods(mount: Mount) -> None:
    for method, status in ((b"POST", 200), (b"PUT", 200), (b"GET", 404)):
        assert mount.ask(b"/echo", b"x", method=method)[0] == status
        assert mount.ask(b"/mirror", b"x", method=method) == (200, b"x")


def test_route_may_answer_later(mount: Mount) -> None:
    mount.client.send(request(b"", mount.path + b"/later", method=b"GET"))
    assert mount.client.received() == b""
    mount.pages.later.callback(Answer(200, b"done"))
    assert mount.client.answers() == [(200, b"done")]


def test_route_whose_client_is_gone_is_cancelled(mount: Mount) -> None:
    mount.client.send(request(b"", mount.path + b"/later", method=b"GET"))
    mount.client.transport.loseConnection()
    assert mount.pages.later.called


def test_error_of_grenache_is_answered_by_its_code_and_status(mount: Mount) -> None:
    assert mount.ask(b"/refuses") == (400, b'"ERR_GRAPE_NO"')


def test_fault_of_a_route_is_logged_and_its_text_not_shown(mount: Mount, logged_failures: list[LogEvent]) -> None:
    assert mount.ask(b"/fails") == (500, FAULT.body)
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_routes_of_another_class_are_mounted(mount: Mount) -> None:
    mount.pages.mounted.number = 25
    assert mount.ask(b"/mounted") == (200, b"25")
    assert {"/hello", "/mounted"} <= {route.path for route in Pages.route}


def test_body_over_the_limit_is_refused_by_a_site_without_a_limit() -> None:
    mount = Mount()
    mount.client.channel.site.max_payload_size = 10 * LIMIT
    assert mount.ask(b"/echo", b"x" * LIMIT, method=b"POST") == (200, b"x" * LIMIT)
    assert mount.ask(b"/echo", b"x" * (LIMIT + 1), method=b"POST") == (413, b"ERR_GRAPE_PAYLOAD_SIZE")


# Targets


@pytest.mark.parametrize(
    "target",
    [b"/", b"/nothing", b"//hello", b"/hello/", b"/hello//", b"/x/../hello", b"/%ff", b"/hello%ff", b"/%00", b"/*"],
)
def test_unknown_path_is_taken_literally_and_logs_nothing(target: bytes, mount: Mount) -> None:
    assert mount.ask(target) == (404, b"no " + target)


@pytest.mark.parametrize("target", [b"/hell%6f", b"/hello?", b"/hello?x=%ff"])
def test_path_of_a_route_may_be_encoded_and_have_a_query(target: bytes, mount: Mount) -> None:
    assert mount.ask(target) == (200, b"hello")


@pytest.mark.parametrize("target", [b"http://localhost/hello", b"HTTPS://127.0.0.1:1/hello?x"])
def test_absolute_target_is_served_as_its_path(target: bytes) -> None:
    mount = Mount(access=Access())
    mount.client.send(request(b"", target, method=b"GET").replace(b"Host: localhost", b"Host: evil.example"))
    assert mount.client.answers() == [(200, b"hello")]


def test_absolute_target_names_the_host_in_place_of_the_header() -> None:
    assert Mount(access=Access()).ask(b"http://evil.example/hello")[0] == 403


@pytest.mark.parametrize("target", [b"*", b"*hello", b"ftp://localhost/hello"])
def test_target_that_is_no_path_is_unknown(target: bytes) -> None:
    assert Mount().ask(target) == (404, b"no " + target)


# Access


def test_routes_are_under_the_access_rules() -> None:
    mount = Mount(b"/tools", Access(["https://app.example"]))
    for path in (b"/hello", b"/nothing", b"/mounted"):
        assert mount.ask(path, headers=EVIL)[0] == 403
        mount.client.send(request(b"", mount.path + path, b"Origin: https://app.example\r\n", b"GET"))
        assert b"access-control-allow-origin: https://app.example" in mount.client.received().lower()
    preflight = b"Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n"
    assert mount.ask(b"/hello", b"", preflight, b"OPTIONS") == (204, b"")


def test_exempt_route_is_served_whatever_host_and_origin_say() -> None:
    mount = Mount(access=Access())
    assert mount.ask(b"/livez", headers=EVIL) == (200, b"alive")
    assert mount.ask(b"/livez?verbose", headers=EVIL)[0] == 403
    mount.client.send(request(b"", b"/livez", method=b"GET").replace(b"localhost", b"evil.example"))
    assert mount.client.answers() == [(200, b"alive")]


def test_host_that_is_no_text_is_refused_and_logs_nothing() -> None:
    for access, status in ((Access(), 403), (None, 200)):
        mount = Mount(access=access)
        mount.client.send(request(b"", b"/hello", method=b"GET").replace(b"localhost", b"\xff"))
        assert [status for status, _ in mount.client.answers()] == [status]


@pytest.mark.parametrize("peer", [UNIXAddress(b"/run/grape"), IPv4Address("TCP", "10.0.0.1", 1)])
def test_request_without_a_host_header_is_served(peer: Any) -> None:
    mount = Mount(access=Access(), peer=peer)
    mount.client.send(b"GET /hello HTTP/1.0\r\n\r\n")
    assert mount.client.answers() == [(200, b"hello")]
    assert mount.pages.requests[0].peer == getattr(peer, "host", None)


# Declarations


def test_route_declared_twice_is_an_error() -> None:
    routes: Routes[Any] = Routes(Klein())
    declared = Route("/a", ("GET",), "", Right.READ)
    routes(declared, Route("/a", ("POST",), "", Right.READ))(lambda *_: Answer(200, b""))
    for methods in ((), ("POST", "PUT")):
        with pytest.raises(ValueError, match="the route /a is declared twice"):
            routes(Route("/a", methods, "", Right.READ))(lambda *_: Answer(200, b""))
    assert next(iter(routes)) == declared
