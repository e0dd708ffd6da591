"""grape.web.connection: clients that close their side, or leave, before they have their answers."""

from __future__ import annotations

import pytest

from grape.web.connection import DISCARDED_BYTES, IDLE_SECONDS, LINGER_SECONDS, MAX_PIPELINED
from grape.web.server import CLOSING_SECONDS
from tests.web.helpers import LIMIT, MAX_CONNECTIONS, Server, SlowPage, Transport, answers, chunked, request

PIECE = b"x" * 65_536


def statuses(client: Transport) -> list[int]:
    return [status for status, _ in answers(client.value())]


# Half-closed


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_half_closed_client_gets_its_answer_and_is_closed(headers: bytes, server: Server) -> None:
    client = server.connect()
    client.send(request(headers=headers))
    client.half_close()
    assert (client.ended, client.protocol.is_idle, server.api.cancelled) == ("", False, 0)
    server.answer(0, b"[]")
    assert answers(client.value()) == [(200, b"[]")]
    assert b"\r\nConnection: close\r\n" in client.value()
    assert (client.ended, len(server.factory)) == ("closed", 0)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_half_closed_client_gets_all_pipelined_answers_in_order(order: list[int], server: Server) -> None:
    client = server.connect()
    client.send(request() * 3)
    answered = order[:1]
    server.answer(order[0], b"%d" % order[0])
    client.half_close()
    for index in order:
        if index not in answered:
            assert client.ended == ""
            server.answer(index, b"%d" % index)
    assert answers(client.value()) == [(200, b"0"), (200, b"1"), (200, b"2")]
    assert client.ended == "closed"


def test_half_closed_client_gets_more_answers_than_are_made_at_a_time(server: Server) -> None:
    client = server.connect()
    client.send(request() * (MAX_PIPELINED + 5))
    client.half_close()
    for index in range(MAX_PIPELINED + 5):
        server.answer(index, b"[]")
    assert statuses(client) == [200] * (MAX_PIPELINED + 5)
    assert client.ended == "closed"


def test_half_closed_client_gets_the_answers_of_the_site(server: Server) -> None:
    client = server.connect()
    client.send(request() + request(b"a", b"/page") + request(b"b", b"/page"))
    client.half_close()
    server.answer(0, b"[]")
    assert b"page of /page a" in client.value()
    assert b"page of /page b" in client.value()
    assert client.ended == "closed"


def test_half_closed_client_gets_the_answers_of_a_slow_site() -> None:
    page = SlowPage()
    server = Server(page=page)
    client = server.connect()
    client.send(request(b"a", b"/page") + request(b"b", b"/page"))
    client.half_close()
    for _ in range(2):
        assert (client.ended, client.protocol.is_idle) == ("", False)
        page.answer()
    assert answers(client.value()) == [(200, b"a"), (200, b"b")]
    assert (client.ended, len(server.factory)) == ("closed", 0)


@pytest.mark.parametrize("before", [b"", request(), request(b"", b"/page")], ids=["first", "call", "page"])
def test_half_closed_client_is_closed_at_once_if_no_answer_is_owed(before: bytes, server: Server) -> None:
    client = server.connect()
    client.send(before)
    if before == request():
        server.answer(0, b"[]")
    client.half_close()
    assert (client.ended, len(server.factory)) == ("closed", 0)


@pytest.mark.parametrize("part", [b"P", request()[:30], request()[:-1], chunked(b"xx", end=False)])
def test_half_of_a_request_is_refused_after_the_answers_before_it(part: bytes, server: Server) -> None:
    client = server.connect()
    client.send(request() + part)
    client.half_close()
    assert client.value() == b""
    server.answer(0, b"[]")
    assert statuses(client) == [200, 400]
    assert (client.ended, len(server.api.made)) == ("closed", 1)


@pytest.mark.parametrize("part", [b"", request()[:-1]])
def test_half_of_a_request_is_refused_behind_the_site(part: bytes) -> None:
    page = SlowPage()
    server = Server(page=page)
    client = server.connect()
    client.send(request(b"a", b"/page") + part)
    client.half_close()
    assert client.ended == ""
    page.answer()
    assert client.ended == "closed"
    client = server.connect()
    client.send(request(b"a", b"/page"))
    page.answer()
    client.send(request()[:-1])
    client.clear()
    client.half_close()
    assert (statuses(client), client.ended) == ([400], "closed")


def test_half_closed_client_that_was_refused_is_closed_without_a_delay(server: Server) -> None:
    client = server.connect()
    client.send(request(b"x" * (LIMIT + 1))[:-1])
    assert (statuses(client), client.ended) == ([413], "half closed")
    client.half_close()
    assert (client.ended, len(server.factory)) == ("closed", 0)


def test_half_closed_client_that_does_not_read_its_answers_is_cut_off(server: Server) -> None:
    client = server.connect()
    client.send(request() * 3)
    client.half_close()
    client.protocol.pauseProducing()
    server.clock.advance(IDLE_SECONDS - 1)
    assert client.ended == ""
    server.clock.advance(2)
    assert client.ended == "aborted"


def test_client_that_does_not_read_its_answers_is_cut_off(server: Server) -> None:
    client = server.connect()
    client.protocol.pauseProducing()
    client.send(request() * 3)
    server.clock.advance(IDLE_SECONDS - 1)
    client.protocol.resumeProducing()
    server.clock.advance(IDLE_SECONDS + 2)
    assert (client.ended, len(server.api.made)) == ("", 3)
    client.protocol.pauseProducing()
    server.clock.advance(IDLE_SECONDS + 2)
    assert client.ended == "aborted"


def test_half_closed_client_that_waits_is_not_closed_for_a_new_one(server: Server) -> None:
    waiting = server.waiting()
    waiting.half_close()
    idle = [server.served() for _ in range(MAX_CONNECTIONS - 1)]
    server.connect()
    assert (waiting.ended, idle[0].ended) == ("", "aborted")


def test_half_closed_client_is_answered_while_the_server_closes(server: Server) -> None:
    answered, late = server.waiting(), server.waiting()
    for client in (answered, late):
        client.half_close()
    closed: list[None] = []
    server.factory.close().addCallback(closed.append)
    server.answer(0, b"[]")
    assert (statuses(answered), answered.ended, closed) == ([200], "closed", [])
    server.clock.advance(CLOSING_SECONDS)
    assert (late.ended, closed) == ("aborted", [None])


# Gone


def test_announce_and_put_that_were_not_begun_are_begun_when_the_client_leaves(server: Server) -> None:
    client = server.connect()
    client.protocol.pauseProducing()
    client.send(request(b"1", b"/announce") + request(b"2") + request(b"3", b"/get") + request(b"4", b"/put"))
    assert server.api.made == []
    client.abortConnection()
    assert server.api.made == [(b"/announce", b"1"), (b"/put", b"4")]


def test_announce_of_a_page_is_not_begun_when_it_leaves(server: Server) -> None:
    client = server.connect()
    client.protocol.pauseProducing()
    client.send(request(b"1", b"/announce", b"Origin: http://evil.example\r\n"))
    client.abortConnection()
    assert server.api.made == []


def test_announce_behind_a_page_is_begun_when_the_client_leaves() -> None:
    page = SlowPage()
    server = Server(page=page)
    client = server.connect()
    client.send(request(b"a", b"/page"))
    client.send(request(b"1", b"/announce") + request(b"2") + request(b"3", b"/put"))
    page.answer()
    client.send(request(b"4", b"/announce"))
    # The site answers the first announce now: it is the site's to go on with.
    assert page.bodies == [b"a", b"1"]
    client.abortConnection()
    assert server.api.made == [(b"/put", b"3"), (b"/announce", b"4")]


# Uploads that are refused


def flood(client: Transport, piece: bytes = PIECE) -> int:
    """Sends until the server reads no more; returns the number of bytes."""
    sent = 0
    while not client.ended.startswith(("closed", "aborted")) and client.producerState == "producing":
        client.send(piece)
        sent += len(piece)
        assert sent < 4 * DISCARDED_BYTES
    return sent


DECLARED = request(b"").replace(b"Content-Length: 0", b"Content-Length: 20000000000")
MALFORMED = b"garbage\r\n\r\n"
HUGE_HEAD = request(headers=b"X: y\r\n" * 200)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (DECLARED, 413),
        (chunked(b"x" * (LIMIT + 1), size=LIMIT + 1, end=False), 413),
        (MALFORMED, 400),
        (HUGE_HEAD, 431),
        (request(headers=b"Expect: tea\r\n"), 417),
    ],
    ids=["413", "413 chunked", "400", "431", "417"],
)
def test_refused_client_is_read_no_further_than_the_limit(head: bytes, status: int, server: Server) -> None:
    client = server.connect()
    client.send(head)
    assert (statuses(client), client.ended) == ([status], "half closed")
    assert DISCARDED_BYTES < flood(client) <= DISCARDED_BYTES + len(PIECE)
    assert client.ended == "aborted"


@pytest.mark.parametrize("last", [request(headers=b"Connection: close\r\n"), request() + MALFORMED])
def test_client_that_goes_on_after_its_last_request_is_not_read_but_answered(last: bytes, server: Server) -> None:
    client = server.connect()
    client.send(last)
    assert flood(client) <= DISCARDED_BYTES + len(PIECE)
    assert (client.ended, client.producerState) == ("", "paused")
    server.answer(0, b"[]")
    assert statuses(client)[0] == 200
    assert client.ended == "closed"


def test_refused_client_has_some_time_to_read(server: Server) -> None:
    client = server.connect()
    client.send(DECLARED + PIECE)
    server.clock.advance(LINGER_SECONDS - 1)
    assert client.ended == "half closed"
    server.clock.advance(2)
    assert client.ended == "aborted"


def test_refusal_behind_a_page_does_not_overtake_its_answer() -> None:
    page = SlowPage()
    server = Server(page=page)
    client = server.connect()
    client.send(request(b"a", b"/page") + MALFORMED)
    assert client.ended == ""
    flood(client)
    page.answer()
    assert b"\r\n\r\na" in client.value()
    assert client.ended == "closed"
