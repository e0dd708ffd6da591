"""Reads requests from the bytes of a connection, with limits on everything that is sent.

httptools does the parsing, with the parser that Node itself uses.
"""

from __future__ import annotations

from typing import Any, Protocol

import httptools
from twisted.internet import protocol

from grape.reactor import Clock
from grape.web.answer import BAD_REQUEST, EXPECTATION_FAILED, HEAD_TOO_BIG, PAYLOAD_TOO_BIG, Answer
from grape.web.request import PendingRequest, in_origin_form

MAX_HEAD_BYTES = 16_384
MAX_FIELDS = 100
# A chunk of one byte: its length, two line ends and the byte.
CHUNK_BYTES = 6
HEAD_SECONDS = 10.0
BODY_SECONDS = 10.0


class Limits(Protocol):
    """The parser's view of the factory that made the connection."""

    clock: Clock
    max_payload_size: int


class RequestParser(protocol.Protocol):
    """The reading half of a connection. The ``on_*`` methods are httptools' callbacks."""

    transport: Any
    #: The time at which the connection is cut, in the clock's seconds.
    deadline: float
    #: The client's IP address, None at a unix socket.
    peer_host: str | None

    @property
    def is_idle(self) -> bool:
        """True while no answer is owed."""
        raise NotImplementedError

    def _taken(self, request: PendingRequest) -> None:
        """Called with a request that was read to its end."""
        raise NotImplementedError

    def _refuse(self, answer: Answer) -> None:
        """Answers a request before it is read to its end, after all earlier ones, and reads no more."""
        raise NotImplementedError

    def _begin_reading(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        # The request that is being read, its headers and the pieces of its body.
        self._request: PendingRequest | None = None
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._in_head = False
        self._data = b""
        # Bytes since the last message or, in a message with a body, since its head; how many of them were body.
        self._read_bytes = self._body_bytes = 0
        # Of the head: the number of fields and the sum of their lengths.
        self._fields = self._field_bytes = 0
        # Once True nothing more is read; what comes in is thrown away.
        self._deaf = False
        self._upgrade_refused = False
        self._is_read_again = False

    def _parse(self, data: bytes) -> None:
        self._read_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)
        # The lengths and extensions of chunks, trailers, empty lines: httptools itself would read them without end.
        if self._read_bytes > MAX_HEAD_BYTES + CHUNK_BYTES * self._body_bytes:
            self._refuse(HEAD_TOO_BIG if self._request is not None else BAD_REQUEST)

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Ignores ``Upgrade``: parses the request again without it."""
        request, self._request = self._request, None
        if self._deaf or not self._upgrade_refused or request is None:
            return
        self._upgrade_refused = False
        if self._is_read_again:
            # An honest client asks once in what arrives together; each parsing again is one level of recursion more.
            self._request = request
            self._refuse(BAD_REQUEST)
            return
        self._is_read_again = True
        self._parser = httptools.HttpRequestParser(self)
        self._parse(request.head_without_upgrade() + rest)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._headers, self._pieces = {}, []
        self._request = PendingRequest(b"", b"", self._headers, self.peer_host, b"", self._data)
        self._data = b""
        self._in_head = True
        self._fields = self._field_bytes = self._body_bytes = 0
        self.deadline = self._limits.clock.seconds() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        assert self._request is not None
        self._request.target += url
        self._field_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # A trailer.
            return
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._fields > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            return
        headers, key = self._headers, name.lower()
        if key in headers:
            # Two Hosts make one malformed Host; other repeated headers are lists, or mean nothing to a grape.
            value = headers[key] + b", " + value
        headers[key] = value

    def on_headers_complete(self) -> None:
        request, headers = self._request, self._headers
        assert request is not None
        self._in_head = False
        self._read_bytes = 0
        self.deadline = self._limits.clock.seconds() + BODY_SECONDS
        request.method = self._parser.get_method()
        version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive() and version == "1.1"
        if self._deaf:
            return
        if self._fields > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_BIG)
            return
        if request.method == b"CONNECT" or (b"host" not in headers and version == "1.1"):
            self._refuse(BAD_REQUEST)
            return
        if not request.target.startswith(b"/"):
            request.target, authority = in_origin_form(request.target)
            if authority is not None:
                headers[b"host"] = authority
        if self._parser.should_upgrade():
            self._upgrade_refused = True
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._limits.max_payload_size:
            self._refuse(PAYLOAD_TOO_BIG)
            return
        expectation = headers.get(b"expect")
        if expectation is None or version == "1.0":
            return
        if expectation.lower() != b"100-continue":
            self._refuse(EXPECTATION_FAILED)
        elif self.is_idle:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._deaf or self._request is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_payload_size:
            self._refuse(PAYLOAD_TOO_BIG)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._upgrade_refused:
            return
        request, self._request = self._request, None
        self._read_bytes = self._body_bytes = 0
        if not self._deaf and request is not None:
            pieces = self._pieces
            request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._taken(request)
