"""The reading side of a connection: from bytes to requests, within bounds for all that is sent.

httptools, whose parser is Node's own, reads the requests.
"""

from __future__ import annotations

from typing import Any, Protocol

import httptools
from twisted.internet import protocol

from grape.reactor import Clock
from grape.web.answer import BAD_REQUEST, EXPECTATION_FAILED, HEAD_TOO_BIG, PAYLOAD_TOO_BIG, Answer
from grape.web.request import Request

MAX_HEAD_BYTES = 16_384
MAX_FIELDS = 100
# What a chunk of one byte takes: its length, two line ends and the byte.
CHUNK_BYTES = 6
HEAD_SECONDS = 10.0
BODY_SECONDS = 10.0


class Limits(Protocol):
    """What reading needs of the connection's factory."""

    clock: Clock
    max_payload_size: int


class RequestParser(protocol.Protocol):
    """A connection as far as it reads. The ``on_*`` methods are httptools' callbacks."""

    factory: Limits
    transport: Any
    deadline: float

    @property
    def is_idle(self) -> bool:
        """Whether no answer is owed."""
        raise NotImplementedError

    def _taken(self, request: Request) -> None:
        """A request was read to its end."""
        raise NotImplementedError

    def _refuse(self, answer: Answer) -> None:
        """Answer what is not read to its end, after all that came before it, and read no more."""
        raise NotImplementedError

    def _begin_reading(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._in_head = False
        self._data = b""
        # What came since the last message or, in a message with a body, since its head; how much of it was body.
        self._read_bytes = self._body_bytes = 0
        # Of the head: how many fields, and what they add up to.
        self._fields = self._field_bytes = 0
        # Once it is set nothing more is read; what comes in is thrown away.
        self._deaf = False
        self._upgrade_refused = False
        self._is_read_again = False

    def _parse(self, data: bytes) -> None:
        self._read_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)
        # Lengths of chunks and what is written behind them, trailers, empty lines: all that a parser goes on to read.
        if self._read_bytes > MAX_HEAD_BYTES + CHUNK_BYTES * self._body_bytes:
            self._refuse(HEAD_TOO_BIG if self._request is not None else BAD_REQUEST)

    def _without_upgrade(self, rest: bytes) -> None:
        """The client would like another protocol: read its request again without that wish."""
        request, self._request = self._request, None
        if self._deaf or not self._upgrade_refused or request is None:
            return
        self._upgrade_refused = False
        if self._is_read_again:
            # Once in what came together is a client that tries; reading on each time would go deeper each time.
            self._request = request
            self._refuse(BAD_REQUEST)
            return
        self._is_read_again = True
        self._parser = httptools.HttpRequestParser(self)
        self._parse(request.head_without_upgrade() + rest)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._request = Request(self._data)
        self._data = b""
        self._in_head = True
        self._fields = self._field_bytes = self._body_bytes = 0
        self.deadline = self.factory.clock.seconds() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        assert self._request is not None
        self._request.path += url
        self._field_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._request is not None
        if not self._in_head:  # A trailer.
            return
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._fields > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            return
        headers, key = self._request.headers, name.lower()
        if key in headers:
            # Two Hosts are one malformed one; other repeated headers are lists, or mean nothing to us.
            value = headers[key] + b", " + value
        headers[key] = value

    def on_headers_complete(self) -> None:
        request = self._request
        assert request is not None
        self._in_head = False
        self._read_bytes = 0
        self.deadline = self.factory.clock.seconds() + BODY_SECONDS
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        if self._deaf:
            return
        if self._fields > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_BIG)
            return
        version = self._parser.get_http_version()
        if request.method == b"CONNECT" or (b"host" not in request.headers and version == "1.1"):
            self._refuse(BAD_REQUEST)
            return
        if self._parser.should_upgrade():
            self._upgrade_refused = True
            return
        length = request.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.factory.max_payload_size:
            self._refuse(PAYLOAD_TOO_BIG)
            return
        expectation = request.headers.get(b"expect")
        if expectation is None or version == "1.0":
            return
        if expectation.lower() != b"100-continue":
            self._refuse(EXPECTATION_FAILED)
        elif self.is_idle:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        request = self._request
        if self._deaf or request is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.factory.max_payload_size:
            self._refuse(PAYLOAD_TOO_BIG)
        else:
            request.body.append(body)

    def on_message_complete(self) -> None:
        if self._upgrade_refused:
            return
        request, self._request = self._request, None
        self._read_bytes = self._body_bytes = 0
        if not self._deaf and request is not None:
            self._taken(request)
