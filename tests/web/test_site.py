"""grape.web.site: bodies are limited as they arrive; connections are served in order, and closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from grape.web.connection import DISCARDED_BYTES, IDLE_SECONDS
from grape.web.server import CLOSING_SECONDS
from grape.web.site import GrapeSite
from tests.web.helpers import LIMIT, SiteClient, chunked, request


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
def connect(site: GrapeSite) -> Callable[[], SiteClient]:
    return lambda: SiteClient(site)


TOO_BIG = [(413, b"ERR_GRAPE_PAYLOAD_SIZE")]

# The limit


@pytest.mark.parametrize("request_of", [request, chunked])
def test_body_of_the_limit_is_taken(
    request_of: Callable[[bytes], bytes], connect: Callable[[], SiteClient], echo: Echo
) -> None:
    connection = connect()
    connection.send(request_of(b"x" * LIMIT))
    assert connection.answers() == [(200, b"x" * LIMIT)]
    assert connection.is_open


def test_declared_length_over_the_limit_is_refused_before_the_body(
    connect: Callable[[], SiteClient], echo: Echo
) -> None:
    connection = connect()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1))
    assert connection.answers() == TOO_BIG
    connection.send(b"x" * (LIMIT + 1))
    assert not connection.is_open
    assert connection.received() == b""
    assert not echo.bodies


def test_chunked_body_is_refused_at_the_first_byte_over_the_limit(
    connect: Callable[[], SiteClient], echo: Echo
) -> None:
    connection = connect()
    connection.send(chunked(b"x" * LIMIT, size=LIMIT, end=False))
    assert connection.received() == b""
    connection.send(b"1\r\nx\r\n")
    assert connection.answers() == TOO_BIG
    connection.send(b"5\r\nxxxxx\r\n", b"0\r\n\r\n")
    assert not connection.is_open
    assert connection.received() == b""
    assert not echo.bodies


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_bytes_after_a_refused_body_are_not_read(
    byte_by_byte: bool, connect: Callable[[], SiteClient], echo: Echo
) -> None:
    connection = connect()
    data = request(b"x" * (LIMIT + 1)) + request(b"smuggled")
    connection.send(*([data[at : at + 1] for at in range(len(data))] if byte_by_byte else [data]))
    assert connection.answers() == TOO_BIG
    assert not connection.is_open
    assert not echo.bodies


@pytest.mark.parametrize("head", [request(b"x" * (DISCARDED_BYTES * 3))[:100], chunked(b"", end=False)])
def test_refused_body_that_goes_on_for_too_long_is_cut_off(head: bytes, connect: Callable[[], SiteClient]) -> None:
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


@pytest.mark.parametrize(
    "data", [request(b"x" * LIMIT)[:-1], chunked(b"x" * LIMIT, size=LIMIT, end=False), request(b"x" * 999_999)[:80]]
)
def test_body_is_kept_in_memory(data: bytes, connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    connection.send(data)
    content: Any = connection.channel.requests[0].content
    assert type(content).__name__ == "BytesIO"
    assert len(content.getvalue()) <= LIMIT


def test_refused_client_that_sends_nothing_more_is_dropped(connect: Callable[[], SiteClient], clock: Clock) -> None:
    connection = connect()
    connection.send(request(b"x" * (LIMIT + 1))[:-1])
    assert connection.answers() == TOO_BIG
    clock.advance(IDLE_SECONDS)
    assert not connection.is_open


# Types of bodies


@pytest.mark.parametrize(
    "content_type",
    [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"multipart/form-data", b"x; charset=y"],
)
def test_body_is_not_decoded_whatever_its_type(content_type: bytes, connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    connection.send(request(b'{"data":"a=b&c"}', headers=b"Content-Type: %b\r\n" % content_type))
    assert connection.answers() == [(200, b'{"data":"a=b&c"}')]


# Connections


def test_unix_socket_is_served(site: GrapeSite) -> None:
    connection = SiteClient(site, UNIXAddress(b"/run/grape"))
    connection.send(request(b"hello") + request(b"hello", version=b"1.0").replace(b"Host: localhost\r\n", b""))
    assert connection.answers() == [(200, b"hello")] * 2


def test_connection_serves_one_request_after_the_other(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    for body in (b"one", b"two", b"three"):
        connection.send(request(body))
        assert connection.answers() == [(200, body)]


def test_pipelined_requests_are_answered_in_order(connect: Callable[[], SiteClient], echo: Echo) -> None:
    echo.holding = True
    connection = connect()
    connection.send(request(b"one") + chunked(b"two", size=3) + request(b"three"))
    for body in (b"one", b"two", b"three"):
        assert connection.received() == b""
        echo.release()
        assert connection.answers() == [(200, body)]


def test_body_over_the_limit_behind_another_request_is_refused_after_its_answer(
    connect: Callable[[], SiteClient], echo: Echo
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(request(b"one") + request(b"x" * (LIMIT + 1)))
    assert connection.received() == b""
    echo.release()
    assert connection.answers() == [(200, b"one"), *TOO_BIG]
    assert not connection.is_open


def test_expect_continue_is_answered(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    head, body = request(b"hello", headers=b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert connection.answers() == [(200, b"hello")]


def test_expect_continue_of_a_body_over_the_limit_is_refused(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    head, _ = request(b"x" * (LIMIT + 1), headers=b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.answers() == TOO_BIG


def test_http_1_0_is_answered_and_closed(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    connection.send(request(b"hello", version=b"1.0"))
    assert connection.answers() == [(200, b"hello")]
    assert not connection.is_open


def test_connection_close_is_obeyed(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    connection.send(request(b"hello", headers=b"Connection: close\r\n"))
    assert connection.answers() == [(200, b"hello")]
    assert not connection.is_open


def test_head_is_answered_without_the_body(connect: Callable[[], SiteClient]) -> None:
    connection = connect()
    connection.send(request(b"hello", method=b"HEAD"))
    head, _, body = connection.received().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 5" in head.lower()
    assert body == b""
    connection.send(request(b"next"))
    assert connection.answers() == [(200, b"next")]


def test_idle_connection_is_closed_without_a_line_in_the_log(connect: Callable[[], SiteClient], clock: Clock) -> None:
    connection = connect()
    with capturedLogs() as logs:
        clock.advance(IDLE_SECONDS - 1)
        connection.send(request(b"hello"))
        clock.advance(IDLE_SECONDS - 1)
        assert connection.is_open
        clock.advance(1)
        assert not connection.is_open
    assert logs == []


def test_client_that_leaves_is_forgotten(connect: Callable[[], SiteClient], echo: Echo, site: GrapeSite) -> None:
    echo.holding = True
    connection = connect()
    connection.send(request(b"hello"))
    connection.transport.loseConnection()
    assert not site.connections
    assert not site.active


# Closing


def is_closed(closing: Deferred[None]) -> bool:
    return closing.called


def test_site_without_connections_is_closed_at_once(site: GrapeSite) -> None:
    assert is_closed(site.close())


def test_closing_ends_idle_connections_now_and_others_when_they_are_answered(
    connect: Callable[[], SiteClient], echo: Echo, site: GrapeSite, clock: Clock
) -> None:
    echo.holding = True
    idle, busy = connect(), connect()
    busy.send(request(b"one"))
    closing = site.close()
    assert not idle.is_open
    assert not is_closed(closing)
    echo.release()
    assert busy.answers() == [(200, b"one")]
    assert not busy.is_open
    assert is_closed(closing)
    assert not clock.getDelayedCalls()


def test_pipelined_request_under_way_keeps_its_connection_from_closing(
    connect: Callable[[], SiteClient], echo: Echo, site: GrapeSite
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(request(b"one") + request(b"two"))
    echo.release()
    closing = site.close()
    assert connection.is_open
    echo.release()
    assert connection.answers() == [(200, b"one"), (200, b"two")]
    assert is_closed(closing)


def test_closing_is_limited_in_time(
    connect: Callable[[], SiteClient], echo: Echo, site: GrapeSite, clock: Clock
) -> None:
    echo.holding = True
    connection = connect()
    connection.send(request(b"one"))
    closing = site.close()
    clock.advance(CLOSING_SECONDS)
    assert not connection.is_open
    assert is_closed(closing)
    assert not clock.getDelayedCalls()


def test_site_can_be_closed_again(connect: Callable[[], SiteClient], site: GrapeSite) -> None:
    for _ in range(2):
        connection = connect()
        assert is_closed(site.close())
        assert not connection.is_open
