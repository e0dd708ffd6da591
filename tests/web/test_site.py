"""The listening side of the HTTP API: bodies are limited where they arrive, connections live and end in good order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

import grape.web.connection
from grape.web.site import CLOSING_SECONDS, DISCARDED_BYTES, IDLE_SECONDS, GrapeChannel, GrapeSite

LIMIT = 100
PEER = IPv4Address("TCP", "127.0.0.1", 12_345)


class Echo(Resource):
    """Answers each request with its body; while ``holding``, only when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.holding = False
        self.held: list[Request] = []
        self.bodies: list[bytes] = []

    def render(self, request: Request) -> int:
        content: Any = request.content
        self.bodies.append(content.read())
        self.held.append(request)
        if not self.holding:
            self.release()
        return NOT_DONE_YET

    def release(self) -> None:
        """Answer the oldest request that waits."""
        request = self.held.pop(0)
        body = self.bodies[-1 - len(self.held)]
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()


class Connection:
    """A client's connection to a site, in memory."""

    def __init__(self, site: GrapeSite) -> None:
        channel = site.buildProtocol(PEER)
        assert isinstance(channel, GrapeChannel)
        self.channel = channel
        self.transport = StringTransportWithDisconnection(peerAddress=PEER)
        self.transport.protocol = channel
        channel.makeConnection(self.transport)

    def send(self, *data: bytes) -> None:
        for part in data:
            if self.is_open:
                self.channel.dataReceived(part)

    def received(self) -> bytes:
        """What came back since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def answers(self) -> list[tuple[int, bytes]]:
        """The statuses and bodies that came back since the last time; all have a length."""
        data, answers = self.received(), []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            status = int(head.split(b" ")[1])
            lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            length = int(lengths[0].split(b":")[1]) if lengths else 0
            answers.append((status, data[:length]))
            data = data[length:]
        return answers

    @property
    def is_open(self) -> bool:
        return self.transport.connected


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def site(echo: Echo, clock: Clock) -> GrapeSite:
    return GrapeSite(echo, LIMIT, clock)


@pytest.fixture
def connect(site: GrapeSite) -> Callable[[], Connection]:
    return lambda: Connection(site)


def post(body: bytes, *headers: bytes, version: bytes = b"1.1", method: bytes = b"POST") -> bytes:
    lines = b"".join(b"%b\r\n" % header for header in (b"Host: a", b"Content-Length: %d" % len(body), *headers))
    return b"%b /x HTTP/%b\r\n%b\r\n%b" % (method, version, lines, body)


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, *([b""] if end else []))]
    return b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


TOO_BIG = [(413, b"ERR_GRAPE_PAYLOAD_SIZE")]

# The limit


@pytest.mark.parametrize("request_of", [post, chunked])
def test_a_body_of_the_limit_is_taken(
    request_of: Callable[[bytes], bytes], connect: Callable[[], Connection], echo: Echo
) -> None:
    connection = connect()
    connection.send(request_of(b"x" * LIMIT))
    assert connection.answers() == [(200, b"x" * LIMIT)]
    assert connection.is_open


def test_a_declared_length_that_is_too_much_is_refused_before_the_body(
    connect: Callable[[], Connection], echo: Echo
) -> None:
    connection = connect()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1))
    assert connection.answers() == TOO_BIG
    connection.send(b"x" * (LIMIT + 1))
    assert not connection.is_open
    assert connection.received() == b""
    assert not echo.bodies


def test_a_chunked_body_is_refused_at_the_first_byte_too_many(connect: Callable[[], Connection], echo: Echo) -> None:
    connection = connect()
    connection.send(chunked(b"x" * LIMIT, end=False))
    assert connection.received() == b""
    connection.send(b"1\r\nx\r\n")
    assert connection.answers() == TOO_BIG
    connection.send(b"5\r\nxxxxx\r\n", b"0\r\n\r\n")
    assert not connection.is_open
    assert connection.received() == b""
    assert not echo.bodies


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_nothing_after_a_refused_body_is_read(
    byte_by_byte: bool, connect: Callable[[], Connection], echo: Echo
) -> None:
    connection = connect()
    data = post(b"x" * (LIMIT + 1)) + post(b"smuggled")
    connection.send(*([data[at : at + 1] for at in range(len(data))] if byte_by_byte else [data]))
    assert connection.answers() == TOO_BIG
    assert not connection.is_open
    assert not echo.bodies


@pytest.mark.parametrize("head", [post(b"x" * (DISCARDED_BYTES * 3))[:100], chunked(end=False)])
def test_a_refused_body_that_goes_on_for_too_long_is_cut_off(head: bytes, connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(head)
    piece = b"x" * 65_536
    if b"chunked" in head:
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    sent = 0
    while connection.is_open and sent < 2 * DISCARDED_BYTES:
        connection.send(piece)
        sent += len(piece)
    assert not connection.is_open
    assert sent > DISCARDED_BYTES
    assert connection.answers() == TOO_BIG


@pytest.mark.parametrize("data", [post(b"x" * LIMIT)[:-1], chunked(b"x" * LIMIT, end=False), post(b"x" * 999_999)[:80]])
def test_a_body_is_kept_in_memory(data: bytes, connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(data)
    content: Any = connection.channel.requests[0].content
    assert type(content).__name__ == "BytesIO"
    assert len(content.getvalue()) <= LIMIT


def test_a_refused_client_that_keeps_silent_is_dropped(connect: Callable[[], Connection], clock: Clock) -> None:
    connection = connect()
    connection.send(post(b"x" * (LIMIT + 1))[:-1])
    assert connection.answers() == TOO_BIG
    clock.advance(IDLE_SECONDS)
    assert not connection.is_open


# Types of bodies


@pytest.mark.parametrize(
    "content_type",
    [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"multipart/form-data", b"x; charset=y"],
)
def test_a_body_is_taken_as_it_is_whatever_its_type(content_type: bytes, connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(post(b'{"data":"a=b&c"}', b"Content-Type: " + content_type))
    assert connection.answers() == [(200, b'{"data":"a=b&c"}')]


# Connections


def test_a_connection_serves_one_request_after_the_other(connect: Callable[[], Connection]) -> None:
    connection = connect()
    for body in (b"one", b"two", b"three"):
        connection.send(post(body))
        assert connection.answers() == [(200, body)]


def test_pipelined_requests_are_answered_in_order(connect: Callable[[], Connection], echo: Echo) -> None:
    echo.holding = True
    connection = connect()
    connection.send(post(b"one") + chunked(b"two") + post(b"three"))
    for body in (b"one", b"two", b"three"):
        assert connection.received() == b""
        echo.release()
        assert connection.answers() == [(200, body)]


def test_a_body_too_big_behind_another_request_is_refused_after_its_answer(
    connect: Callable[[], Connection], echo: Echo
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(post(b"one") + post(b"x" * (LIMIT + 1)))
    assert connection.received() == b""
    echo.release()
    assert connection.answers() == [(200, b"one"), *TOO_BIG]
    assert not connection.is_open


def test_who_expects_to_be_told_so_is_told_to_continue(connect: Callable[[], Connection]) -> None:
    connection = connect()
    head, body = post(b"hello", b"Expect: 100-continue").split(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert connection.answers() == [(200, b"hello")]


def test_who_expects_to_send_too_much_is_told_to_stop(connect: Callable[[], Connection]) -> None:
    connection = connect()
    head, _ = post(b"x" * (LIMIT + 1), b"Expect: 100-continue").split(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.answers() == TOO_BIG


def test_http_1_0_is_answered_and_closed(connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(post(b"hello", version=b"1.0"))
    assert connection.answers() == [(200, b"hello")]
    assert not connection.is_open


def test_connection_close_is_heeded(connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(post(b"hello", b"Connection: close"))
    assert connection.answers() == [(200, b"hello")]
    assert not connection.is_open


def test_head_gets_the_head_alone(connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.send(post(b"hello", method=b"HEAD"))
    head, _, body = connection.received().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 5" in head.lower()
    assert body == b""
    connection.send(post(b"next"))
    assert connection.answers() == [(200, b"next")]


def test_an_idle_connection_is_closed_after_a_while(connect: Callable[[], Connection], clock: Clock) -> None:
    assert IDLE_SECONDS == grape.web.connection.IDLE_SECONDS
    connection = connect()
    with capturedLogs() as logs:
        clock.advance(IDLE_SECONDS - 1)
        connection.send(post(b"hello"))
        clock.advance(IDLE_SECONDS - 1)
        assert connection.is_open
        clock.advance(1)
        assert not connection.is_open
    assert logs == []


def test_a_client_that_leaves_is_forgotten(connect: Callable[[], Connection], echo: Echo, site: GrapeSite) -> None:
    echo.holding = True
    connection = connect()
    connection.send(post(b"hello"))
    connection.transport.loseConnection()
    assert not site.connections
    assert not site.active


# Closing


def is_closed(closing: Deferred[None]) -> bool:
    return closing.called


def test_a_site_without_connections_is_closed_at_once(site: GrapeSite) -> None:
    assert is_closed(site.close())


def test_closing_ends_idle_connections_now_and_others_when_they_are_answered(
    connect: Callable[[], Connection], echo: Echo, site: GrapeSite, clock: Clock
) -> None:
    echo.holding = True
    idle, busy = connect(), connect()
    busy.send(post(b"one"))
    closing = site.close()
    assert not idle.is_open
    assert not is_closed(closing)
    echo.release()
    assert busy.answers() == [(200, b"one")]
    assert not busy.is_open
    assert is_closed(closing)
    assert not clock.getDelayedCalls()


def test_a_pipelined_request_under_way_keeps_its_connection_from_closing(
    connect: Callable[[], Connection], echo: Echo, site: GrapeSite
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(post(b"one") + post(b"two"))
    echo.release()
    closing = site.close()
    assert connection.is_open
    echo.release()
    assert connection.answers() == [(200, b"one"), (200, b"two")]
    assert is_closed(closing)


def test_closing_does_not_wait_for_ever(
    connect: Callable[[], Connection], echo: Echo, site: GrapeSite, clock: Clock
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(post(b"one"))
    closing = site.close()
    clock.advance(CLOSING_SECONDS)
    assert not connection.is_open
    assert is_closed(closing)
    assert not clock.getDelayedCalls()


def test_a_site_can_be_closed_again(connect: Callable[[], Connection], site: GrapeSite) -> None:
    for _ in range(2):
        connection = connect()
        assert is_closed(site.close())
        assert not connection.is_open
