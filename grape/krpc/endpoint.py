"""Speaks KRPC over one UDP socket (BEP 5): sends queries, matches responses to them, answers the queries of others.

No datagram makes ``datagramReceived`` raise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from grape.config import DEFAULTS, Config
from grape.dht import messages as krpc
from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import AnsweredByOurselves, QueryFailed, RemoteError, RemoteProtocolError
from grape.dht.messages import Error, Query, Response
from grape.dht.nodeid import ID_BYTES, RandomBytes
from grape.dht.responder import Responder, not_durable
from grape.dht.routing import KNOWN, Listed, RoutingTable
from grape.dht.transactions import MAX_PENDING, NOBODY, Outcome, Pending
from grape.krpc.admission import Admission
from grape.krpc.clones import Clones
from grape.krpc.liveness import LivenessCheck
from grape.krpc.port import AnsweringProtocol, SendTo
from grape.krpc.queries import Queries
from grape.krpc.traversal import Arguments
from grape.krpc.udp import sender
from grape.logs.levels import is_debugged
from grape.metrics import Counters
from grape.reactor import Clock
from grape.state.journal import Journal, NullJournal

# A query for the longest key, with some space to spare.
MAX_STRANGERS_BYTES = 8_704

LOGGER = "grape.krpc"
log = Logger(namespace=LOGGER)


Intercept = Callable[[bytes, Response, Pending, float], bool]


class Listener(Protocol):
    """Receives what an endpoint learns about other nodes."""

    def contact_listed(self, address: Address) -> None:
        """Called when a node answered and was added to the routing table."""

    def contact_dropped(self, address: Address) -> None:
        """Called when a contact was dropped from the routing table because it does not answer."""

    def clone_found(self, address: Address) -> None:
        """Called when another node has answered two pings with our own node id."""

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


class KRPCProtocol(AnsweringProtocol):
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
        # The core counts these itself, as it imports nothing of ours.
        self.counters.received = responder.received
        self._reactor = reactor
        self._responder = responder
        self._listener = listener
        self._read_only = read_only
        self.queries = Queries(
            reactor,
            table,
            random_bytes,
            self.counters,
            self._timed_out,
            read_only=read_only,
            max_pending=max_pending,
        )
        self._transactions = self.queries.transactions
        self._round_trips = self.queries.round_trips
        self._write = self.queries.write
        self._call = self.queries.call
        self._marks = self.queries.hearsay.marks
        self._pings_sent = self.counters.sent[b"ping"]
        self._ping = self.queries.frame(b"ping", {})
        self._journal: Journal = journal if journal is not None else NullJournal()
        self.clones = Clones(self._send_ping, lambda address: self._call(listener.clone_found, address))
        self._admission = Admission(
            table, self._send_ping, self.counters, max_liveness_checks, max_strangers, self.clones.received
        )
        #: The IPv4 address at which other hosts see this node, as far as it is known.
        self.own_host: str | None = None
        # Called with each response while set, its datagram first; if it returns True it has kept the response back.
        self.intercept: Intercept | None = None
        self.queries.is_checking = self._admission.is_checking

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
        return self.queries.is_busy

    def set_limits(self, config: Config) -> None:
        """Takes the limits of a config, while the socket is open or not."""
        self.queries.set_limit(config.max_pending)
        self._admission.set_limits(config.max_liveness_checks, config.max_strangers)

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
        frame = self.queries.frame(method, arguments)
        if not self.queries.send(address, 0.0, frame, self.counters.sent[method], query):
            query.result.errback(QueryFailed("the query could not be sent"))
        return query.result

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Handles one datagram. Never raises: each exception would let a stranger write a traceback to the log."""
        self.counters.datagrams_in += 1
        try:
            if self._marks:
                self.queries.hearsay.heard(addr)
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
                if self.intercept is None or not self.intercept(datagram, message, pending, now):
                    self.response_received(message, pending, now)
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
        self.queries.start(sender(self.transport))

    def node_id_changed(self) -> None:
        """Encodes the ping anew, with the id that the table has adopted."""
        self._ping = self.queries.frame(b"ping", {})
        self.clones.forget()

    def unreachable(self, address: Address, transaction_id: bytes) -> None:
        """Called by the port when an ICMP message says that a query found no process at ``address``."""
        self.queries.unreachable(address, transaction_id)

    def stopProtocol(self) -> None:
        """Called by Twisted when the socket is closed: fails every query in flight."""
        self.reply_by = None
        self.queries.stop()

    def _malformed(self, error: RemoteProtocolError, address: Address) -> None:
        self.counters.malformed += 1
        if error.answerable:
            self._refuse(error, address, self.reply_by)
        if is_debugged(LOGGER):
            log.debug("malformed datagram from {host}:{port}: {reason}", host=address[0], port=address[1],
                      reason=error.message)  # fmt: skip
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
            round_trip = 0.0 if isinstance(pending.outcome, LivenessCheck) else now - pending.sent_at
            self.table.heard(contact.id, pending.address, now, round_trip)
        pending.counts.errors += 1
        pending.outcome.failed(pending, RemoteError(error.code, error.message))

    def _query_received(self, query: Query, address: Address, now: float) -> None:
        if self._read_only:
            self.counters.received.count(query.method)
            self.counters.unanswered.count(query.method)
            return
        try:
            answer = self._responder.answer(query, address, now)
        except RemoteProtocolError as error:
            self.counters.refusals.count(query.method)
            self._refuse(error, address, self.reply_by)
        except Exception:
            self.counters.unanswered.count(query.method)
            raise
        else:
            is_limited = self.table.rules.is_public
            if answer is None or (is_limited and not self._admission.may_send(len(answer), address, now)):
                self.counters.unanswered.count(query.method)
            elif query.method == b"put":
                self.counters.waiting_puts += 1
                self._journal.when_durable(partial(self._answer_put, query, answer, address, self.reply_by))
            elif not self._write(answer, address, self.reply_by):
                self.counters.unanswered.count(query.method)
        node_id = query.arguments.get(b"id")
        if not query.read_only and isinstance(node_id, bytes) and len(node_id) == ID_BYTES:
            self._admission.queried(node_id, address, now, query.transaction_id)

    def response_received(self, response: Response, pending: Pending, now: float) -> None:
        """Handles the response, received at ``now``, to a query that was in flight."""
        node_id = response.values.get(b"id")
        if not isinstance(node_id, bytes) or len(node_id) != ID_BYTES:
            pending.counts.invalid += 1
            pending.outcome.failed(pending, QueryFailed("the answer has no node id"))
            return
        if node_id == self.table.own_id:
            pending.counts.invalid += 1
            if self.table.at(pending.address) is not None:
                # The contact that was there is there no more.
                self._timed_out(pending, now)
            pending.outcome.failed(pending, AnsweredByOurselves("the answer is our own"))
            self.clones.suspect(pending.address, now)
            return
        pending.counts.answered += 1
        # A querier chooses when it is pinged, and by answering late could raise our timeouts: that measures nothing.
        round_trip = 0.0 if isinstance(pending.outcome, LivenessCheck) else now - pending.sent_at
        if round_trip:
            self._round_trips.measured(round_trip)
        listed = self.table.heard(node_id, pending.address, now, round_trip)
        if listed is not KNOWN:
            self._stranger_answered(listed, node_id, pending.address, now)
        outcome, pending.outcome = pending.outcome, NOBODY
        outcome.answered(pending, response)

    def _stranger_answered(self, listed: Listed, node_id: bytes, address: Address, now: float) -> None:
        """Takes note of what the table did with a node that was no contact."""
        if listed is Listed.NEW:
            self._admission.listed(node_id, address)
            if is_debugged(LOGGER):
                log.debug("contact {host}:{port} listed", host=address[0], port=address[1])
            self._call(self._listener.contact_listed, address)
        elif listed is Listed.REPLACEMENT:
            rival = self.table.questionable_rival(node_id, now)
            if rival is not None:
                self._admission.check(rival.address, rival.id)
        elif listed is Listed.REFUSED:
            self._admission.refused(node_id, address, now)

    def _timed_out(self, pending: Pending, now: float) -> None:
        dropped = self.table.failed(pending.address, pending.sent_at, now)
        if dropped is not None:
            self._admission.dropped(dropped.id, now)
            if is_debugged(LOGGER):
                log.debug("contact {host}:{port} dropped: no answer", host=dropped.address[0], port=dropped.address[1])
            self._listener.contact_dropped(dropped.address)

    # Sending

    def _send_ping(self, address: Address, outcome: Outcome) -> bool:
        return self.queries.send(address, 0.0, self._ping, self._pings_sent, outcome) > 0

    def _answer_put(
        self, query: Query, answer: bytes, address: Address, reply_by: SendTo | None, problem: str | None
    ) -> None:
        self.counters.waiting_puts -= 1
        if problem is None:
            if not self._write(answer, address, reply_by):
                self.counters.unanswered.count(query.method)
        else:
            self.counters.refusals.count(query.method)
            self._refuse(not_durable(problem, query.transaction_id), address, reply_by)

    def _refuse(self, error: RemoteProtocolError, address: Address, reply_by: SendTo | None) -> None:
        answer = krpc.encode_error(error.transaction_id, error.code, error.message)
        if len(answer) <= krpc.MAX_ERROR_BYTES and self._admission.may_send(
            len(answer), address, self._reactor.seconds()
        ):
            self._write(answer, address, reply_by)
