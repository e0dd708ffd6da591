"""grape.web.parser: limits on all that is no body, ``Upgrade``, absolute targets."""

from __future__ import annotations

import pytest

from grape.web.access import Access
from grape.web.parser import MAX_FIELDS, MAX_HEAD_BYTES
from tests.web.helpers import LIMIT, Server, answers, chunked, request

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"

# Limits


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
def test_bytes_that_are_no_body_are_limited_wherever_they_come(
    start: bytes, more: bytes, status: int, server: Server
) -> None:
    client = server.connect()
    client.send(start)
    read = more * (1_024 // len(more))
    for _ in range(MAX_HEAD_BYTES // len(read) + 2):
        client.send(read)
    assert answers(client.value())[0][0] == status
    assert client.ended == "half closed"
    assert server.api.made == []


def test_limits_are_for_each_request_of_a_connection(server: Server) -> None:
    client = server.connect()
    body = b"x" * LIMIT
    known, anew = request(body), chunked(body)[:-2] + b"X: %b\r\n\r\n" % (b"x" * 1_000)
    for number in range(2 * MAX_HEAD_BYTES // 1_000):
        for sent in (known, b"\r\n" * 500, anew):
            for at in range(0, len(sent), 100):
                client.send(sent[at : at + 100])
        server.answer(2 * number, b"[]")
        server.answer(2 * number + 1, b"[]")
    assert {body for _, body in server.api.made} == {body}
    assert client.ended == ""


@pytest.mark.parametrize(("fields", "status"), [(MAX_FIELDS - 2, 200), (MAX_FIELDS - 1, 431), (16_000, 431)])
def test_fields_are_limited(fields: int, status: int, server: Server) -> None:
    client = server.connect()
    client.send(request(headers=b"a:\r\n" * fields))
    if status == 200:
        server.answer(0, b"[]")
    assert [status for status, _ in answers(client.value())] == [status]


@pytest.mark.parametrize("headers", [b"", UPGRADE], ids=["plain", "upgrade"])
@pytest.mark.parametrize("coding", [b"chunked\r\nContent-Length: 2", b"gzip", b"chunked\r\nTransfer-Encoding: x"])
def test_body_whose_end_is_uncertain_is_refused(coding: bytes, headers: bytes, server: Server) -> None:
    client = server.connect()
    client.send(chunked(b"{}", headers).replace(b"chunked", coding) + request())
    assert answers(client.value()) == [(400, b"")]
    assert client.ended == "half closed"
    assert server.api.made == []


# Upgrade


def test_upgrade_is_ignored(server: Server) -> None:
    client = server.connect()
    client.send(request(b"1", headers=b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + request(b"2"))
    assert [body for _, body in server.api.made] == [b"1", b"2"]


def test_upgrade_leaves_the_body_in_its_chunks(server: Server) -> None:
    client = server.connect()
    client.send(chunked(b"12345", UPGRADE, 2) + request(b"6"))
    assert [body for _, body in server.api.made] == [b"12345", b"6"]


def test_upgrade_with_expect_is_told_to_continue(server: Server) -> None:
    client = server.connect()
    head, end, body = chunked(b"12345", UPGRADE + b"Expect: 100-continue\r\n", 2).partition(b"\r\n\r\n")
    client.send(head + end)
    assert client.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert server.api.made == [(b"/lookup", b"12345")]


def test_upgrade_of_a_request_for_the_site_hands_its_body_over_in_one_piece(server: Server) -> None:
    client = server.connect()
    client.send(chunked(b"12345", UPGRADE, 2).replace(b"/lookup", b"/page") + request(b"6"))
    assert client.value().index(b"page of /page 12345") < client.value().index(b"page of /lookup 6")


def test_upgrade_may_be_asked_for_by_one_request_after_the_other(server: Server) -> None:
    client = server.connect()
    for number in range(5):
        client.send(request(b"%d" % number, headers=UPGRADE))
        server.answer(number, b"[]")
    assert [body for _, body in server.api.made] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.ended == ""


def test_upgrade_by_many_requests_at_once_is_refused(server: Server) -> None:
    client = server.connect()
    client.send(request(headers=b"Connection: Upgrade\r\nUpgrade: x\r\n") * 900)
    server.answer(0, b"[]")
    assert len(server.api.made) == 1
    assert client.value().endswith(b"Connection: close\r\n\r\n")
    assert client.ended == "half closed"


# Targets


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        (b"http://localhost/lookup", b"/lookup"),
        (b"HTTP://127.0.0.1:30001/lookup", b"/lookup"),
        (b"https://[::1]/lookup", b"/lookup"),
        (b"http://localhost/", b"/"),
        (b"http://localhost", b"/"),
        (b"http://localhost?x=1", b"/?x=1"),
        (b"http://localhost/page?u=http://a/b", b"/page?u=http://a/b"),
        (b"ftp://localhost/lookup", b"ftp://localhost/lookup"),
    ],
)
@pytest.mark.parametrize("upgrade", [b"", UPGRADE])
def test_absolute_target_is_served_as_its_path(target: bytes, taken: bytes, upgrade: bytes, server: Server) -> None:
    client = server.connect()
    client.send(request(path=target, headers=upgrade))
    if taken == b"/lookup":
        server.answer(0, b"[]")
        assert answers(client.value()) == [(200, b"[]")]
    else:
        assert client.value().endswith(b"page of " + taken + b" {}")


@pytest.mark.parametrize(
    ("authority", "status"),
    [
        (b"localhost", 200),
        (b"evil.example", 403),
        (b"user@localhost", 403),
        (b"localhost@evil.example", 403),
        (b"", 403),
    ],
)
def test_absolute_target_names_the_host_in_place_of_the_header(authority: bytes, status: int, server: Server) -> None:
    client = server.connect()
    sent = request(path=b"http://%b/lookup" % authority)
    # The header says the opposite, and is ignored (RFC 9112, 3.2.2).
    client.send(sent if status == 403 else sent.replace(b"Host: localhost", b"Host: evil.example"))
    if status == 200:
        server.answer(0, b"[]")
    assert [status for status, _ in answers(client.value())] == [status]


def test_absolute_target_needs_a_host_header_all_the_same(server: Server) -> None:
    client = server.connect()
    client.send(request(path=b"http://localhost/lookup").replace(b"Host: localhost\r\n", b""))
    assert answers(client.value()) == [(400, b"")]


def test_absolute_target_is_judged_with_the_origin_of_its_page() -> None:
    server = Server(Access(["http://app.example"]))
    client = server.connect()
    for origin in (b"http://app.example", b"http://evil.example"):
        client.send(request(path=b"http://localhost/lookup", headers=b"Origin: %b\r\n" % origin))
    server.answer(0, b"[]")
    assert [status for status, _ in answers(client.value())] == [200, 403]
    server.close()


@pytest.mark.parametrize("target", [b"127.0.0.1:80", b"localhost:80", b"lookup"])
@pytest.mark.parametrize("method", [b"CONNECT", b"POST"])
def test_target_without_a_path_is_refused(target: bytes, method: bytes, server: Server) -> None:
    client = server.connect()
    client.send(request(path=target, method=method))
    assert answers(client.value()) == [(400, b"")]
    assert server.api.made == []


def test_options_of_the_server_are_answered_without_a_body(server: Server) -> None:
    client = server.connect()
    client.send(request(b"", b"*", method=b"OPTIONS"))
    assert answers(client.value()) == [(200, b"")]


def test_asterisk_by_another_method_is_a_path_of_the_site(server: Server) -> None:
    client = server.connect()
    client.send(request(b"{}", b"*"))
    assert client.value().endswith(b"page of * {}")
