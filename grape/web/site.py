"""Serves the Klein resource with twisted.web, behind the server or on a port of its own.

twisted.web limits the head of a request but not its body. Here a body over the limit is refused as its bytes arrive;
otherwise it would be buffered, on disk in the end, before a resource sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from grape.metrics import Answers
from grape.reactor import Clock, Timer
from grape.web.answer import PAYLOAD_TOO_BIG
from grape.web.connection import DISCARDED_BYTES, IDLE_SECONDS
from grape.web.server import CLOSING_SECONDS


class LimitedRequest(Request):
    """A request whose body is refused once it is, or is declared to be, longer than the site allows."""

    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Refuses a declared length over the limit, and never allocates more than the limit."""
        # A small bound keeps the body in memory: twisted.web puts bodies of unknown length into a file.
        super().gotLength(0 if length is None else min(length, self._limit))
        if length is not None and length > self._limit:
            # twisted.web would tell a client that asks first to go on.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Takes some of the body."""
        self._received += len(data)
        if not self._refused and self._received <= self._limit:
            super().handleContentChunk(data)
        elif not self._refused:
            self._refuse()
        elif self._received > self._limit + DISCARDED_BYTES:
            self.channel.forceAbortClient()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answers a whole request; closes the connection after a refused one."""
        if self._refused:
            self.channel.loseConnection()
            return
        channel = cast("GrapeChannel", self.channel)
        channel.begun += 1
        channel.site.active.add(channel)
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answers ``OPTIONS *`` as twisted.web does; ``*`` by other methods is an unknown path of the resource."""
        if self.path == b"*" and self.method != b"OPTIONS":
            self.path = b"/*"
        super().process()

    def finish(self) -> None:
        """Ends the answer."""
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
        """Answers 413 at once; the connection is closed when the body ends, or when it goes on for too long."""
        self._refused = True
        answer = PAYLOAD_TOO_BIG
        cast("GrapeChannel", self.channel).site.answers.count("other", answer.status)
        transport: Any = self.channel.transport
        transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Type: %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (answer.content_type, len(answer.body), answer.body)
        )


@implementer(IHalfCloseableProtocol)
class GrapeChannel(HTTPChannel):
    """A connection that its site knows of while it lasts."""

    site: GrapeSite
    #: How many whole requests were given to the resource so far.
    begun = 0
    #: True once the connection is to be closed after the answers to what has come.
    is_ending = False
    #: Ends the answer that is written as long as the client reads; None while there is none.
    end_stream: Callable[[], object] | None = None

    def connectionMade(self) -> None:
        """Tells the site of the connection."""
        super().connectionMade()
        self.site.connections.add(self)

    def timeoutConnection(self) -> None:
        """Closes an idle connection without a line in the log, as the server does."""
        transport: Any = self.transport
        transport.abortConnection()

    @property
    def is_answering(self) -> bool:
        """True while the resource has a request that it has not answered."""
        return self in self.site.active

    def close_when_answered(self) -> None:
        """Closes the connection once the whole requests that have come are answered: now if there are none."""
        self.is_ending = True
        if self.end_stream is not None:
            # Ends with ``answered``.
            self.end_stream()
        else:
            self.site.answered(self)

    def readConnectionLost(self) -> None:
        """Answers what has come whole, now that the client has closed its side, and closes the connection then."""
        self.close_when_answered()

    def writeConnectionLost(self) -> None:
        """Does nothing."""

    def connectionLost(self, reason: object = None) -> None:
        """Tells the site that the connection is gone."""
        super().connectionLost(reason)
        self.site.disconnected(self)


class GrapeSite(Site):
    """A site with a limit on bodies (in bytes) and no access log, which can be closed with all its connections.

    The answers that it gives itself, to bodies over the limit, are counted in ``answers``.
    """

    requestFactory = LimitedRequest
    protocol = GrapeChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self, resource: IResource, max_payload_size: int, reactor: Clock, answers: Answers | None = None
    ) -> None:
        # Bodies are JSON whatever their type says (the Ruby client calls them forms): nothing is decoded here.
        super().__init__(resource, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False)
        self.max_payload_size = max_payload_size
        self.answers = answers if answers is not None else Answers()
        self.displayTracebacks = False
        self.connections: set[GrapeChannel] = set()
        self.active: set[GrapeChannel] = set()
        self._closing: Deferred[None] | None = None
        self._deadline: Timer | None = None

    def startFactory(self) -> None:
        """Opens no access log: neither its file nor the timer of its time stamps."""

    def stopFactory(self) -> None:
        """Closes no access log."""

    def log(self, request: object) -> None:
        """Writes no access log."""

    def close(self) -> Deferred[None]:
        """Closes all connections: idle ones now, others once their answer is written. Fires within CLOSING_SECONDS."""
        if not self.connections:
            return succeed(None)
        closed = self._closing = Deferred()
        self._deadline = self.reactor.callLater(CLOSING_SECONDS, self._abort)
        for channel in list(self.connections):
            channel.close_when_answered()
        return closed

    def answered(self, channel: GrapeChannel) -> None:
        """Closes a connection that is to be closed after its answers, if it has had all of them."""
        if channel.is_ending and not channel.is_answering:
            channel.loseConnection()

    def disconnected(self, channel: GrapeChannel) -> None:
        """Forgets a connection; the last one ends the closing of the site."""
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
