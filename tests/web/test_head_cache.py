"""grape.web.head_cache: a server that remembers heads answers exactly as one that parses each of them anew."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grape.web.head_cache import MAX_HEAD_BYTES, MAX_HEADS, Head, HeadCache
from tests.web.helpers import HERE, LIMIT, Server, request

HEADERS = {b"content-length": b"2", b"host": b"localhost"}


class Conversation:
    """Two clients that send the same to a server, one after the other: the calls, the answers, the ends."""

    def __init__(self, chunks: list[bytes], *, remembers: bool, late: bool) -> None:
        server = Server()
        for _ in range(2):
            # The second connection finds what the first one taught.
            transport = server.connect()
            first = len(server.api.answers)
            for chunk in chunks:
                if transport.ended:
                    break
                if not remembers:
                    server.factory.head_cache = HeadCache()
                transport.send(chunk)
                if not late:
                    self._answer(server, first)
            self._answer(server, first)
        self.calls = [(got.method, got.target, dict(got.headers), got.peer, got.body) for got in server.api.requests]
        self.ends = [transport.ended for transport in server.transports]
        self.received = [re.sub(rb"[Dd]ate: [^\r]*", b"", transport.value()) for transport in server.transports]
        server.close()

    def _answer(self, server: Server, first: int) -> None:
        # The last one first; an answer may let the next requests in.
        while waiting := [i for i, answer in enumerate(server.api.answers) if i >= first and not answer.called]:
            server.answer(waiting[-1], b"answer to %d" % waiting[-1])


BODIES = st.sampled_from([b"{}", b"[1]", b"x" * LIMIT, b"x" * (LIMIT + 1)])
PATHS = st.sampled_from([b"/lookup", b"/get", b"/page"])
REQUESTS = st.one_of(
    st.builds(request, BODIES, PATHS),
    st.sampled_from(
        [
            request(headers=b"Connection: keep-alive\r\n"),
            request(headers=b"Connection: close\r\n"),
            request(headers=b"Proxy-Connection: close\r\n"),
            request(headers=b"Origin: http://evil.example\r\n"),
            request(headers=b"Sec-Fetch-Site: cross-site\r\n"),
            request(headers=b"Expect: 100-continue\r\n"),
            request(headers=b"Transfer-Encoding: chunked\r\n"),
            request(headers=b"Content-Length: 2\r\n"),
            request(headers=b"Content-Encoding: gzip\r\n"),
            request(headers=b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            request().replace(b"localhost", b"evil.example"),
            request(method=b"GET"),
            request(version=b"1.0"),
            request(path=b"http://localhost/lookup"),
            request(path=b"http://evil.example/lookup"),
            request(path=b"*"),
            b"POST /lookup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"\r\n",
            b"\x00",
        ]
    ),
)  # fmt: skip


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """The chunks that some requests come in: whole ones, several at once, and cut anywhere."""
    chunks: list[bytes] = []
    for part in draw(st.lists(REQUESTS, min_size=1, max_size=8)):
        if chunks and draw(st.sampled_from([True, False])):
            chunks[-1] += part
        else:
            chunks.append(part)
    cut = draw(st.integers(0, len(chunks) - 1))
    at = draw(st.integers(0, len(chunks[cut])))
    chunks[cut : cut + 1] = [chunks[cut][:at], chunks[cut][at:]]
    return [chunk for chunk in chunks if chunk] * draw(st.integers(1, 2))


@settings(max_examples=400, deadline=None)
@given(conversations(), st.booleans())
def test_known_heads_are_answered_as_new_ones(chunks: list[bytes], late: bool) -> None:
    known, new = Conversation(chunks, remembers=True, late=late), Conversation(chunks, remembers=False, late=late)
    assert (known.calls, known.ends, known.received) == (new.calls, new.ends, new.received)


def test_head_that_comes_again_is_known_for_any_body_of_its_length(server: Server) -> None:
    client = server.connect()
    for body in (b"{}", b"[]", b"12"):
        client.send(request(body))
    assert len(server.factory.head_cache) == 1
    assert [body for _, body in server.api.made] == [b"{}", b"[]", b"12"]


@pytest.mark.parametrize(
    "sent",
    [
        request(path=b"http://localhost/lookup"),
        request(path=b"/page"),
        request(path=b"*"),
        request(headers=b"Content-Encoding: gzip\r\n"),
        request(headers=b"Connection: close\r\n"),
        request().replace(b"Host: localhost", b"Host: evil.example"),
    ],
)
def test_head_of_a_request_that_is_no_plain_call_is_not_remembered(sent: bytes, server: Server) -> None:
    server.connect().send(sent)
    assert len(server.factory.head_cache) == 0


@pytest.mark.parametrize(
    "data",
    [
        request() + b"x",
        request()[:-1],
        request() * 2,
        b"\r\n" + request(),
        request(method=b"PUT"),
        request(headers=b"X: %b\r\n" % (b"x" * MAX_HEAD_BYTES)),
    ],
)
def test_head_is_learnt_from_one_whole_request_alone(data: bytes) -> None:
    cache = HeadCache()
    cache.learn(data, HERE, b"/lookup", HEADERS)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "field", [b"Transfer-Encoding", b"Content-Encoding", b"Expect", b"Origin", b"Upgrade", b"Sec-Fetch-Site"]
)
def test_head_with_a_field_that_changes_the_answer_is_not_learnt(field: bytes) -> None:
    cache = HeadCache()
    cache.learn(request(headers=b"%b: x\r\n" % field), HERE, b"/lookup", {**HEADERS, field.lower(): b"x"})
    assert len(cache) == 0


def test_head_is_known_at_its_own_address_alone() -> None:
    cache = HeadCache()
    for local_host in (HERE, None):
        cache.learn(request(), local_host, b"/lookup", HEADERS)
        assert cache.get(request()[:-2], local_host) == Head(b"/lookup", HEADERS, 2)
    assert cache.get(request()[:-2], "10.0.0.1") is None


def test_oldest_head_is_forgotten_when_the_cache_is_full() -> None:
    cache = HeadCache()
    sent = [request(headers=b"X: %d\r\n" % n) for n in range(MAX_HEADS + 1)]
    for data in sent:
        cache.learn(data, HERE, b"/lookup", HEADERS)
    assert len(cache) == MAX_HEADS
    assert cache.get(sent[0][:-2], HERE) is None
    assert cache.get(sent[1][:-2], HERE) is not None
