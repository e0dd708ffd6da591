"""One connection of the HTTP door: requests in, answers out in the same order.

The four calls are answered here; at the first request for anything else the rest of the connection is twisted.web's.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

from grape.reactor import Clock
from grape.web.access import Access
from grape.web.answer import PREFLIGHT, Answer
from grape.web.head_cache import END, MAX_KNOWN_BYTES, HeadCache
from grape.web.parser import HEAD_SECONDS, RequestParser
from grape.web.request import CALL_PATHS, Answerer, Request, Site

MAX_PIPELINED = 16
IDLE_SECONDS = 30.0
# How long the sender of a refused body may go on before the connection is cut; it needs some time to read the answer.
LINGER_SECONDS = 2.0


class Factory(Protocol):
    """What a connection needs of its factory."""

    calls: Answerer
    site: Site
    access: Access
    heads: HeadCache
    clock: Clock
    max_payload_size: int
    is_closing: bool

    def opened(self, connection: Connection) -> None: ...

    def used(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def response(self, answer: Answer, request: Request) -> bytes: ...


@implementer(IPushProducer)
class Connection(RequestParser):
    """A client's connection."""

    factory: Factory
    transport: Any

    def connectionMade(self) -> None:
        """A client came."""
        self._begin_reading()
        self._queue: deque[Request] = deque()
        self._running = 0
        self._unread = False
        self._is_starting = False
        self._inner: Any = None
        self._local_host: str = self.transport.getHost().host
        self.peer_host: str = self.transport.getPeer().host
        self.opened_at = self.factory.clock.seconds()
        self.deadline = self.opened_at + HEAD_SECONDS
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.factory.opened(self)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The client is gone: what it asked for is called off."""
        self.factory.closed(self)
        self._deaf = True
        queue, self._queue = self._queue, deque()
        for request in queue:
            if request.work is not None:
                request.work.cancel()
        if self._inner is not None:
            self._inner.connectionLost(reason)

    @property
    def is_idle(self) -> bool:
        """Whether no answer is owed."""
        return not self._queue and (self._inner is None or not self._inner.requests)

    def pauseProducing(self) -> None:
        """The client does not read its answers: read no more of its requests."""
        self._unread = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._unread = False
        self._run()
        self._read_on()

    def _read_on(self) -> None:
        if not self._unread and len(self._queue) < MAX_PIPELINED:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is closing."""

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of one request or of several."""
        if self._deaf:
            return
        if self._request is None and self._inner is None:
            data = self._read_known(data)
            if not data:
                return
            self._data = data
        self._is_read_again = False
        self._parse(data)

    def _read_known(self, data: bytes) -> bytes:
        """Take the calls whose heads are known from the front of ``data``; what is left is for the parser."""
        while data and not self._deaf:
            body_at = data.find(END, 0, MAX_KNOWN_BYTES) + len(END)
            head = self.factory.heads.get(data[:body_at], self._local_host)
            if head is None or len(data) < body_at + head.body_bytes:
                break
            request = Request()
            request.method, request.path = b"POST", head.path
            request.body.append(data[body_at : body_at + head.body_bytes])
            data = data[body_at + head.body_bytes :]
            self._read_bytes = 0
            self.deadline = math.inf
            self.factory.used(self)
            self._queue.append(request)
            if len(self._queue) == 1 and not self._unread:
                self._running = 1
                self._call(request)
            else:
                request.headers = dict(head.headers)
                self._run()
                if len(self._queue) >= MAX_PIPELINED:
                    self.transport.pauseProducing()
        return data

    def _taken(self, request: Request) -> None:
        self.deadline = math.inf
        self.factory.used(self)
        if not request.keep_alive:
            self._deaf = True
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED:
            self.transport.pauseProducing()
        self._run()

    # Answering

    def _run(self) -> None:
        """Start the calls in line, unless the client leaves its answers unread. A request for anything else waits until
        it is the first."""
        if self._is_starting:  # What is answered at once comes back here: whoever started it goes on.
            return
        self._is_starting = True
        try:
            while not self._unread and self._running < min(len(self._queue), MAX_PIPELINED):
                if not self._start_next():
                    break
        finally:
            self._is_starting = False

    def _start_next(self) -> bool:
        """Start the first request in line that is not started yet. Whether the next one may be looked at."""
        request = self._queue[self._running]
        if request.refused:
            self._running += 1
            return True
        refusal = self.factory.access.refusal(request.method, request.headers, self._local_host)
        is_call = self._inner is None and request.path in CALL_PATHS
        if refusal is None and request.is_readable and not is_call:
            if not self._running:
                self._hand_over()
            return False
        if self._inner is not None and self._inner.requests:
            # The answer would overtake one that is not there yet; nobody honest comes here.
            self._deaf = True
            self.transport.loseConnection()
            return False
        self._running += 1
        self._start(request, refusal)
        return True

    def _start(self, request: Request, refusal: Answer | None) -> None:
        access = self.factory.access
        preflight = access.preflight(request.method, request.headers)
        if preflight is not None and refusal is None:
            request.cors = preflight
            self._answered(PREFLIGHT, request)
        elif refusal is not None:
            self._answered(refusal, request)
        else:
            request.cors = access.cors(request.headers)
            if request.path in CALL_PATHS and request.data and request.keep_alive:
                self.factory.heads.learn(request.data, self._local_host, request.path, request.headers)
            self._call(request)

    def _call(self, request: Request) -> None:
        body = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        request.work = self.factory.calls.answer(request.path, body, lambda answer: self._answered(answer, request))

    def _answered(self, answer: Answer, request: Request) -> None:
        request.answer = self.factory.response(answer, request)
        self._flush()

    def _flush(self) -> None:
        """Write the answers that are there, in the order of the requests."""
        queue = self._queue
        if not queue or queue[0].answer is None:
            return
        was_full = len(queue) >= MAX_PIPELINED
        request = queue.popleft()
        self._running -= 1
        answers = request.answer or b""
        while queue and queue[0].answer is not None:
            request = queue.popleft()
            self._running -= 1
            answers += request.answer or b""
        _write(self.transport, answers)
        if request.refused:
            # The client may still be sending: closing at once could cost it the answer.
            self.deadline = self.factory.clock.seconds() + LINGER_SECONDS
            self.transport.loseWriteConnection()
        elif not request.keep_alive or (self.factory.is_closing and not queue):
            self._deaf = True
            self.transport.loseConnection()
        else:
            if was_full:
                self._read_on()
            if queue:
                self._run()
            elif self._request is None:
                self.deadline = self.factory.clock.seconds() + IDLE_SECONDS

    def _refuse(self, answer: Answer) -> None:
        """Answer what is not read to its end, after all that came before it, and read no more."""
        if self._deaf:
            return
        self._deaf = True
        if self._inner is not None and self._inner.requests:
            self.transport.loseConnection()  # The answer would overtake one that is not there yet.
            return
        request = self._request or Request()
        request.refused = True
        request.keep_alive = False
        request.answer = self.factory.response(answer, request)
        self._queue.append(request)
        self._run()
        self._flush()

    def _hand_over(self) -> None:
        """Let the site answer what is in line, and all that follows on this connection."""
        if self._inner is None:
            self.transport.unregisterProducer()
            self._inner = self.factory.site.buildProtocol(self.transport.getPeer())
            self._inner.makeConnection(self.transport)
        deaf, queue = self._deaf, list(self._queue)
        self._queue.clear()
        self._running = 0
        if queue[-1].refused:
            # What could not be read is not handed on: the answer before it is the last.
            queue.pop()
            queue[-1].keep_alive = False
        for request in queue:
            self._inner.dataReceived(request.head() + b"".join(request.body))
        self._deaf = deaf


def _write(transport: ITransport, data: bytes) -> None:
    """Sends ``data`` at once if nothing waits before it; Twisted sends the rest.

    Twisted's own ``write`` waits for the next turn of its loop and asks the system twice whether it may: 27 % of a
    lone lookup.
    """
    if (
        type(transport) is Server
        and transport.connected
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # It would block, or the client is gone: Twisted's write finds out which.
            sent = 0
        data = data[sent:]
    if data:
        transport.write(data)
