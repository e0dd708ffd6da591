"""grape.web.head_cache: a door that remembers heads answers exactly as one that reads each of them anew."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grape.web.head_cache import MAX_HEADS, MAX_KNOWN_BYTES, Head, HeadCache
from tests.web.test_server import LIMIT, Doorway, request, send

HERE = "127.0.0.1"
HEADERS = {b"content-length": b"2", b"host": b"localhost"}


class Forgetful(HeadCache):
    """Heads that are never known."""

    def get(self, head: bytes, local_host: str) -> Head | None:
        return None


class Talk:
    """What a client of a door sent and saw."""

    def __init__(self, chunks: list[bytes], heads: HeadCache, *, late: bool) -> None:
        doorway = Doorway()
        doorway.factory.heads = heads
        for _ in range(2):
            # The second connection finds what the first one taught.
            transport = doorway.connect()
            first = len(doorway.calls.answers)
            for chunk in chunks:
                if transport.ended:
                    break
                send(transport, chunk)
                if not late:
                    self._answer(doorway, first)
            self._answer(doorway, first)
        self.calls = doorway.calls.made
        self.ends = [transport.ended for transport in doorway.transports]
        self.seen = [re.sub(rb"Date: [^\r]*", b"", transport.value()) for transport in doorway.transports]

    def _answer(self, doorway: Doorway, first: int) -> None:
        # The last one first; answering one may let the next ones in.
        while waiting := [i for i, answer in enumerate(doorway.calls.answers) if i >= first and not answer.called]:
            doorway.answer(waiting[-1], b"answer to %d" % waiting[-1])


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
            request(headers=b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            request().replace(b"localhost", b"evil.example"),
            request().replace(b"POST", b"GET"),
            request().replace(b"HTTP/1.1", b"HTTP/1.0"),
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
def test_what_is_known_is_answered_as_what_is_new(chunks: list[bytes], late: bool) -> None:
    known, new = Talk(chunks, HeadCache(), late=late), Talk(chunks, Forgetful(), late=late)
    assert (known.calls, known.ends, known.seen) == (new.calls, new.ends, new.seen)


def test_a_head_that_comes_again_is_known_for_any_body_of_its_length() -> None:
    doorway = Doorway()
    transport = doorway.connect()
    for body in (b"{}", b"[]", b"12"):
        send(transport, request(body))
    assert len(doorway.factory.heads) == 1
    assert [body for _, body in doorway.calls.made] == [b"{}", b"[]", b"12"]


@pytest.mark.parametrize(
    "data",
    [
        request() + b"x",
        request()[:-1],
        request() * 2,
        b"\r\n" + request(),
        request().replace(b"POST", b"PUT"),
        request(headers=b"X: %b\r\n" % (b"x" * MAX_KNOWN_BYTES)),
    ],
)
def test_only_one_whole_request_teaches(data: bytes) -> None:
    heads = HeadCache()
    heads.learn(data, HERE, b"/lookup", HEADERS)
    assert len(heads) == 0


@pytest.mark.parametrize("field", [b"transfer-encoding", b"expect", b"origin", b"upgrade", b"sec-fetch-site"])
def test_special_fields_do_not_teach(field: bytes) -> None:
    heads = HeadCache()
    heads.learn(request(), HERE, b"/lookup", {**HEADERS, field: b"x"})
    assert len(heads) == 0


def test_a_head_is_known_at_its_own_address_alone_and_the_oldest_goes() -> None:
    heads = HeadCache()
    sent = [request(headers=b"X: %d\r\n" % n) for n in range(MAX_HEADS + 1)]
    for data in sent:
        heads.learn(data, HERE, b"/lookup", HEADERS)
    assert len(heads) == MAX_HEADS
    assert heads.get(sent[0][:-2], HERE) is None
    assert heads.get(sent[1][:-2], HERE) == Head(b"/lookup", HEADERS, 2)
    assert heads.get(sent[1][:-2], "10.0.0.1") is None
