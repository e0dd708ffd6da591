"""The reading side of a connection: what is not body is bounded, and a wish for another protocol is passed over."""

from __future__ import annotations

import pytest

from grape.web.parser import MAX_FIELDS, MAX_HEAD_BYTES
from tests.web.test_server import LIMIT, Doorway, request, send


@pytest.fixture
def doorway() -> Doorway:
    return Doorway()


def chunked(body: bytes, headers: bytes = b"", size: int = 1) -> bytes:
    """A request whose body comes in chunks of ``size``."""
    head = request(b"", headers=headers).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (chunked(b"{}")[:-2] + b"X: ", b"a", 431),
        (chunked(b"{}")[:-2], b"X: a\r\n", 431),
        (chunked(b"")[:-5] + b"1;x=", b"a", 431),
        (b"", b"\r\n", 400),
        (request()[:-4] + b"X: ", b"a", 431),
    ],
    ids=["a trailer", "trailers", "an extension", "empty lines", "a field"],
)
def test_what_is_not_body_is_bounded_wherever_it_comes(
    doorway: Doorway, start: bytes, more: bytes, status: int
) -> None:
    client = doorway.connect()
    send(client, start)
    read = more * (1_024 // len(more))
    for _ in range(MAX_HEAD_BYTES // len(read) + 2):
        send(client, read)
    assert client.value().startswith(b"HTTP/1.1 %d " % status)
    assert client.ended == "half closed"
    assert doorway.calls.made == []


def test_the_smallest_chunks_trailers_and_empty_lines_of_many_requests_add_up_to_nothing(doorway: Doorway) -> None:
    client = doorway.connect()
    body = b"x" * LIMIT
    known, anew = request(body), chunked(body)[:-2] + b"X: %b\r\n\r\n" % (b"x" * 1_000)
    for number in range(2 * MAX_HEAD_BYTES // 1_000):
        for sent in (known, b"\r\n" * 500, anew):
            for at in range(0, len(sent), 100):
                send(client, sent[at : at + 100])
        doorway.answer(2 * number, b"[]")
        doorway.answer(2 * number + 1, b"[]")
    assert {body for _, body in doorway.calls.made} == {body}
    assert client.ended == ""


def test_many_fields_are_refused_and_not_put_together(doorway: Doorway) -> None:
    client, other = doorway.connect(), doorway.connect()
    send(client, request(headers=b"a:\r\n" * MAX_FIELDS))
    assert client.value().startswith(b"HTTP/1.1 431 ")
    send(other, request()[:-4] + b"a:\r\n" * 16_000)
    assert other.protocol._request is not None
    assert len(other.protocol._request.headers[b"a"]) < 2 * MAX_FIELDS
    other.abortConnection()
    last = doorway.connect()
    send(last, request(headers=b"a:\r\n" * (MAX_FIELDS - 2)))
    assert len(doorway.calls.made) == 1


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"


def test_a_wish_for_another_protocol_leaves_the_body_in_its_chunks(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, chunked(b"12345", UPGRADE, 2) + request(b"6"))
    assert [body for _, body in doorway.calls.made] == [b"12345", b"6"]


def test_who_asks_for_another_protocol_may_wait_to_be_told_to_go_on(doorway: Doorway) -> None:
    client = doorway.connect()
    head, end, body = chunked(b"12345", UPGRADE + b"Expect: 100-continue\r\n", 2).partition(b"\r\n\r\n")
    send(client, head + end)
    assert client.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    send(client, body)
    assert doorway.calls.made == [(b"/lookup", b"12345")]


def test_a_body_in_chunks_is_handed_over_in_one_piece(doorway: Doorway) -> None:
    client = doorway.connect()
    send(client, chunked(b"12345", UPGRADE, 2).replace(b"/lookup", b"/page") + request(b"6"))
    assert client.value().index(b"page of /page 12345") < client.value().index(b"page of /lookup 6")
    client.abortConnection()


@pytest.mark.parametrize("headers", [b"", UPGRADE], ids=["plain", "upgrade"])
@pytest.mark.parametrize("coding", [b"chunked\r\nContent-Length: 2", b"gzip", b"chunked\r\nTransfer-Encoding: x"])
def test_a_body_whose_end_is_uncertain_is_refused(doorway: Doorway, headers: bytes, coding: bytes) -> None:
    client = doorway.connect()
    send(client, chunked(b"{}", headers).replace(b"chunked", coding) + request())
    assert client.value().startswith(b"HTTP/1.1 400 ")
    assert client.ended == "half closed"
    assert doorway.calls.made == []


def test_who_asks_for_another_protocol_may_go_on_and_ask_again(doorway: Doorway) -> None:
    client = doorway.connect()
    for number in range(5):
        send(client, request(b"%d" % number, headers=UPGRADE))
        doorway.answer(number, b"[]")
    assert [body for _, body in doorway.calls.made] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.ended == ""
