"""Speaks KRPC over one UDP socket (BEP 5): sends queries, matches responses to them, answers the queries of others.

No datagram makes ``datagramReceived`` raise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from grape.config import DEFAULTS
from grape.dht import messages as krpc
from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import (
    AnsweredByOurselves,
    LocalProtocolError,
    QueryFailed,
    QueryTimeout,
    RemoteError,
    RemoteProtocolError,
)
from grape.dht.lookup import Candidate, Lookup
from grape.dht.messages import Error, Frame, Query, Response
from grape.dht.nodeid import ID_BYTES, RandomBytes
from grape.dht.responder import Responder, not_durable
from grape.dht.routing import Listed, RoutingTable
from grape.dht.rtt import RoundTrips
from grape.dht.transactions import MAX_PENDING, NOBODY, Outcome, Pending, Transactions
from grape.krpc.admission import Admission, LivenessCheck
from grape.krpc.traversal import Arguments
from grape.krpc.udp import SendTo, is_send_error_harmless, sender
from grape.metrics import Counters
from grape.reactor import Clock, Timer
from grape.state.journal import Journal, NullJournal

# A query for the longest key, with some space to spare.
MAX_STRANGERS_BYTES = 8_704
# The other queries in flight are for lookups that have begun and for the upkeep of the routing table.
BUSY_SHARE = 0.75

log = Logger(namespace="grape")


class Listener(Protocol):
    """Receives what an endpoint learns about other nodes."""

    def contact_listed(self, address: Address) -> None:
        """Called when a node answered and was added to the routing table."""

    def contact_dropped(self, address: Address) -> None:
        """Called when a contact was dropped from the routing table because it does not answer."""

    def warned(self, reason: str, address: Address) -> None:
        """Called for a malformed datagram, and for a response or error that matches no query in flight."""


class SingleQuery:
    """The outcome of one query outside a lookup: ``result`` fires with the response or fails with QueryFailed."""

    def __init__(self) -> None:
        self.result: Deferred[Response] = Deferred()

    def answered(self, pending: Pending, response: Response) -> None:
        """Fires ``result`` with the response."""
        if not self.result.called:
            self.result.callback(response)

    def slow(self, pending: Pending) -> None:
        """Does nothing: a single query waits for its time-out."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Fires ``result`` with the reason."""
        if not self.result.called:
            self.result.errback(reason)


class KRPCProtocol(DatagramProtocol):
    """One UDP socket that speaks KRPC. ``responder`` answers queries; ``table`` is updated with each answer.

    With ``read_only`` (BEP 43) queries are not answered and ours carry ``ro``. ``max_pending`` bounds the queries in
    flight, ``max_liveness_checks`` the checks among them, ``max_strangers`` the queriers remembered as checked.
    """

    noisy = False

    def __init__(
        self,
        reactor: Clock,
        table: RoutingTable,
        responder: Responder,
        random_bytes: RandomBytes,
        listener: Listener,
        journal: Journal | None = None,
        *,
        counters: Counters | None = None,
        read_only: bool = False,
        max_pending: int = MAX_PENDING,
        max_liveness_checks: int = DEFAULTS.max_liveness_checks,
        max_strangers: int = DEFAULTS.max_strangers,
    ) -> None:
        self.table = table
        self.counters = counters if counters is not None else Counters()
        self._reactor = reactor
        self._responder = responder
        self._listener = listener
        self._read_only = read_only
        self._transactions = Transactions(random_bytes, max_pending)
        self._busy_from = max_pending * BUSY_SHARE
        self._round_trips = RoundTrips()
        # One timer serves all queries; ``_timer_at`` is when it is due, infinity while none is set.
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._send_to: SendTo | None = None
        self._ping = self.frame(b"ping", {})
        self._journal: Journal = journal if journal is not None else NullJournal()
        self._admission = Admission(table, self._send_ping, self.counters, max_liveness_checks, max_strangers)

    @property
    def port(self) -> int:
        """The UDP port of the open socket."""
        assert self.transport is not None
        port: int = self.transport.getHost().port
        return port

    @property
    def pending(self) -> int:
        """The number of queries in flight."""
        return len(self._transactions)

    @property
    def is_busy(self) -> bool:
        """True while so many queries are in flight that no new lookup should begin."""
        return len(self._transactions) >= self._busy_from

    def ping(self, address: Address) -> Deferred[Response]:
        """Pings a node. Fails with QueryFailed: QueryTimeout after 2 s, RemoteError for an error in reply."""
        return self.query(address, b"ping", {})

    def check_liveness(self, address: Address, node_id: bytes = b"") -> None:
        """Pings a node to update the routing table, unless a ping to it is in flight."""
        self._admission.check(address, node_id)

    def query(self, address: Address, method: bytes, arguments: Arguments) -> Deferred[Response]:
        """Sends one query of any method to an IPv4 address and port. Fails with QueryFailed, within 2 s."""
        query = SingleQuery()
        if not is_ipv4(address[0]):  # ``sendto`` would resolve a host name and block the process meanwhile.
            return fail(QueryFailed(f"not an IPv4 address: {address[0]!r}"))
        if not self.send(address, 0.0, self.frame(method, arguments), query):
            query.result.errback(QueryFailed("the query could not be sent"))
        return query.result

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Handles one datagram. Never raises: each exception would let a stranger write a traceback to the log."""
        self.counters.datagrams_in += 1
        try:
            if len(datagram) > MAX_STRANGERS_BYTES and self.table.at(addr) is None:
                # Only a contact may send thousands of peers: decoding much takes time.
                self.counters.malformed += 1
                return
            now = self._reactor.seconds()
            try:
                message = krpc.decode(datagram)
            except RemoteProtocolError as error:
                self._malformed(error, addr)
                return
            if isinstance(message, Query):
                self._query_received(message, addr, now)
                return
            pending = self._transactions.close(message.transaction_id, addr)
            if pending is None:
                self.counters.unexpected += 1
                if not self.table.is_worth_asking(addr, now):
                    self._dropped_answered(message, addr, now)
                self._listener.warned("unexpected answer", addr)
            elif isinstance(message, Response):
                self._response_received(message, pending, now)
            else:
                self._error_received(message, pending, now)
        except Exception:
            self.counters.faults += 1
            log.failure("datagram of {size} bytes from {host}:{port} could not be handled",
                        size=len(datagram), host=addr[0], port=addr[1])  # fmt: skip

    def connectionRefused(self) -> None:
        """Does nothing: an ICMP error is a hint at most, the query's time-out decides."""

    def startProtocol(self) -> None:
        """Called by Twisted when the socket is open."""
        assert self.transport is not None
        self._send_to = sender(self.transport)

    def node_id_changed(self) -> None:
        """Encodes the ping anew, with the id that the table has adopted."""
        self._ping = self.frame(b"ping", {})

    def stopProtocol(self) -> None:
        """Called by Twisted when the socket is closed: fails every query in flight."""
        self._send_to = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_at = math.inf
        for pending in self._transactions.abandon():
            self._call(pending.outcome.failed, pending, QueryFailed("the node is stopping"))

    # Implements traversal.Network.

    def frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query of this node, all but its transaction id."""
        return krpc.encode_frame(method, {**arguments, b"id": self.table.own_id}, read_only=self._read_only)

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query that takes a token, all but its transaction id and the token."""
        return krpc.encode_write(method, {**arguments, b"id": self.table.own_id}, read_only=self._read_only)

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """Encodes a query of this node about a key, all but its transaction id."""
        return krpc.encode_key_frame(method, self.table.own_id, field, key, read_only=self._read_only)

    def send(self, address: Address, round_trip: float, frame: Frame, outcome: Outcome) -> bool:
        """Sends a query; ``outcome`` is told its end. Returns False if the query could not be sent."""
        now = self._reactor.seconds()
        try:
            pending = self._transactions.open(address, outcome, now, self._round_trips.soft_seconds(round_trip))
        except LocalProtocolError:
            self.counters.not_sent += 1
            return False
        if not self._write(frame[0] + pending.transaction_id + frame[1], address):
            self._transactions.take_back(pending)
            return False
        self.counters.queries_out += 1
        if pending.slow_at < self._timer_at:
            self._set_timer()
        return True

    def soft_timeout(self, candidate: Candidate) -> float:
        """Returns the seconds after which a query to a candidate counts as slow."""
        return self._round_trips.soft_seconds(candidate.round_trip)

    def add_candidate(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Adds a node that the node at ``told_by`` named to a lookup, unless it was dropped lately or is unusable."""
        contact = self.table.at(address)
        if contact is not None:
            lookup.add(contact.id, address, contact.round_trip, doubtful=contact.failures > 0)
        elif self.table.is_worth_asking(address, self._reactor.seconds()) and self.table.rules.is_usable(
            address[0], told_by[0]
        ):
            lookup.add(node_id, address)

    def seconds(self) -> float:
        """Returns the time on the reactor's clock."""
        return self._reactor.seconds()

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Calls a function after some seconds."""
        return self._reactor.callLater(seconds, function)

    def _malformed(self, error: RemoteProtocolError, address: Address) -> None:
        self.counters.malformed += 1
        if error.answerable:
            self._refuse(error, address)
        self._listener.warned(error.message, address)

    def _dropped_answered(self, message: Response | Error, address: Address, now: float) -> None:
        """Has a node pinged that answers after it was dropped: it was only paused, as by SIGSTOP."""
        node_id = message.values.get(b"id") if isinstance(message, Response) else None
        if isinstance(node_id, bytes) and len(node_id) == ID_BYTES:
            self._admission.queried(node_id, address, now)

    def _error_received(self, error: Error, pending: Pending, now: float) -> None:
        contact = self.table.at(pending.address)
        if contact is not None:
            # An error is a sign of life, too, though it carries no node id.
            self.table.heard(contact.id, pending.address, now, now - pending.sent_at)
        pending.outcome.failed(pending, RemoteError(error.code, error.message))

    def _query_received(self, query: Query, address: Address, now: float) -> None:
        self.counters.queries_in += 1
        if self._read_only:
            return
        try:
            answer = self._responder.answer(query, address, now)
        except RemoteProtocolError as error:
            self.counters.refused += 1
            self._refuse(error, address)
        else:
            is_limited = self.table.rules.is_public
            if answer is not None and (not is_limited or self._admission.may_send(len(answer), address, now)):
                if query.method == b"put":
                    self._journal.when_durable(partial(self._answer_put, query, answer, address))
                else:
                    self._write(answer, address)
        node_id = query.arguments.get(b"id")
        if not query.read_only and isinstance(node_id, bytes) and len(node_id) == ID_BYTES:
            self._admission.queried(node_id, address, now)

    def _response_received(self, response: Response, pending: Pending, now: float) -> None:
        node_id = response.values.get(b"id")
        if not isinstance(node_id, bytes) or len(node_id) != ID_BYTES:
            pending.outcome.failed(pending, QueryFailed("the answer has no node id"))
            return
        if node_id == self.table.own_id:
            pending.outcome.failed(pending, AnsweredByOurselves("the answer is our own"))
            return
        self.counters.answered += 1
        round_trip = now - pending.sent_at
        if not isinstance(pending.outcome, LivenessCheck):
            # A querier chooses when it is pinged, and by answering late could raise our timeouts.
            self._round_trips.measured(round_trip)
        listed = self.table.heard(node_id, pending.address, now, round_trip)
        if listed is Listed.NEW:
            self._admission.forget(node_id, pending.address)
            self._call(self._listener.contact_listed, pending.address)
        elif listed is Listed.REPLACEMENT:
            rival = self.table.questionable_rival(node_id, now)
            if rival is not None:
                self._admission.check(rival.address, rival.id)
        outcome, pending.outcome = pending.outcome, NOBODY
        outcome.answered(pending, response)

    # Sending

    def _send_ping(self, address: Address, outcome: Outcome) -> bool:
        return self.send(address, 0.0, self._ping, outcome)

    def _answer_put(self, query: Query, answer: bytes, address: Address, problem: str | None) -> None:
        if problem is None:
            self._write(answer, address)
        else:
            self._refuse(not_durable(problem, query.transaction_id), address)

    def _refuse(self, error: RemoteProtocolError, address: Address) -> None:
        answer = krpc.encode_error(error.transaction_id, error.code, error.message)
        if len(answer) <= krpc.MAX_ERROR_BYTES and self._admission.may_send(
            len(answer), address, self._reactor.seconds()
        ):
            self._write(answer, address)

    def _write(self, datagram: bytes, address: Address) -> bool:
        if self._send_to is None:
            return False
        try:
            self._send_to(datagram, address)
        except OSError as error:
            if not is_send_error_harmless(self._send_to, datagram, address, error):
                self.counters.send_errors += 1
                return False
        self.counters.datagrams_out += 1
        return True

    def _set_timer(self) -> None:
        """Sets the timer to the next deadline, unless it is due earlier."""
        at = self._transactions.next_deadline()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._reactor.callLater(max(at - self._reactor.seconds(), 0.0), self._due)

    def _due(self) -> None:
        self._timer_at = math.inf
        at, now = self._transactions.next_deadline(), self._reactor.seconds()
        if at is None or at > now:
            self._set_timer()
            return
        # If this process was busy, answers may wait unread: the socket is read first, then the deadlines count.
        self._timer_at = now
        self._timer = self._reactor.callLater(0, self._deadlines)

    def _deadlines(self) -> None:
        self._timer_at = math.inf
        now = self._reactor.seconds()
        slow, failed = self._transactions.due(now)
        self.counters.slow += len(slow)
        self.counters.timed_out += len(failed)
        for pending in slow:
            self._call(pending.outcome.slow, pending)
        for pending in failed:
            dropped = self.table.failed(pending.address, pending.sent_at, now)
            if dropped is not None:
                self._admission.forget(dropped.id, dropped.address)
                self._call(self._listener.contact_dropped, dropped.address)
            reason = QueryTimeout(f"{pending.address[0]}:{pending.address[1]}")
            self._call(pending.outcome.failed, pending, reason)
        self._set_timer()

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Calls a callback; logs and counts what it raises, so that the callbacks after it still run."""
        try:
            callback(*arguments)
        except Exception:
            self.counters.faults += 1
            log.failure("callback {callback} at the end of a query raised", callback=callback)
