"""grape.web.server and connection: order, limits, hand-over and closing of connections, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed

from grape.coalesce import Cancellable
from grape.web.access import Access
from grape.web.answer import OVERLOADED, Answer
from grape.web.connection import IDLE_SECONDS, LINGER_SECONDS, MAX_PIPELINED
from grape.web.parser import BODY_SECONDS, HEAD_SECONDS
from grape.web.request import Request
from grape.web.server import NEW_SECONDS
from tests.web.helpers import LIMIT, MAX_CONNECTIONS, PER_HOST, Server, answers, open_clients, request

# Order


def test_answers_come_in_the_order_of_the_requests(server: Server) -> None:
    client = server.connect()
    client.send(request(b"1") + request(b"2", b"/announce"))
    assert server.api.made == [(b"/lookup", b"1"), (b"/announce", b"2")]
    server.answer(1, b"second")
    assert client.value() == b""
    server.answer(0, b"first")
    assert answers(client.value()) == [(200, b"first"), (200, b"second")]
    assert client.ended == ""


def test_request_may_come_byte_by_byte(server: Server) -> None:
    client = server.connect()
    for byte in request(b"abc"):
        client.send(bytes([byte]))
    assert server.api.made == [(b"/lookup", b"abc")]


def test_pipelined_requests_are_limited(server: Server) -> None:
    client = server.connect()
    client.send(request() * (MAX_PIPELINED + 5))
    assert len(server.api.made) == MAX_PIPELINED
    assert client.producerState == "paused"
    for index in range(MAX_PIPELINED + 5):
        server.answer(index, b"[]")
    assert client.value().count(b"200 OK") == MAX_PIPELINED + 5
    assert client.producerState == "producing"


def test_pipelined_calls_that_are_answered_at_once_are_made_once_each(server: Server) -> None:
    made: list[bytes] = []
    waiting: Deferred[Answer] = Deferred()

    def answer(request: Request, done: Callable[[Answer], object]) -> Cancellable:
        made.append(request.body)
        return (waiting if request.body == b"0" else succeed(Answer(200, request.body))).addCallback(done)

    server.api.answer = answer  # type: ignore[method-assign]
    client = server.connect()
    client.send(b"".join(request(b"%d" % n) for n in range(600)))
    waiting.callback(Answer(200, b"0"))
    client.send(request(b"last"))
    expected = [b"%d" % n for n in range(600)] + [b"last"]
    assert made == expected
    assert answers(client.value()) == [(200, body) for body in expected]
    assert client.protocol.is_idle


def test_client_that_does_not_read_is_not_read_from(server: Server) -> None:
    client = server.connect()
    client.protocol.pauseProducing()
    client.send(request() * MAX_PIPELINED)
    assert server.api.made == []
    assert client.producerState == "paused"
    client.protocol.resumeProducing()
    for index in range(MAX_PIPELINED):
        server.answer(index, b"[]")
    assert client.producerState == "producing"


def test_client_that_leaves_has_its_calls_cancelled(server: Server) -> None:
    client = server.connect()
    client.send(request() * 3)
    client.abortConnection()
    assert server.api.cancelled == 3
    assert len(server.factory) == 0


def test_refusal_waits_for_the_answers_before_it(server: Server) -> None:
    client = server.connect()
    client.send(request() + b"garbage\r\n\r\n")
    assert client.value() == b""
    server.answer(0, b"[]")
    assert answers(client.value()) == [(200, b"[]"), (400, b"")]


# What the API gets


@pytest.mark.parametrize(("host", "peer"), [("10.1.2.3", "10.1.2.3"), ("fd00::1", "fd00::1"), (None, None)])
def test_api_gets_method_target_headers_and_peer(host: str | None, peer: str | None, server: Server) -> None:
    client = server.connect(host)
    # The third is taken from the cache of heads.
    for sent in (request(b"1", method=b"PUT", headers=b"X-A: b\r\n"), request(b"2"), request(b"3")):
        client.send(sent)
    put, post, known = server.api.requests
    assert (put.method, put.target, put.headers[b"x-a"], put.peer) == (b"PUT", b"/lookup", b"b", peer)
    for got, body in ((post, b"2"), (known, b"3")):
        assert (got.method, got.target, got.peer, got.body) == (b"POST", b"/lookup", peer, body)
        assert got.headers == {b"host": b"localhost", b"content-length": b"1"}


def test_unix_sockets_have_no_limit_for_one_host(server: Server) -> None:
    clients = [server.connect(None) for _ in range(PER_HOST + 5)]
    clients[0].send(request())
    server.answer(0, b"[]")
    assert answers(clients[0].value()) == [(200, b"[]")]
    clients[1].send(request(path=b"/page"))
    assert b"page of /page {}" in clients[1].value()
    assert len(open_clients(clients)) == PER_HOST + 5


# Answers


def test_answer_has_its_own_headers_and_those_of_an_allowed_origin() -> None:
    server = Server(Access(["https://app.example"]))
    client = server.connect()
    client.send(request(headers=b"Origin: https://app.example\r\n"))
    server.api.answers[0].callback(OVERLOADED)
    head = client.value()
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in head
    assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head
    server.close()


def test_head_is_answered_without_the_body(server: Server) -> None:
    client = server.connect()
    client.send(request(method=b"HEAD"))
    server.answer(0, b"12345")
    assert b"\r\nContent-Length: 5\r\n" in client.value()
    assert client.value().endswith(b"\r\n\r\n")


# Limits of size and time


@pytest.mark.parametrize(
    "sent",
    [
        request(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (LIMIT + 1)),
        request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"65\r\n" + b"x" * (LIMIT + 1),
    ],
    ids=["declared", "chunked"],
)
def test_body_that_is_too_big_is_refused_before_it_is_complete(sent: bytes, server: Server) -> None:
    client = server.connect()
    client.send(sent)
    assert answers(client.value()) == [(413, b"ERR_GRAPE_PAYLOAD_SIZE")]
    assert client.ended == "half closed"
    assert server.api.made == []
    server.clock.advance(LINGER_SECONDS + 1)
    assert client.ended == "aborted"


@pytest.mark.parametrize(
    ("start", "seconds"),
    [
        (b"POST /lo", HEAD_SECONDS),
        (b"POST /lookup HTTP/1.1\r\nHo", HEAD_SECONDS),
        (request(b"12")[:-1], BODY_SECONDS),
        (request(b"12", headers=b"Expect: 100-continue\r\n")[:-2], BODY_SECONDS),
        (b"", HEAD_SECONDS),
    ],
    ids=["request line", "head", "body", "expected body", "nothing"],
)
def test_slow_request_is_cut_off_however_often_a_byte_comes(start: bytes, seconds: float, server: Server) -> None:
    client = server.connect()
    client.send(start)
    for _ in range(int(seconds) - 1):
        server.clock.advance(1)
        if start.endswith(b"o"):
            client.send(b"o")
    assert client.ended == ""
    server.clock.advance(3)
    assert client.ended == "aborted"


def test_idle_connection_is_closed_but_not_one_that_waits_for_its_answer(server: Server) -> None:
    waiting, _ = server.waiting(), server.served()
    server.clock.advance(IDLE_SECONDS + 2)
    assert open_clients(server.transports) == [0]
    server.answer(0, b"[]")
    assert waiting.ended == ""


def test_idle_connection_of_the_site_is_closed_as_soon(server: Server) -> None:
    client = server.connect()
    client.send(request(path=b"/page"))
    server.clock.advance(IDLE_SECONDS - 1)
    assert client.ended == ""
    server.clock.advance(1)
    assert client.ended == "aborted"


# Limits of number


def test_connections_without_a_request_are_closed_first_the_oldest_of_them_first(server: Server) -> None:
    honest = [server.served() for _ in range(MAX_CONNECTIONS - 5)]
    server.clock.advance(1)
    silent = [server.connect() for _ in range(5)]
    silent[0].send(request()[:40])
    newcomers = []
    for _ in range(8):
        server.clock.advance(NEW_SECONDS)
        newcomers.append(server.connect())
    assert open_clients(honest) == list(range(MAX_CONNECTIONS - 5))
    assert open_clients(silent) == []
    assert open_clients(newcomers) == [3, 4, 5, 6, 7]
    assert (*server.turned_away, len(server.factory)) == (8, 0, MAX_CONNECTIONS)


def test_connections_that_come_together_do_not_close_each_other(server: Server) -> None:
    idle = [server.served() for _ in range(MAX_CONNECTIONS)]
    newcomers = [server.connect() for _ in range(5)]
    assert (open_clients(newcomers), len(open_clients(idle))) == ([0, 1, 2, 3, 4], MAX_CONNECTIONS - 5)


def test_longest_unused_connection_of_the_busiest_host_is_closed(server: Server) -> None:
    honest = server.served("10.0.0.1")
    many = [server.served() for _ in range(MAX_CONNECTIONS - 1)]
    many[0].send(request())
    server.answer(-1, b"[]")
    server.connect("10.0.0.2")
    assert honest.ended == ""
    assert open_clients(many) == [0, *range(2, MAX_CONNECTIONS - 1)]


def test_newcomer_is_closed_if_all_others_wait_for_answers(server: Server) -> None:
    waiting = [server.waiting() for _ in range(MAX_CONNECTIONS)]
    newcomer = server.connect()
    assert newcomer.ended == "aborted"
    assert len(open_clients(waiting)) == len(server.factory) == MAX_CONNECTIONS
    assert server.turned_away == (0, 1)


def test_host_over_its_own_limit_loses_a_connection_of_its_own(server: Server) -> None:
    other = server.connect("10.0.0.2")
    busy = [server.waiting("10.0.0.1") for _ in range(PER_HOST - 1)]
    idle = server.served("10.0.0.1")
    first = server.waiting("10.0.0.1")
    assert (idle.ended, first.ended) == ("aborted", "")
    second = server.connect("10.0.0.1")
    assert second.ended == "aborted"
    assert len(open_clients(busy)) == PER_HOST - 1
    assert other.ended == ""
    assert server.turned_away == (1, 1)


# Other requests


def test_other_requests_go_to_the_site_in_order(server: Server) -> None:
    client = server.connect()
    client.send(request() + request(b"body", b"/page?x=1") + request(b"", b"/lookup"))
    assert client.value() == b""
    server.answer(0, b"call")
    value = client.value()
    assert value.index(b"call") < value.index(b"page of /page?x=1 body") < value.index(b"page of /lookup")


def test_other_requests_are_judged_by_the_site(server: Server) -> None:
    client = server.connect()
    client.send(request(path=b"/page", headers=b"Origin: http://evil.example\r\n"))
    assert b"page of /page {}" in client.value()


@pytest.mark.parametrize(
    "headers", [b"Host: localhost\r\n", b"Host: evil.example\r\n"], ids=["two hosts", "two different hosts"]
)
def test_two_hosts_are_refused(headers: bytes, server: Server) -> None:
    client = server.connect()
    client.send(request(headers=headers))
    assert [status for status, _ in answers(client.value())] == [403]
    assert server.api.made == []


# Closing


def test_closing_waits_for_answers_and_then_for_nothing(server: Server) -> None:
    busy, idle = server.waiting(), server.served()
    closed: list[None] = []
    server.factory.close().addCallback(closed.append)
    assert (busy.ended, idle.ended) == ("", "closed")
    server.answer(0, b"[]")
    assert (busy.ended, closed) == ("closed", [None])
