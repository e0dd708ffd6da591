"""The HTTP door that faces the network: Grenache's calls without twisted.web's cost for each of them.

It keeps connections within bounds: of number, those that brought no request go first; of time, a head or a body that
takes too long is cut off.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ServerFactory

from grape.metrics import Counters
from grape.reactor import Clock, Timer
from grape.web.access import Access, is_loopback
from grape.web.answer import JSON_TYPE, Answer
from grape.web.connection import Connection
from grape.web.head_cache import HeadCache
from grape.web.request import Answerer, Request, Site

CLOSING_SECONDS = 1.5
SWEEP_SECONDS = 1.0
# A client that came less than this ago may not have been read yet.
NEW_SECONDS = 0.1

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class HTTPServerFactory(ServerFactory):
    """The door's listening side. ``max_payload_size`` in bytes, ``max_per_host`` for hosts other than loopback."""

    protocol = Connection  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        calls: Answerer,
        site: Site,
        clock: Clock,
        access: Access,
        max_payload_size: int,
        max_connections: int,
        max_per_host: int,
        counters: Counters | None = None,
    ) -> None:
        self.calls = calls
        self.site = site
        self.max_payload_size = max_payload_size
        self._max_connections = max_connections
        self._max_per_host = max_per_host
        self.clock = clock
        self.access = access
        self.heads = HeadCache()
        self.is_closing = False
        self.counters = counters if counters is not None else Counters()
        # The connections, the one that asked nothing for longest first; and those that brought no whole request yet.
        self._connections: OrderedDict[Connection, None] = OrderedDict()
        self._new: OrderedDict[Connection, None] = OrderedDict()
        self._per_host: dict[str, int] = {}
        self._sweeper: Timer | None = None
        self._closed: Deferred[None] | None = None
        self._deadline: Timer | None = None
        self._date = b""
        self._date_at = -1
        # What the answer to a plain call begins with, this second.
        self._plain_head = b""

    def logPrefix(self) -> str:
        """Returns the name that Twisted's own log lines give the port."""
        return "HTTP API"

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def opened(self, connection: Connection) -> None:
        """A connection came. When there are too many, one goes: this one, if all others wait for their answers."""
        host = connection.peer_host
        self._connections[connection] = self._new[connection] = None
        self._per_host[host] = self._per_host.get(host, 0) + 1
        if self._sweeper is None:
            self._sweeper = self.clock.callLater(SWEEP_SECONDS, self._sweep)
        if self._per_host[host] > self._max_per_host and not is_loopback(host):
            self._evict(connection, host)
        elif len(self._connections) > self._max_connections:
            self._evict(connection, None)

    def used(self, connection: Connection) -> None:
        """A connection brought a whole request."""
        if connection in self._connections:
            self._new.pop(connection, None)
            self._connections.move_to_end(connection)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        self._new.pop(connection, None)
        host = connection.peer_host
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
        if not self._connections:
            self._stop_timers()
            closed, self._closed = self._closed, None
            if closed is not None:
                self.is_closing = False
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close all connections: idle ones now, others once they are answered. Fires within CLOSING_SECONDS."""
        if not self._connections:
            return succeed(None)
        self.is_closing = True
        closed = self._closed = Deferred()
        self._deadline = self.clock.callLater(CLOSING_SECONDS, self._abort, None)
        for connection in list(self._connections):
            if connection.is_idle:
                connection.transport.loseConnection()
        return closed

    def response(self, answer: Answer, request: Request) -> bytes:
        """The bytes of an answer."""
        self._tell_time()
        if answer.status == 200 and request.is_plain and answer.content_type is JSON_TYPE:
            return b"%b%d\r\n\r\n%b" % (self._plain_head, len(answer.body), answer.body)
        headers = b"".join(b"%b: %b\r\n" % header for header in request.cors)
        if answer.status == 503:
            headers += b"Retry-After: 1\r\n"
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
            answer.status,
            _REASONS.get(answer.status, b"Unknown"),
            self._date,
            answer.content_type,
            len(answer.body),
            headers,
            b"" if request.keep_alive else b"Connection: close\r\n",
            b"" if request.method == b"HEAD" else answer.body,
        )

    def _tell_time(self) -> None:
        at = int(self.clock.seconds())
        if at != self._date_at:
            self._date_at = at
            self._date = format_datetime(datetime.now(UTC), usegmt=True).encode()
            self._plain_head = (
                b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: " % (self._date, JSON_TYPE)
            )  # fmt: skip

    def _evict(self, newcomer: Connection, host: str | None) -> None:
        """Make room, on one host or (None) in all: the oldest that brought no request goes, then, of the
        host that has most connections, the idle one that asked nothing for longest, then the oldest new one."""
        others = [c for c in self._connections if c is not newcomer and host in (None, c.peer_host)]
        new = [c for c in others if c in self._new]
        gone = next((c for c in new if self.clock.seconds() - c.opened_at >= NEW_SECONDS), None)
        if gone is None:
            idle = [c for c in others if c.is_idle and c not in self._new]
            last = new[0] if new else newcomer
            gone = max(idle, key=lambda c: self._per_host[c.peer_host], default=last)
        if gone is newcomer:
            self.counters.refused_connections += 1
        else:
            self.counters.evicted_connections += 1
        # Gone from here at once: the transport says so only at its next turn.
        self.closed(gone)
        gone.transport.abortConnection()

    def _sweep(self) -> None:
        self._sweeper = self.clock.callLater(SWEEP_SECONDS, self._sweep)
        self._abort(self.clock.seconds())

    def _abort(self, now: float | None) -> None:
        for connection in list(self._connections):
            if now is None or connection.deadline <= now:
                connection.transport.abortConnection()

    def _stop_timers(self) -> None:
        for timer in (self._sweeper, self._deadline):
            if timer is not None and timer.active():
                timer.cancel()
        self._sweeper = self._deadline = None
