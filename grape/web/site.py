"""A twisted.web site with a payload limit that acts where the bytes arrive: behind the door, or for a port of its own.

twisted.web bounds a request's head but not its body: without this a body of any size is buffered, on disk at last,
before a resource sees it.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from grape.reactor import Clock, Timer
from grape.web.answer import PAYLOAD_TOO_BIG

# As the door's.
IDLE_SECONDS = 30.0
# How much of a refused body is read and thrown away, so that its sender comes to read the answer.
DISCARDED_BYTES = 1_048_576
CLOSING_SECONDS = 1.5


class LimitedRequest(Request):
    """A request whose body is refused as soon as it is, or says that it is, longer than the site allows."""

    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """The head is in: refuse a declared length that is too much, and never make room for more than the limit."""
        # A small bound keeps the body in memory: twisted.web puts bodies of unknown length into a file.
        super().gotLength(0 if length is None else min(length, self._limit))
        if length is not None and length > self._limit:
            # twisted.web would tell who asked first to go on.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body is in."""
        self._received += len(data)
        if not self._refused and self._received <= self._limit:
            super().handleContentChunk(data)
        elif not self._refused:
            self._refuse()
        elif self._received > self._limit + DISCARDED_BYTES:
            self.channel.forceAbortClient()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The whole request is in."""
        if self._refused:
            self.channel.loseConnection()
            return
        # Bodies are JSON whatever their type says: Ruby's client calls them forms. Nothing is to be decoded here.
        self.requestHeaders.removeHeader(b"content-type")
        channel = cast("GrapeChannel", self.channel)
        channel.site.active.add(channel)
        super().requestReceived(command, path, version)

    def finish(self) -> None:
        """The answer is written."""
        channel = cast("GrapeChannel", self.channel)
        # First, as finishing starts the next request of the connection.
        channel.site.active.discard(channel)
        super().finish()
        channel.site.answered(channel)

    @property
    def _limit(self) -> int:
        channel = cast("GrapeChannel", self.channel)
        return channel.site.max_payload_size

    def _refuse(self) -> None:
        """Answer 413 at once; the connection is closed when the body ends, or when it goes on for too long."""
        self._refused = True
        answer = PAYLOAD_TOO_BIG
        transport: Any = self.channel.transport
        transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Type: %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (answer.content_type, len(answer.body), answer.body)
        )


class GrapeChannel(HTTPChannel):
    """A connection, known to its site while it lasts."""

    site: GrapeSite

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connections.add(self)

    def timeoutConnection(self) -> None:
        """It was idle for too long: closed as the door does it, without a line in the log for each."""
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: object = None) -> None:
        super().connectionLost(reason)
        self.site.disconnected(self)


class GrapeSite(Site):
    """A site with a limit on bodies (bytes), without an access log, that can be closed with all its connections."""

    requestFactory = LimitedRequest
    protocol = GrapeChannel  # type: ignore[assignment]
    noisy = False

    def __init__(self, resource: IResource, max_payload_size: int, reactor: Clock) -> None:
        super().__init__(resource, timeout=IDLE_SECONDS, reactor=reactor)
        self.max_payload_size = max_payload_size
        self.displayTracebacks = False
        self.connections: set[GrapeChannel] = set()
        self.active: set[GrapeChannel] = set()
        self._closing: Deferred[None] | None = None
        self._deadline: Timer | None = None

    def startFactory(self) -> None:
        """No access log: neither the file nor the timer of its time stamps."""

    def stopFactory(self) -> None:
        """See startFactory."""

    def log(self, request: object) -> None:
        """See startFactory."""

    def close(self) -> Deferred[None]:
        """Close all connections: idle ones now, others once their answer is written. Fires within 1.5 s."""
        if not self.connections:
            return succeed(None)
        closed = self._closing = Deferred()
        self._deadline = self.reactor.callLater(CLOSING_SECONDS, self._abort)
        for channel in list(self.connections):
            if channel not in self.active:
                channel.loseConnection()
        return closed

    def answered(self, channel: GrapeChannel) -> None:
        """An answer was written to a connection."""
        if self._closing is not None and channel not in self.active:
            channel.loseConnection()

    def disconnected(self, channel: GrapeChannel) -> None:
        """A connection is gone."""
        self.connections.discard(channel)
        self.active.discard(channel)
        if not self.connections and self._closing is not None:
            closing, self._closing = self._closing, None
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()
            closing.callback(None)

    def _abort(self) -> None:
        for channel in list(self.connections):
            channel.forceAbortClient()
