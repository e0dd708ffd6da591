"""The HTTP API as a Klein resource: mount it in any twisted.web site, at any path."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import Deferred, succeed
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from grape.web.access import Access
from grape.web.answer import PAYLOAD_TOO_BIG, Answer
from grape.web.api import Api

CALLS = ("lookup", "announce", "put", "get")


class GrapeResource:
    """The routes of one node's API.

    ``max_payload_size`` (bytes) is checked again here, for foreign sites; ``access`` says whose requests are served,
    None leaves that to the site.
    """

    app = Klein()
    # Paths are taken as they are: "//lookup" and "/lookup/" are no calls, and no redirects either.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False

    def __init__(self, api: Api, max_payload_size: int, access: Access | None = None) -> None:
        self._api = api
        self._access = access
        self._max_payload_size = max_payload_size

    def resource(self) -> IResource:
        """The resource to mount."""
        resource: IResource = self.app.resource()
        return resource

    @app.route("/lookup")
    def lookup(self, request: IRequest) -> Deferred[bytes]:
        """The peers of a service: ``{"data": "name"}``."""
        return self._call(request, b"/lookup")

    @app.route("/announce")
    def announce(self, request: IRequest) -> Deferred[bytes]:
        """Announce a service: ``{"data": ["name", port]}``."""
        return self._call(request, b"/announce")

    @app.route("/put")
    def put(self, request: IRequest) -> Deferred[bytes]:
        """Store a value: ``{"data": {"v": value}}``."""
        return self._call(request, b"/put")

    @app.route("/get")
    def get(self, request: IRequest) -> Deferred[bytes]:
        """Fetch a value: ``{"data": "hash"}``."""
        return self._call(request, b"/get")

    @app.handle_errors(HTTPException)
    def unknown(self, request: IRequest, failure: object) -> Deferred[bytes]:
        """Any other path: the body is judged first, as for the calls."""
        return self._call(request, b"")

    def _call(self, request: IRequest, path: bytes) -> Deferred[bytes]:
        refusal = self._refusal(request)
        body = request.content.read(self._max_payload_size + 1)
        if refusal is not None:
            answered: Deferred[Answer] = succeed(refusal)
        elif len(body) > self._max_payload_size:
            answered = succeed(PAYLOAD_TOO_BIG)
        else:
            # The router decodes "%75", passes over "?x=1" and merges slashes in front; the reference does not.
            uri = request.uri
            literal = uri.endswith(path) and b"?" not in uri and not uri.endswith(b"/" + path)
            answered = self._api.call(path if literal else b"", body)
        return answered.addCallback(_write_head, request)

    def _refusal(self, request: IRequest) -> Answer | None:
        if self._access is None:
            return None
        given = request.requestHeaders.getAllRawHeaders()
        headers = {name.lower(): b", ".join(values) for name, values in given}
        return self._access.refusal(request.method, headers, request.getHost().host)


def _write_head(answer: Answer, request: IRequest) -> bytes:
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type)
    request.setHeader(b"content-length", b"%d" % len(answer.body))
    return answer.body
