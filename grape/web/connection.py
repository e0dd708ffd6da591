"""Serves one connection of the HTTP server: requests in, answers out in the same order.

The calls are answered here; at the first request for anything else the rest of the connection goes to twisted.web.

A client may close its side of the connection once its requests are sent: it gets all its answers. Announces and puts
that came whole are made even if their client is gone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import classImplements

from grape.coalesce import Cancellable
from grape.reactor import Clock
from grape.web.access import Access
from grape.web.answer import BAD_REQUEST, Answer
from grape.web.head_cache import END, MAX_HEAD_BYTES, HeadCache
from grape.web.parser import HEAD_SECONDS, RequestParser
from grape.web.probes import ByTarget
from grape.web.request import CALL_TARGETS, WRITE_TARGETS, PendingRequest, Request
from grape.web.sockets import close, write

MAX_PIPELINED = 16
IDLE_SECONDS = 30.0
# How long the sender of a refused body may go on before the connection is cut; it needs some time to read the answer.
LINGER_SECONDS = 2.0
# How much a client may send after a request that ends its connection before it is cut off, too.
DISCARDED_BYTES = 1_048_576


class Answerer(Protocol):
    """Answers the calls: grape.web.api.Api."""

    def answer(self, request: Request, done: Callable[[Answer], object]) -> Cancellable: ...


class Site(Protocol):
    """Answers the other requests: a twisted.web site."""

    def buildProtocol(self, addr: IAddress) -> Any: ...


class Factory(Protocol):
    """A connection's view of the factory that made it."""

    api: Answerer
    site: Site
    access: Access
    probes: ByTarget
    head_cache: HeadCache
    clock: Clock
    max_payload_size: int

    def connection_opened(self, connection: Connection) -> None: ...

    def request_read(self, connection: Connection) -> None: ...

    def connection_closed(self, connection: Connection) -> None: ...

    def response(self, answer: Answer, request: PendingRequest) -> bytes: ...


class Connection(RequestParser):
    """A client's connection, over TCP or a unix socket."""

    factory: Factory
    transport: Any

    def connectionMade(self) -> None:
        """Starts to read."""
        self._begin_reading(self.factory)
        # The requests that are not answered yet; the first _running of them are started.
        self._queue: deque[PendingRequest] = deque()
        self._running = 0
        self._is_write_blocked = False
        self._is_starting = False
        # True once the connection is to be closed after the answers to what has come.
        self._is_ending = False
        self._discarded_bytes = 0
        # The connection of twisted.web that takes the rest of this one, and the requests that it was given and has not
        # begun to answer; and how many it had begun when this was last looked at.
        self._inner: Any = None
        self._handed_over: deque[PendingRequest] = deque()
        self._begun = 0
        # A unix socket has no IP addresses.
        self._local_host: str | None = getattr(self.transport.getHost(), "host", None)
        self.peer_host = getattr(self.transport.getPeer(), "host", None)
        self.opened_at = self.factory.clock.seconds()
        self.deadline = self.opened_at + HEAD_SECONDS
        self.unread_deadline = math.inf
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._is_producer = True
        self.factory.connection_opened(self)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Ends the lookups and gets that the client waited for. Announces and puts are made."""
        self.factory.connection_closed(self)
        self._deaf = True
        queue, self._queue = self._queue, deque()
        if self._inner is not None:
            self._forget_begun()
            if self._inner.is_answering:
                # Those behind the one that is answered are not parsed yet.
                queue.extendleft(reversed(self._handed_over))
            self._inner.connectionLost(reason)
        for request in queue:
            if request.work is None and request.answer is None and request.target in WRITE_TARGETS:
                self._start(request)
            if request.work is not None:
                request.work.cancel()

    def readConnectionLost(self) -> None:
        """Answers all that has come whole, now that the client has closed its side, and closes the connection then.

        Twisted calls it again whenever reading is resumed.
        """
        if self._request is not None and not self._deaf:
            self._is_ending = True
            self._refuse(BAD_REQUEST)
        elif self._queue or self._inner is not None:
            self.close_when_answered()
        else:
            self._stop_producing()
            close(self.transport)

    def writeConnectionLost(self) -> None:
        """Does nothing: this side of the connection is closed after a refusal."""

    def close_when_answered(self) -> None:
        """Closes the connection once the requests that have come are answered: now if there are none."""
        self._is_ending = True
        if self._inner is not None:
            self._inner.close_when_answered()
        elif not self._queue:
            self._close()
        elif self._queue[-1].answer is not None:
            self._queue[-1].keep_alive = False
            self._deaf = True

    @property
    def is_idle(self) -> bool:
        """True while no answer is owed."""
        return not self._queue and (self._inner is None or not self._inner.requests)

    @property
    def is_streaming(self) -> bool:
        """True while an answer is written that ends only with the connection."""
        return self._inner is not None and self._inner.end_stream is not None

    def pauseProducing(self) -> None:
        """Reads no more requests while the client does not read its answers."""
        self._is_write_blocked = True
        self.unread_deadline = self.factory.clock.seconds() + IDLE_SECONDS
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Goes on once the client reads again."""
        self._is_write_blocked = False
        self.unread_deadline = math.inf
        self._run()
        self._read_on()

    def _read_on(self) -> None:
        if not self._is_write_blocked and len(self._queue) < MAX_PIPELINED:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Does nothing: the transport is closing."""

    def dataReceived(self, data: bytes) -> None:
        """Takes some bytes of one request or of several."""
        if self._deaf:
            self._discard(data)
            return
        if self._request is None and self._inner is None:
            data = self._read_known(data)
            if not data:
                return
            self._data = data
        self._is_read_again = False
        self._parse(data)

    def _discard(self, data: bytes) -> None:
        """Throws away what comes after the last request that is answered, up to a limit."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes <= DISCARDED_BYTES:
            return
        if self.is_idle:
            self.transport.abortConnection()
        else:
            # Answers are owed; with unread data the connection is reset when it is closed after them.
            self.transport.pauseProducing()

    def _read_known(self, data: bytes) -> bytes:
        """Takes the calls whose heads are known from the front of ``data``; returns the rest, for the parser."""
        while data and not self._deaf:
            body_at = data.find(END, 0, MAX_HEAD_BYTES) + len(END)
            head = self.factory.head_cache.get(data[:body_at], self._local_host)
            if head is None or len(data) < body_at + head.body_bytes:
                break
            end = body_at + head.body_bytes
            request = PendingRequest(b"POST", head.target, head.headers, self.peer_host, data[body_at:end])
            data = data[end:]
            self._read_bytes = 0
            self.deadline = math.inf
            self.factory.request_read(self)
            self._queue.append(request)
            if len(self._queue) == 1 and not self._is_write_blocked:
                self._running = 1
                self._call(request)
            else:
                self._run()
                if len(self._queue) >= MAX_PIPELINED:
                    self.transport.pauseProducing()
        return data

    def _taken(self, request: PendingRequest) -> None:
        self.deadline = math.inf
        self.factory.request_read(self)
        if not request.keep_alive:
            self._deaf = True
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED:
            self.transport.pauseProducing()
        self._run()

    # Answering

    def _run(self) -> None:
        """Starts the requests in line, unless the client does not read its answers."""
        if self._is_starting:  # An answer that is there at once comes back to here: the loop below goes on.
            return
        self._is_starting = True
        try:
            while not self._is_write_blocked and self._running < min(len(self._queue), MAX_PIPELINED):
                if not self._start_next():
                    break
        finally:
            self._is_starting = False

    def _start_next(self) -> bool:
        """Starts the first request that is not started yet. Returns True if the next one may be looked at.

        A request for twisted.web waits until it is the first in line. It is not judged here: a route says itself
        whether it is under the access rules.
        """
        request = self._queue[self._running]
        if not request.refused:
            if self._inner is not None or request.target not in CALL_TARGETS:
                probe = self.factory.probes.get(request.target) if self._inner is None else None
                if probe is not None and request.method in (b"GET", b"HEAD"):
                    self._running += 1
                    self._answer_probe(probe, request)
                    return True
                if not self._running:
                    self._hand_over()
                return False
            self._running += 1
            self._start(request)
        else:
            self._running += 1
        return True

    def _start(self, request: PendingRequest) -> None:
        refusal, request.cors = self.factory.access.judge(request.method, request.headers, self._local_host)
        if refusal is not None:
            self._answered(refusal, request)
            return
        if request.data and request.keep_alive:
            self.factory.head_cache.learn(request.data, self._local_host, request.target, request.headers)
        self._call(request)

    def _answer_probe(self, probe: Callable[[], Answer], request: PendingRequest) -> None:
        """Answers a health check whatever its Host and Origin say."""
        request.cors = self.factory.access.cors(request.headers)
        self._answered(probe(), request)

    def _call(self, request: PendingRequest) -> None:
        request.local = self._local_host
        request.work = self.factory.api.answer(request, lambda answer: self._answered(answer, request))

    def _answered(self, answer: Answer, request: PendingRequest) -> None:
        if self._is_ending and self._queue and request is self._queue[-1]:
            request.keep_alive = False
            self._deaf = True
        request.answer = self.factory.response(answer, request)
        self._flush()

    def _flush(self) -> None:
        """Writes the answers that are there, in the order of the requests."""
        queue = self._queue
        answers = queue[0].answer if queue else None
        if answers is None:
            return
        was_full = len(queue) >= MAX_PIPELINED
        request = queue.popleft()
        self._running -= 1
        while queue:
            # A name of its own: what mypy learns of ``queue[0]`` it believes after ``popleft``, too, and mypyc with it.
            following = queue[0].answer
            if following is None:
                break
            answers += following
            request = queue.popleft()
            self._running -= 1
        write(self.transport, answers)
        if request.refused and not self._is_ending and self._discarded_bytes <= DISCARDED_BYTES:
            # The client may still be sending: to close at once could cost it the answer.
            self.deadline = self.factory.clock.seconds() + LINGER_SECONDS
            self._stop_producing()
            self.transport.loseWriteConnection()
        elif not request.keep_alive:
            self._close()
        else:
            if was_full:
                self._read_on()
            if queue:
                self._run()
            elif self._request is None:
                self.deadline = self.factory.clock.seconds() + IDLE_SECONDS

    def _refuse(self, answer: Answer) -> None:
        """Answers a request before it is read to its end, after all earlier ones, and reads no more."""
        if self._deaf:
            return
        self._deaf = True
        if self._inner is not None and self._inner.requests:
            # The refusal would overtake an answer that is not there yet: that answer is the last.
            self.close_when_answered()
            return
        request = self._request or PendingRequest(b"", b"", {}, self.peer_host)
        request.refused = True
        request.keep_alive = False
        request.answer = self.factory.response(answer, request)
        self._queue.append(request)
        self._run()
        self._flush()

    def _hand_over(self) -> None:
        """Gives the requests in line, and all that follow on this connection, to twisted.web."""
        if self._inner is None:
            self._stop_producing()
            self._inner = self.factory.site.buildProtocol(self.transport.getPeer())
            self._inner.makeConnection(self.transport)
        deaf, queue = self._deaf, list(self._queue)
        self._queue.clear()
        self._running = 0
        if queue[-1].refused:
            # What could not be read is not handed on: the answer before it is the last.
            queue.pop()
            queue[-1].keep_alive = False
        self._forget_begun()
        for request in queue:
            self._handed_over.append(request)
            self._inner.dataReceived(request.head() + request.body)
        self._deaf = deaf
        if self._is_ending:
            self._inner.close_when_answered()

    def _forget_begun(self) -> None:
        """Forgets the requests that twisted.web has begun to answer."""
        begun, self._begun = self._begun, self._inner.begun
        for _ in range(self._begun - begun):
            self._handed_over.popleft()

    def _stop_producing(self) -> None:
        """Has the transport pause and resume this no more: one whose producer is paused would not close."""
        if self._is_producer:
            self._is_producer = False
            self.unread_deadline = math.inf
            self.transport.unregisterProducer()

    def _close(self) -> None:
        """Closes the connection once its answers are sent; a client that does not read them is cut off."""
        self._deaf = True
        self.deadline = self.factory.clock.seconds() + IDLE_SECONDS
        self._stop_producing()
        (self._inner or self.transport).loseConnection()


# Not by a decorator: mypyc would not compile the class.
classImplements(Connection, IPushProducer, IHalfCloseableProtocol)
