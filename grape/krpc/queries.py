"""Sends KRPC queries and tells their outcomes how they end: answered, slow, or failed.

Each query has two deadlines (``dht.transactions``); one timer serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.logger import Logger

from grape.dht import messages as krpc
from grape.dht.candidates import Candidate
from grape.dht.compact import Address
from grape.dht.counts import Sent
from grape.dht.errors import LocalProtocolError, QueryFailed, QueryTimeout
from grape.dht.hearsay import Hearsay
from grape.dht.lookup import Lookup
from grape.dht.messages import Frame
from grape.dht.nodeid import RandomBytes
from grape.dht.routing import RoutingTable
from grape.dht.rtt import RoundTrips
from grape.dht.transactions import Outcome, Pending, Transactions
from grape.krpc.port import SendTo
from grape.krpc.traversal import Arguments, UncountedWrite
from grape.krpc.udp import is_sent_again
from grape.metrics import Counters
from grape.reactor import Clock, Timer

# The other queries in flight are for lookups that have begun and for the upkeep of the routing table.
BUSY_SHARE = 0.75

log = Logger(namespace="grape.krpc")


class Queries:
    """The queries of one socket that are in flight, at most ``max_pending``; what lookups and writes send through.

    With ``read_only`` (BEP 43) queries carry ``ro``. ``timed_out(pending, now)`` is called before the outcome of a
    query that was not answered in time, unless its outcome is an UncountedWrite.

    ``hearsay`` marks addresses that nodes name and that do not answer; those in ``never_marked``, the bootstrap nodes,
    are exempt, and so are queriers while ``is_checking(address)``: they are being pinged.
    """

    def __init__(
        self,
        reactor: Clock,
        table: RoutingTable,
        random_bytes: RandomBytes,
        counters: Counters,
        timed_out: Callable[[Pending, float], object],
        *,
        read_only: bool,
        max_pending: int,
    ) -> None:
        self.transactions = Transactions(random_bytes, max_pending)
        self.round_trips = RoundTrips(counters.round_trips)
        self.lookup_times = counters.lookup_times
        self.hearsay = Hearsay()
        self.never_marked: set[Address] = set()
        self.is_checking: Callable[[Address], bool] = lambda address: False
        #: Returns the time on the reactor's clock.
        self.seconds: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._table = table
        self._counters = counters
        self.counts = counters.sent
        self._timed_out = timed_out
        self._read_only = read_only
        self._busy_from = max_pending * BUSY_SHARE
        # ``_timer_at`` is when the timer is due, infinity while none is set.
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._send_to: SendTo | None = None
        # Queries that ``unreachable`` made slow, until their outcomes are told.
        self._unreachable: list[Pending] = []

    def set_limit(self, max_pending: int) -> None:
        """Sets how many queries may be in flight; those that are stay."""
        self.transactions.set_limit(max_pending)
        self._busy_from = max_pending * BUSY_SHARE

    @property
    def is_busy(self) -> bool:
        """True while so many queries are in flight that no new lookup should begin."""
        return len(self.transactions) >= self._busy_from

    def start(self, send_to: SendTo) -> None:
        """Sends by ``send_to`` from now on: the socket is open."""
        self._send_to = send_to

    def stop(self) -> None:
        """Fails every query in flight: the socket is closed."""
        self._send_to = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_at = math.inf
        for pending in self.transactions.abandon():
            pending.counts.abandoned += 1
            self.call(pending.outcome.failed, pending, QueryFailed("the node is stopping"))

    # Implements traversal.Network.

    def frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query of this node, all but its transaction id."""
        return krpc.encode_frame(method, {**arguments, b"id": self._table.own_id}, read_only=self._read_only)

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query that takes a token, all but its transaction id and the token."""
        return krpc.encode_write(method, {**arguments, b"id": self._table.own_id}, read_only=self._read_only)

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """Encodes a query of this node about a key, all but its transaction id."""
        return krpc.encode_key_frame(method, self._table.own_id, field, key, self._read_only)

    def send(self, address: Address, round_trip: float, frame: Frame, counts: Sent, outcome: Outcome) -> float:
        """Sends a query, counted in ``counts``; ``outcome`` is told its end.

        Returns the seconds until it is slow, 0 if it was not sent.
        """
        soft_seconds = self.round_trips.soft_seconds(round_trip)
        try:
            pending = self.transactions.open(address, outcome, self.seconds(), soft_seconds, counts)
        except LocalProtocolError:
            counts.not_sent += 1
            return 0.0
        if not self.write(frame[0] + pending.transaction_id + frame[1], address):
            self.transactions.take_back(pending)
            counts.send_errors += 1
            return 0.0
        counts.sent += 1
        if pending.slow_at < self._timer_at:
            self._set_timer()
        return soft_seconds

    def add_candidate(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Adds a node that the node at ``told_by`` named to a lookup, unless it was dropped lately or is unusable.

        If it is marked as hearsay the lookup does not wait for it.
        """
        contact = self._table.at(address)
        if contact is not None:
            lookup.add_contact(contact)
            return
        now = self.seconds()
        if self._table.is_worth_asking(address, now) and self._table.rules.is_usable(address[0], told_by[0]):
            if address in self.never_marked:
                lookup.add(node_id, address)
            else:
                lookup.add(node_id, address, told_by=told_by, is_awaited=self.hearsay.is_awaited(address, now))

    def unanswered(self, candidate: Candidate, told_by: Address) -> None:
        """Marks a candidate that did not answer in time as hearsay, unless it is a contact by now, or a querier."""
        address = candidate.address
        if self._table.at(address) is None and not self.is_checking(address):
            self.hearsay.unanswered(address, told_by, self.seconds())

    def unreachable(self, address: Address, transaction_id: bytes) -> None:
        """Makes a query to ``address`` slow at once, as the system has learned that no process listens there.

        It does not fail: an ICMP error can be forged, and the process may be about to start. Does nothing unless a
        query with this transaction id is in flight to this address and is not slow yet. The outcome is told in the
        reactor's next turn, so that this may be called while a datagram is being sent.
        """
        pending = self.transactions.hasten(transaction_id, address)
        if pending is None:
            return
        self._table.silent(address)
        self._unreachable.append(pending)
        if len(self._unreachable) == 1:
            self._reactor.callLater(0, self._report_unreachable)

    def silent(self, address: Address) -> None:
        """Notes that a node let two queries in a row become slow: lookups do not wait for it until it answers."""
        self._table.silent(address)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Calls a function after some seconds."""
        return self._reactor.callLater(seconds, function)

    # Sending

    def write(self, datagram: bytes, address: Address, reply_by: SendTo | None = None) -> bool:
        """Sends a datagram, an answer by the ``reply_by`` of its query. Returns False if that failed."""
        send_to = self._send_to
        if send_to is None:
            return False
        if reply_by is not None:
            send_to = reply_by
        try:
            send_to(datagram, address)
        except OSError as error:
            if not is_sent_again(send_to, datagram, address, error):
                self._counters.send_errors += 1
                return False
        self._counters.datagrams_out += 1
        return True

    def _set_timer(self) -> None:
        """Sets the timer to the next deadline, unless it is due earlier."""
        at = self.transactions.next_deadline()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._reactor.callLater(max(at - self._reactor.seconds(), 0.0), self._due)

    def _due(self) -> None:
        self._timer_at = math.inf
        at, now = self.transactions.next_deadline(), self._reactor.seconds()
        if at is None or at > now:
            self._set_timer()
            return
        # If this process was busy, answers may wait unread: the socket is read first, then the deadlines count.
        self._timer_at = now
        self._timer = self._reactor.callLater(0, self._deadlines)

    def _deadlines(self) -> None:
        self._timer_at = math.inf
        now = self._reactor.seconds()
        slow, failed = self.transactions.due(now)
        self._counters.slow += len(slow)
        for pending in slow:
            self.call(pending.outcome.slow, pending)
        for pending in failed:
            pending.counts.timed_out += 1
            if not isinstance(pending.outcome, UncountedWrite):
                self.call(self._timed_out, pending, now)
            reason = QueryTimeout(f"{pending.address[0]}:{pending.address[1]}")
            self.call(pending.outcome.failed, pending, reason)
        self._set_timer()

    def _report_unreachable(self) -> None:
        unreachable, self._unreachable = self._unreachable, []
        for pending in unreachable:
            if not pending.done:
                self._counters.slow += 1
                self.call(pending.outcome.slow, pending)

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Calls a callback; logs and counts what it raises, so that the callbacks after it still run."""
        try:
            callback(*arguments)
        except Exception:
            self._counters.faults += 1
            log.failure("callback {callback} at the end of a query raised", callback=callback)
