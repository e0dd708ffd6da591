"""Replays over real sockets the recordings that need raw bytes: targets, types, sizes, and malformed HTTP.

Where Node's HTTP server answers and not Grape (``transport/*``, unknown methods), any answer that the standard allows
is right, as long as the grape serves the next connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from grape import Grape
from grape.config import MAX_PAYLOAD_BYTES
from grape.web.access import Access
from grape.web.api import Api
from grape.web.lazy_site import LazySite
from grape.web.server import HTTPServerFactory
from tests.http_vectors import RAW_VECTORS, SOCKET_VECTORS, RawVector, Step, Vector

reactor: Any = global_reactor

LOOKUP = b'POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 23\r\n\r\n{"data":"next-unknown"}'
CHUNK_BYTES = 1_000

NOT_FOUND = 200, b'"ERR_REQ_NOTFOUND"'
NO_PEERS = 200, b"[]"
INVALID = 500, b"ERR_GRAPE_PAYLOAD_INVALID"
TOO_BIG = 413, b"ERR_GRAPE_PAYLOAD_SIZE"

# Where our answer differs from the recorded one on purpose, and why.
DEVIATIONS = {
    "route/lookup-capital": (NOT_FOUND, "paths are not camel-cased"),
    "route/dash-lookup": (NOT_FOUND, "paths are not camel-cased"),
    "route/lookup-dash": (NOT_FOUND, "paths are not camel-cased"),
    "route/underscore-lookup": (NOT_FOUND, "paths are not camel-cased"),
    "route/lookup-underscore": (NOT_FOUND, "paths are not camel-cased"),
    "route/absolute": (NO_PEERS, "an absolute URL is served as its path (RFC 9112, 3.2.2)"),
    "cli/size-2MB": (TOO_BIG, "the command has the library's limit"),
}

CLOSED = 0
# The answers that the standard allows: statuses, CLOSED for a connection that is closed without one, or whole answers.
CONFORMING: dict[str, set[int | tuple[int, bytes]]] = {
    "method/CONNECT": {400, 405, 500, 501, CLOSED},
    "method/unknown-FOO": {NO_PEERS, 400, 405, 501},
    "method/lowercase-post": {NO_PEERS, 400, 405, 501},
    "transport/connection-close": {NO_PEERS},
    "transport/expect-other": {NO_PEERS, 417},
    "transport/upgrade-ignored": {NO_PEERS},
    "transport/header-over-16k": {431},
    "transport/url-over-16k": {414, 431},
    "transport/garbage-request-line": {400, CLOSED},
    "transport/lf-only": {NO_PEERS, 400, CLOSED},
    "transport/negative-content-length": {400},
    "transport/content-length-and-chunked": {400},
    "transport/bad-chunk": {400, CLOSED},
    # 403: over loopback, "x" does not name this machine.
    "transport/post-without-length": {INVALID, 411, 403},
    "transport/client-half-closes-after-full-request": {NO_PEERS},
    "transport/http2-preface": {400, 505, CLOSED},
    # 403: a page's origin is not asked for its body.
    "transport/cors-preflight": {INVALID, 403},
}


@attrs.frozen
class Reply:
    """An answer, or CLOSED and nothing."""

    status: int
    body: bytes


class Conversation(Protocol):
    """A client's connection that waits for one answer."""

    def __init__(self, *, has_body: bool) -> None:
        self._has_body = has_body
        self._received = b""
        self.reply: Deferred[Reply] = Deferred()
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        reply = self._parse()
        if reply is not None and not self.reply.called:
            self.reply.callback(reply)

    def connectionLost(self, reason: object = None) -> None:
        if not self.reply.called:
            assert not self._received, f"half an answer: {self._received!r}"
            self.reply.callback(Reply(CLOSED, b""))
        self.closed.callback(None)

    def _parse(self) -> Reply | None:
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        status_line, *lines = head.split(b"\r\n")
        version, status = status_line.split(b" ")[:2]
        assert version == b"HTTP/1.1"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        # An answer without a length ends with its connection: all of ours that have a body have a length.
        length = int(headers.get(b"content-length", b"0")) if self._has_body else 0
        return Reply(int(status), body) if len(body) >= length else None


async def exchange(grape: Grape, sent: bytes, *, has_body: bool = True, half_close: bool = False) -> Reply:
    """Sends bytes on a connection of their own, and closes it after the answer."""
    assert grape.api_port is not None
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", grape.api_port)
    conversation: Conversation = await connectProtocol(endpoint, Conversation(has_body=has_body))
    transport: Any = conversation.transport
    transport.write(sent)
    if half_close:
        transport.loseWriteConnection()
    reply = await conversation.reply
    transport.abortConnection()
    await conversation.closed
    return reply


def request(step: Step) -> bytes:
    """Returns the bytes of a recorded request."""
    headers = {"Host": "127.0.0.1", **step.headers}
    body = step.body
    if step.chunked:
        headers["Transfer-Encoding"] = "chunked"
        chunks = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    elif body:
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{step.method} {step.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def is_conforming(name: str, reply: Reply) -> bool:
    allowed = CONFORMING[name]
    return reply.status in allowed or (reply.status, reply.body) in allowed


@pytest_twisted.async_yield_fixture()  # type: ignore[untyped-decorator]
async def grape() -> AsyncIterator[Grape]:
    service = Grape(dht_port=0, api_port=0, host="127.0.0.1")
    service.startService()
    yield service
    await service.stopService()


@pytest.mark.parametrize("vector", SOCKET_VECTORS, ids=str)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_recorded_request_gets_the_recorded_answer(vector: Vector, grape: Grape) -> None:
    (step,) = vector.steps
    reply = await exchange(grape, request(step))
    if vector.name in CONFORMING:
        assert is_conforming(vector.name, reply), reply
    else:
        recorded = (step.status, step.expected.encode()), ""
        expected, why = DEVIATIONS.get(vector.name, recorded)
        assert (reply.status, reply.body) == expected, why
    assert await exchange(grape, LOOKUP) == Reply(*NO_PEERS)


@pytest.mark.parametrize("vector", RAW_VECTORS, ids=str)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_raw_bytes_get_an_answer_that_the_standard_allows(vector: RawVector, grape: Grape) -> None:
    # Without CRLF the head has no end: say that there is no more of it.
    endless = vector.name == "transport/lf-only"
    reply = await exchange(grape, vector.sent, half_close=vector.half_closes or endless)
    assert is_conforming(vector.name, reply), reply
    assert await exchange(grape, LOOKUP) == Reply(*NO_PEERS)


def test_exceptions_name_vectors() -> None:
    names = {vector.name for vector in SOCKET_VECTORS} | {vector.name for vector in RAW_VECTORS}
    assert DEVIATIONS.keys() | CONFORMING.keys() <= names


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_foreign_page_is_refused_behind_a_request_for_the_site(grape: Grape) -> None:
    first = b"POST /other HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
    second = LOOKUP.replace(b"Host: 127.0.0.1", b"Host: 127.0.0.1\r\nOrigin: http://evil.example\r\nConnection: close")
    assert grape.api_port is not None
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", grape.api_port)
    conversation: Conversation = await connectProtocol(endpoint, Conversation(has_body=True))
    transport: Any = conversation.transport
    transport.write(first + second)
    await conversation.closed
    assert b"ERR_REQ_NOTFOUND" in conversation._received
    assert b" 403 " in conversation._received
    assert b"ERR_GRAPE_ORIGIN" in conversation._received


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_unix_socket_serves_calls_and_other_requests(grape: Grape, tmp_path: Path) -> None:
    api, site = Api(grape.node), LazySite(grape.resource, MAX_PAYLOAD_BYTES, reactor)
    server = HTTPServerFactory(api, site, reactor, Access(), MAX_PAYLOAD_BYTES, 100, 1)
    path = str(tmp_path / "grape.sock")
    port = reactor.listenUNIX(path, server)
    for version in (b"1.1", b"1.0"):
        endpoint = UNIXClientEndpoint(reactor, path)
        for target, answer in ((b"/lookup", NO_PEERS), (b"/nothing", NOT_FOUND), (b"/lookup", NO_PEERS)):
            sent = LOOKUP.replace(b"/lookup", target).replace(b"HTTP/1.1", b"HTTP/" + version)
            if version == b"1.0":
                sent = sent.replace(b"Host: 127.0.0.1\r\n", b"")
            conversation: Conversation = await connectProtocol(endpoint, Conversation(has_body=True))
            transport: Any = conversation.transport
            transport.write(sent)
            assert await conversation.reply == Reply(*answer)
            transport.abortConnection()
            await conversation.closed
    await port.stopListening()
    await site.close()
    await server.close()
