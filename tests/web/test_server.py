"""The HTTP door: connections in memory, on a virtual clock, against calls that the test answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from grape.coalesce import Cancellable
from grape.testing import HeapClock
from grape.web.access import Access
from grape.web.answer import Answer
from grape.web.connection import IDLE_SECONDS, MAX_PIPELINED, Connection
from grape.web.parser import BODY_SECONDS, HEAD_SECONDS
from grape.web.server import NEW_SECONDS, HTTPServerFactory
from grape.web.site import GrapeSite

LIMIT = 100
MAX_CONNECTIONS = 20
PER_HOST = 4


class Calls:
    """Calls that wait for the test to answer them."""

    def __init__(self) -> None:
        self.made: list[tuple[bytes, bytes]] = []
        self.answers: list[Deferred[Answer]] = []
        self.cancelled = 0

    def answer(self, path: bytes, body: bytes, done: Callable[[Answer], object]) -> Cancellable:
        self.made.append((path, body))
        answer: Deferred[Answer] = Deferred(self._cancel)
        self.answers.append(answer)
        answer.addCallback(done).addErrback(lambda failure: failure.trap(CancelledError))
        return answer

    def _cancel(self, _: Deferred[Answer]) -> None:
        self.cancelled += 1


class Page(Resource):
    """Everything else."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"page of " + bytes(request.uri) + b" " + bytes(request.content.read())


class Transport(StringTransport):
    """A client's side that shows how the connection was ended."""

    protocol: Connection
    ended = ""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def loseConnection(self) -> None:
        self.end("closed")

    def loseWriteConnection(self) -> None:
        self.ended = "half closed"

    def abortConnection(self) -> None:
        self.end("aborted")

    def end(self, how: str) -> None:
        if self.ended in ("", "half closed"):
            self.ended = how
            self.protocol.connectionLost()


class Doorway:
    """A door with its calls, its clock and its clients."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.clock = HeapClock()
        site = GrapeSite(Page(), LIMIT, self.clock)
        self.factory = HTTPServerFactory(self.calls, site, self.clock, Access(), LIMIT, MAX_CONNECTIONS, PER_HOST)
        self.counters = self.factory.counters
        self.transports: list[Transport] = []

    def connect(self, host: str = "127.0.0.1") -> Transport:
        transport = Transport(peerAddress=IPv4Address("TCP", host, 40_000))
        connection = self.factory.buildProtocol(None)
        assert isinstance(connection, Connection)
        transport.protocol = connection
        connection.makeConnection(transport)
        self.transports.append(transport)
        return transport

    def served(self, host: str = "127.0.0.1") -> Transport:
        """A client that has had an answer, and keeps its connection."""
        transport = self.connect(host)
        send(transport, request())
        self.answer(-1, b"[]")
        return transport

    def waiting(self, host: str = "127.0.0.1") -> Transport:
        """A client that waits for its answer."""
        transport = self.connect(host)
        send(transport, request())
        return transport

    def answer(self, index: int, body: bytes) -> None:
        self.calls.answers[index].callback(Answer(200, body))


@pytest.fixture
def doorway() -> Doorway:
    return Doorway()


def request(body: bytes = b"{}", path: bytes = b"/lookup", headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n%b" % (path, headers, len(body), body)


def send(transport: Transport, data: bytes) -> None:
    transport.protocol.dataReceived(data)


def test_answers_come_in_the_order_of_the_requests(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request(b"1") + request(b"2", b"/announce"))
    assert doorway.calls.made == [(b"/lookup", b"1"), (b"/announce", b"2")]
    doorway.answer(1, b"second")
    assert client.value() == b""
    doorway.answer(0, b"first")
    assert client.value().index(b"first") < client.value().index(b"second")
    assert client.ended == ""


def test_a_request_may_come_byte_by_byte(doorway: Doorway) -> None:
    client = doorway.connect()
    for byte in request(b"abc"):
        send(client, bytes([byte]))
    assert doorway.calls.made == [(b"/lookup", b"abc")]


def test_only_so_many_pipelined_requests_are_under_way(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request() * (MAX_PIPELINED + 5))
    assert len(doorway.calls.made) == MAX_PIPELINED
    assert client.producerState == "paused"
    for index in range(MAX_PIPELINED + 5):
        doorway.answer(index, b"[]")
    assert client.value().count(b"200 OK") == MAX_PIPELINED + 5
    assert client.producerState == "producing"


def test_a_client_that_does_not_read_is_not_read_from(doorway: Doorway) -> None:
    client = doorway.connect()
    client.protocol.pauseProducing()
    send(client, request() * MAX_PIPELINED)
    assert doorway.calls.made == []
    assert client.producerState == "paused"
    client.protocol.resumeProducing()
    for index in range(MAX_PIPELINED):
        doorway.answer(index, b"[]")
    assert client.producerState == "producing"


def test_a_second_wish_for_another_protocol_is_refused(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request(headers=b"Connection: Upgrade\r\nUpgrade: x\r\n") * 900)
    doorway.answer(0, b"[]")
    assert len(doorway.calls.made) == 1
    assert client.value().endswith(b"Connection: close\r\n\r\n")
    assert client.ended == "half closed"


def test_what_a_client_asked_is_called_off_when_it_goes(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request() * 3)
    client.abortConnection()
    assert doorway.calls.cancelled == 3
    assert len(doorway.factory) == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n",
        request(b"", headers=b"Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
        + b"65\r\n"
        + b"x" * 101,
    ],
    ids=["declared", "chunked"],
)
def test_a_body_that_is_too_big_is_refused_before_it_is_complete(doorway: Doorway, sent: bytes) -> None:
    client = doorway.connect()
    send(client, sent)
    assert client.value().startswith(b"HTTP/1.1 413 ")
    assert client.value().endswith(b"ERR_GRAPE_PAYLOAD_SIZE")
    assert client.ended == "half closed"
    assert doorway.calls.made == []
    doorway.clock.advance(3)
    assert client.ended == "aborted"


def test_a_refusal_waits_for_the_answers_before_it(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request() + b"garbage\r\n\r\n")
    assert client.value() == b""
    doorway.answer(0, b"[]")
    assert client.value().index(b"200 OK") < client.value().index(b"400 Bad Request")


@pytest.mark.parametrize(
    ("start", "seconds"),
    [(b"POST /lookup HTTP/1.1\r\nHo", HEAD_SECONDS), (request(b"12")[:-1], BODY_SECONDS), (b"", HEAD_SECONDS)],
    ids=["head", "body", "nothing"],
)
def test_a_slow_request_is_cut_off_however_often_a_byte_comes(doorway: Doorway, start: bytes, seconds: float) -> None:
    client = doorway.connect()
    send(client, start)
    for _ in range(int(seconds) - 1):
        doorway.clock.advance(1)
        if start.endswith(b"Ho"):
            send(client, b"o")
    assert client.ended == ""
    doorway.clock.advance(3)
    assert client.ended == "aborted"


def test_an_idle_connection_is_closed_but_not_one_that_waits_for_its_answer(doorway: Doorway) -> None:
    waiting, idle = doorway.connect(), doorway.connect()
    send(waiting, request())
    send(idle, request())
    doorway.answer(1, b"[]")
    doorway.clock.advance(IDLE_SECONDS + 2)
    assert (waiting.ended, idle.ended) == ("", "aborted")
    doorway.answer(0, b"[]")
    waiting.abortConnection()


def test_an_idle_connection_that_the_site_has_is_closed_as_soon(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request(path=b"/page"))
    doorway.clock.advance(IDLE_SECONDS - 1)
    assert client.ended == ""
    doorway.clock.advance(1)
    assert client.ended == "aborted"


def left(clients: list[Transport]) -> list[int]:
    """Which clients are still connected."""
    return [index for index, client in enumerate(clients) if not client.ended]


@pytest.fixture
def crowd(doorway: Doorway) -> Iterator[Doorway]:
    yield doorway
    for client in doorway.transports:
        client.abortConnection()


def test_over_the_limit_those_that_brought_no_request_go_first_the_oldest_of_them_first(crowd: Doorway) -> None:
    honest = [crowd.served() for _ in range(MAX_CONNECTIONS - 5)]
    crowd.clock.advance(1)
    silent = [crowd.connect() for _ in range(5)]
    send(silent[0], request()[:40])
    newcomers = []
    for _ in range(8):
        crowd.clock.advance(NEW_SECONDS)
        newcomers.append(crowd.connect())
    assert left(honest) == list(range(MAX_CONNECTIONS - 5))
    assert left(silent) == []
    assert left(newcomers) == [3, 4, 5, 6, 7]
    assert (crowd.counters.evicted_connections, crowd.counters.refused_connections, len(crowd.factory)) == (
        8,
        0,
        MAX_CONNECTIONS,
    )


def test_clients_that_come_together_do_not_push_each_other_out(crowd: Doorway) -> None:
    idle = [crowd.served() for _ in range(MAX_CONNECTIONS)]
    newcomers = [crowd.connect() for _ in range(5)]
    assert (left(newcomers), len(left(idle))) == ([0, 1, 2, 3, 4], MAX_CONNECTIONS - 5)


def test_of_the_others_the_longest_unused_one_of_the_busiest_host_goes(crowd: Doorway) -> None:
    honest = crowd.served("10.0.0.1")
    many = [crowd.served() for _ in range(MAX_CONNECTIONS - 1)]
    send(many[0], request())
    crowd.answer(-1, b"[]")
    crowd.connect("10.0.0.2")
    assert honest.ended == ""
    assert left(many) == [0, *range(2, MAX_CONNECTIONS - 1)]


def test_if_all_wait_for_answers_the_newcomer_goes(crowd: Doorway) -> None:
    waiting = [crowd.waiting() for _ in range(MAX_CONNECTIONS)]
    newcomer = crowd.connect()
    assert newcomer.ended == "aborted"
    assert len(left(waiting)) == len(crowd.factory) == MAX_CONNECTIONS
    assert (crowd.counters.evicted_connections, crowd.counters.refused_connections) == (0, 1)


def test_one_host_has_its_own_limit_and_makes_room_itself(crowd: Doorway) -> None:
    other = crowd.connect("10.0.0.2")
    busy = [crowd.waiting("10.0.0.1") for _ in range(PER_HOST - 1)]
    idle = crowd.served("10.0.0.1")
    first = crowd.waiting("10.0.0.1")
    assert (idle.ended, first.ended) == ("aborted", "")
    second = crowd.connect("10.0.0.1")
    assert second.ended == "aborted"
    assert len(left(busy)) == PER_HOST - 1
    assert other.ended == ""
    assert (crowd.counters.evicted_connections, crowd.counters.refused_connections) == (1, 1)


def test_other_requests_go_on_to_the_site_in_order(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request() + request(b"body", b"/page?x=1") + request(b"", b"/lookup"))
    assert client.value() == b""
    doorway.answer(0, b"call")
    value = client.value()
    assert value.index(b"call") < value.index(b"page of /page?x=1 body") < value.index(b"page of /lookup")
    client.abortConnection()


def test_a_wish_for_another_protocol_is_passed_over(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, request(b"1", headers=b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + request(b"2"))
    assert [body for _, body in doorway.calls.made] == [b"1", b"2"]


@pytest.mark.parametrize(
    "headers", [b"Host: localhost\r\n", b"Host: evil.example\r\n"], ids=["two hosts", "two different hosts"]
)
def test_two_hosts_are_refused(doorway: Doorway, headers: bytes) -> None:
    client = doorway.connect()
    send(client, request(headers=headers))
    assert b" 403 " in client.value().partition(b"\r\n")[0]
    assert doorway.calls.made == []


def test_closing_waits_for_answers_and_then_for_nobody(doorway: Doorway) -> None:
    busy, idle = doorway.connect(), doorway.connect()
    send(busy, request())
    send(idle, request())
    doorway.answer(1, b"[]")
    closed: list[None] = []
    doorway.factory.close().addCallback(closed.append)
    assert (busy.ended, idle.ended) == ("", "closed")
    doorway.answer(0, b"[]")
    assert (busy.ended, closed) == ("closed", [None])


def test_pipelined_calls_that_are_answered_at_once_are_made_once_each(doorway: Doorway) -> None:
    made: list[bytes] = []
    waiting: Deferred[Answer] = Deferred()

    def answer(path: bytes, body: bytes, done: Callable[[Answer], object]) -> Cancellable:
        made.append(body)
        return (waiting if body == b"0" else succeed(Answer(200, body))).addCallback(done)

    doorway.calls.answer = answer  # type: ignore[method-assign]
    client = doorway.connect()
    send(client, b"".join(request(b"%d" % n) for n in range(600)))
    waiting.callback(Answer(200, b"0"))
    send(client, request(b"last"))
    expected = [b"%d" % n for n in range(600)] + [b"last"]
    assert made == expected
    assert [part.split(b"\r\n\r\n")[1] for part in client.value().split(b"HTTP/1.1 200 OK")[1:]] == expected
    assert client.protocol.is_idle
