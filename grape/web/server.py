"""Listens for HTTP: the server in front of the site, which answers the calls without the cost of twisted.web and Klein.

A lone lookup takes 21 us of processor time here and 99 us through twisted.web and Klein. The server keeps connections
within limits of number (those that brought no request are closed first) and of time (a head or body that takes too long
ends its connection).
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from http import HTTPStatus

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ServerFactory

from grape.metrics import Counters
from grape.reactor import Clock, Timer
from grape.web.access import Access, is_loopback
from grape.web.answer import JSON_TYPE, Answer, http_date
from grape.web.connection import Answerer, Connection, Site
from grape.web.head_cache import HeadCache
from grape.web.probes import ByTarget
from grape.web.request import CALL_TARGETS, PendingRequest
from grape.web.sockets import read_waiting

CLOSING_SECONDS = 1.5
SWEEP_SECONDS = 1.0
# A client that came less than this ago may have sent a request that was not read yet.
NEW_SECONDS = 0.1

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class HTTPServerFactory(ServerFactory):
    """Makes the server's connections, counts and limits them, and writes their answers.

    ``max_payload_size`` is in bytes. ``max_per_host`` limits the connections of one address; loopback and unix sockets
    are under ``max_connections`` alone. ``probes`` are the health checks that are answered without the site.
    """

    protocol = Connection  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        api: Answerer,
        site: Site,
        clock: Clock,
        access: Access,
        max_payload_size: int,
        max_connections: int,
        max_per_host: int,
        counters: Counters | None = None,
        probes: ByTarget | None = None,
    ) -> None:
        self.api = api
        self.site = site
        self.clock = clock
        self.access = access
        self.probes: ByTarget = probes if probes is not None else {}
        self.max_payload_size = max_payload_size
        self.head_cache = HeadCache()
        self.counters = counters if counters is not None else Counters()
        self.max_connections = max_connections
        self._answers = self.counters.answers
        self._answers_of_calls = self._answers.of_calls
        for target in CALL_TARGETS:
            self._answers_of_calls.setdefault(target, 0)
        self._max_per_host = max_per_host
        # The connections, the one that brought no request for longest first; and those that never brought one.
        self._connections: OrderedDict[Connection, None] = OrderedDict()
        self._new: OrderedDict[Connection, None] = OrderedDict()
        self._per_host: dict[str | None, int] = {}
        self._sweeper: Timer | None = None
        self._closed: Deferred[None] | None = None
        self._deadline: Timer | None = None
        self._last_chance: Timer | None = None
        # The Date of this second, and the head of an answer to a plain call up to its length.
        self._date = b""
        self._date_at = -1
        self._plain_head = b""

    def set_limits(self, max_payload_size: int, max_connections: int, max_per_host: int) -> None:
        """Sets the limits; connections above them are closed, idle ones at once, others once they are answered."""
        self.max_payload_size = max_payload_size
        self.max_connections = max_connections
        self._max_per_host = max_per_host
        # Its heads passed the limit and the access rules of before.
        self.head_cache = HeadCache()
        kept: dict[str | None, int] = {}
        number = 0
        # Those with an answer to come stay, and of the others those that brought a request last; streams go first.
        latest = list(self._connections)[::-1]
        latest.sort(key=lambda connection: (connection.is_streaming, connection.is_idle))
        for connection in latest:
            host = connection.peer_host
            is_surplus = host is not None and not is_loopback(host) and kept.get(host, 0) >= max_per_host
            if is_surplus or number >= max_connections:
                self.counters.evicted_connections += 1
                connection.close_when_answered()
            else:
                number += 1
                kept[host] = kept.get(host, 0) + 1

    def logPrefix(self) -> str:
        """Returns the name that Twisted's own log lines give the port."""
        return "HTTP API"

    def __len__(self) -> int:
        """Returns the number of open connections."""
        return len(self._connections)

    def connection_opened(self, connection: Connection) -> None:
        """Counts a connection; over a limit one is closed, which is this one if all others wait for their answers."""
        host = connection.peer_host
        self._connections[connection] = self._new[connection] = None
        self._per_host[host] = self._per_host.get(host, 0) + 1
        if self._sweeper is None:
            self._sweeper = self.clock.callLater(SWEEP_SECONDS, self._sweep)
        if host is not None and self._per_host[host] > self._max_per_host and not is_loopback(host):
            self._close_one([c for c in self._connections if c.peer_host == host], connection)
        elif len(self._connections) > self.max_connections:
            self._close_one(list(self._connections), connection)

    def request_read(self, connection: Connection) -> None:
        """Notes that a connection brought a whole request."""
        if connection in self._connections:
            self._new.pop(connection, None)
            self._connections.move_to_end(connection)

    def connection_closed(self, connection: Connection) -> None:
        """Forgets a connection."""
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
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """Closes all connections: idle ones now, others once they are answered. Fires within CLOSING_SECONDS.

        A client that has just come has NEW_SECONDS for its first request.
        """
        for connection in list(self._connections):
            if connection.is_idle:
                read_waiting(connection.transport)
        if not self._connections:
            return succeed(None)
        closed = self._closed = Deferred()
        self._deadline = self.clock.callLater(CLOSING_SECONDS, self._abort, None)
        new_since = self.clock.seconds() - NEW_SECONDS
        for connection in list(self._connections):
            if connection not in self._new or connection.opened_at <= new_since:
                connection.close_when_answered()
        if self._connections:
            self._last_chance = self.clock.callLater(NEW_SECONDS, self._close_new)
        return closed

    def response(self, answer: Answer, request: PendingRequest) -> bytes:
        """Returns the bytes of an answer, which is counted as given."""
        if int(self.clock.seconds()) != self._date_at:
            self._tell_time()
        # A plain one has a body and no headers but those of every answer. No property says so: each takes 0.1 us.
        is_plain = answer.status == 200 and request.keep_alive and not request.cors and request.method == b"POST"
        if is_plain and not answer.headers and answer.content_type is JSON_TYPE:
            # Only calls are answered like that.
            self._answers_of_calls[request.target] += 1
            return b"%b%d\r\n\r\n%b" % (self._plain_head, len(answer.body), answer.body)
        target = request.target
        is_known = target in CALL_TARGETS or target in self.probes
        self._answers.count(target.decode() if is_known else "other", answer.status)
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
            answer.status,
            _REASONS.get(answer.status, b"Unknown"),
            self._date,
            answer.content_type,
            len(answer.body),
            b"".join(b"%b: %b\r\n" % header for header in (*request.cors, *answer.headers)),
            b"" if request.keep_alive else b"Connection: close\r\n",
            b"" if request.method == b"HEAD" else answer.body,
        )

    def _close_new(self) -> None:
        for connection in list(self._connections):
            connection.close_when_answered()

    def _tell_time(self) -> None:
        self._date_at = int(self.clock.seconds())
        self._date = http_date(datetime.now(UTC))
        self._plain_head = (
            b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: " % (self._date, JSON_TYPE)
        )  # fmt: skip

    def _close_one(self, candidates: list[Connection], newcomer: Connection) -> None:
        """Closes one connection for a new one.

        The first of these that exists: the oldest stream; the oldest that brought no request; of the host with most
        connections, the idle one that brought no request for longest; the oldest that is too new to have brought one;
        the newcomer.
        """
        others = [c for c in candidates if c is not newcomer]
        new = [c for c in others if c in self._new]
        closed = next((c for c in others if c.is_streaming), None)
        if closed is None:
            closed = next((c for c in new if self.clock.seconds() - c.opened_at >= NEW_SECONDS), None)
        if closed is None:
            idle = [c for c in others if c.is_idle and c not in self._new]
            last = new[0] if new else newcomer
            closed = max(idle, key=lambda c: self._per_host[c.peer_host], default=last)
        if closed is newcomer:
            self.counters.refused_connections += 1
        else:
            self.counters.evicted_connections += 1
        # Forgotten at once: the transport calls connectionLost only in its next turn.
        self.connection_closed(closed)
        closed.transport.abortConnection()

    def _sweep(self) -> None:
        self._sweeper = self.clock.callLater(SWEEP_SECONDS, self._sweep)
        self._abort(self.clock.seconds())

    def _abort(self, now: float | None) -> None:
        """Cuts the connections whose deadline is over, or (None) all."""
        for connection in list(self._connections):
            if now is None or min(connection.deadline, connection.unread_deadline) <= now:
                connection.transport.abortConnection()

    def _stop_timers(self) -> None:
        for timer in (self._sweeper, self._deadline, self._last_chance):
            if timer is not None and timer.active():
                timer.cancel()
        self._sweeper = self._deadline = self._last_chance = None
