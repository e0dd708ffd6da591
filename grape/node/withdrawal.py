"""Withdraws services that were announced through this grape, and keeps withdrawn peers out of its lookups.

A withdrawal is made here at once, and told to the nodes closest to the name that know of withdrawals; it is repeated to
those that come closer, or did not answer, for one peer age (docs/decisions/0012-withdrawal.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, deferred
from grape.config import Config
from grape.dht.compact import Address
from grape.dht.errors import Overloaded
from grape.dht.nodeid import position
from grape.dht.withdrawals import OWN, Withdrawals
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome
from grape.krpc.withdrawal import WIDE_K, Withdrawal
from grape.node.errors import overloaded
from grape.node.first_join import FirstJoin
from grape.node.listing import LOOPBACK, Listing
from grape.node.reannounce import RETRY_SECONDS, AnnounceId, Reannouncer, Repeated
from grape.protocol import LOOKUP_AND_WRITE_SECONDS, LOOKUP_BEFORE_WRITE_SECONDS, WRITE_SECONDS, DHTProtocol
from grape.reactor import Clock
from grape.store import MemoryPeers

# The most time between two repetitions to a node that does not answer.
MAX_RETRY_SECONDS = 30.0
# The share of the memory for peers that withdrawals may take.
MEMORY_SHARE = 1 / 8


class OwnWithdrawals(Reannouncer):
    """The withdrawals made through this grape, each with the nodes that know it or never will; repeats them.

    ``begin(key, port, made_at, done)`` sends one. All else is as in Reannouncer.
    """

    def __init__(
        self,
        clock: Clock,
        max_age: float,
        socket: Callable[[], DHTProtocol],
        begin: Callable[[bytes, int, Callable[[WriteOutcome], object]], Cancellable],
        max_withdrawals: int,
        changed: Callable[[bytes, int], object],
    ) -> None:
        super().__init__(clock, max_age, socket, max_withdrawals, changed)
        self._begin = begin

    def add(self, key: bytes, port: int, made_at: float) -> None:
        """Adds a withdrawal, which is repeated when ``told`` is called or a contact is listed."""
        evicted = self._announces.put((key, port), Repeated(made_at, frozenset(), self._clock.seconds()))
        if evicted is not None:
            self._changed(*evicted[0])

    def told(self, key: bytes, port: int, made_at: float, written: WriteOutcome) -> None:
        """Notes which nodes a withdrawal that was made at ``made_at`` has reached, and has the others told soon."""
        withdrawal = self._announces.get((key, port))
        if withdrawal is not None and withdrawal.at == made_at:
            withdrawal.holders |= written.holders
            withdrawal.next_at = self._clock.seconds() + RETRY_SECONDS
            self.contacts_changed()

    def contact_listed(self) -> None:
        """Has the nodes told soon that do not know a withdrawal yet: the new contact may be one that was down."""
        now = self._clock.seconds()
        for withdrawal in self._announces.values():
            withdrawal.next_at, withdrawal.tries = min(withdrawal.next_at, now), 0
        self.contacts_changed()

    def _pause(self, announce: Repeated) -> float:
        return min(RETRY_SECONDS * (1 << min(announce.tries, 10)), MAX_RETRY_SECONDS)

    def _is_misplaced(self, key: bytes, holders: frozenset[bytes]) -> bool:
        # Contacts that failed last, too: one that restarts may have the peer in its state file.
        return any(contact.id not in holders for contact in self._socket().table.closest(position(key)))

    def _is_done(self, announce_id: AnnounceId, announce: Repeated, written: WriteOutcome) -> bool:
        return self._stopped or not self._is_misplaced(announce_id[0], announce.holders)

    def _send(self, announce_id: AnnounceId, announce: Repeated, now: float) -> Deferred[WriteOutcome]:
        return maybeDeferred(deferred, partial(self._begin, *announce_id))


class Withdrawer:
    """The withdrawals of a node: those made through it, and in ``withdrawals`` these and those that others sent.

    ``socket()`` returns the node's protocol, or raises GrapeError while the node does not run. ``peers`` is the node's
    own store, ``listing`` says under which address it holds its services; ``reannouncer`` has the announces that are
    withdrawn.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        socket: Callable[[], DHTProtocol],
        first_join: FirstJoin,
        withdrawals: Withdrawals,
        peers: MemoryPeers,
        listing: Listing,
        reannouncer: Reannouncer,
    ) -> None:
        self._config = config
        self._clock = clock
        self._socket = socket
        self._first_join = first_join
        self._withdrawals = withdrawals
        self._peers = peers
        self._listing = listing
        self._reannouncer = reannouncer
        self.own = OwnWithdrawals(
            clock, config.dht_peer_max_age, socket, self._begin, config.max_announces, self._own_changed
        )
        withdrawals.is_own = listing.is_own
        withdrawals.on_withdrawal = self._withdrawn
        withdrawals.on_end = self._ended

    def reconfigure(self, config: Config) -> None:
        """Takes the limits of a config; what is too much is evicted at once."""
        self._config = config
        self.own.set_limit(config.max_announces)
        self._withdrawals.set_limits(config.max_keys, round(config.max_store_bytes * MEMORY_SHARE))

    def begin(self, key: bytes, port: int, done: Callable[[int | Failure], object]) -> Cancellable:
        """Withdraws ``port`` of this host under ``key``: calls ``done`` with how many nodes confirmed it, or a Failure.

        It holds in this grape from now on, whatever the others say. Raises GrapeError ERR_GRAPE_OVERLOADED,
        ERR_GRAPE_NOT_RUNNING.
        """
        self._socket()
        number, now = self._listing.port_of(port), self._clock.seconds()
        self._withdrawals.end(key, (OWN, number))
        self._withdrawals.withdraw(key, (OWN, number), now)

        def told(written: WriteOutcome) -> None:
            try:
                self._socket()
                self.own.told(key, number, now, written)
                result: int | Failure = written.accepted
            except Exception:
                result = Failure()
            done(result)

        begin = partial(self._begin, key, number, told)
        if self._first_join.is_under_way:
            return self._first_join.run(begin, done, LOOKUP_AND_WRITE_SECONDS)
        try:
            return begin(LOOKUP_AND_WRITE_SECONDS)
        except Overloaded as error:
            raise overloaded() from error

    def announced(self, key: bytes, port: int) -> None:
        """Ends the withdrawal of a service that is being announced through this grape."""
        number = self._listing.port_of(port)
        for host in (OWN, LOOPBACK, *self._listing.own_hosts()):
            self._withdrawals.end(key, (host, number))

    def overtook(self, key: bytes, port: int) -> bool:
        """Returns True if a service was withdrawn while its announce was under way; it is withdrawn once more.

        To be called at the end of the announce, at whose begin ``announced`` was called.
        """
        if self._withdrawals.at(key, (OWN, self._listing.port_of(port))) is None:
            return False
        with suppress(GrapeError):  # It is repeated.
            self.begin(key, port, lambda confirmed: None)
        return True

    def hidden(self, key: bytes, peers: Iterable[Address]) -> list[Address]:
        """Returns those of the peers found by a lookup of ``key`` that are withdrawn."""
        return self._withdrawals.hidden(key, peers, self._clock.seconds())

    def _begin(
        self,
        key: bytes,
        port: int,
        done: Callable[[WriteOutcome], object],
        seconds: float = LOOKUP_AND_WRITE_SECONDS,
    ) -> Cancellable:
        """Sends a withdrawal, with its age, unless it has ended meanwhile. Raises Overloaded."""
        protocol = self._socket()
        if protocol.is_busy:
            raise Overloaded
        made_at = self._withdrawals.at(key, (OWN, port))

        def age() -> int | None:
            if made_at is None or self._withdrawals.at(key, (OWN, port)) != made_at:
                return None
            return math.ceil((self._clock.seconds() - made_at) * 1000)

        lookup, known = protocol.begin_lookup(key, WIDE_K)
        for contact in protocol.table.closest(lookup.position, WIDE_K):
            lookup.add_contact(contact)
        share = seconds / LOOKUP_AND_WRITE_SECONDS
        times = LOOKUP_BEFORE_WRITE_SECONDS * share, WRITE_SECONDS * share
        return Withdrawal(lookup, known, protocol.queries, self._sent_port(port), age, done, *times).start()

    def _sent_port(self, port: int) -> int:
        """Returns the port to send: 0 if announces of the UDP port are sent as that, for others to see it."""
        is_chosen = self._config.advertised is None and not self._config.dht_port
        return 0 if is_chosen and port == self._listing.port_of(0) else port

    # Called by the withdrawals.

    def _withdrawn(self, key: bytes, peer: Address, at: float) -> None:
        """Cancels the announces of this grape that were withdrawn, through it or by another one of its host."""
        if peer[0] == OWN:
            self.own.add(key, peer[1], at)
            self._remove(key, peer[1], at)
        elif self._listing.is_own(peer[0]):
            self._remove(key, peer[1], at)

    def _remove(self, key: bytes, number: int, at: float) -> None:
        ports = (number, 0) if number == self._listing.port_of(0) else (number,)
        for port in ports:
            self._reannouncer.drop(key, port, at)
        for host in (LOOPBACK, *self._listing.own_hosts()):
            stored = self._peers.known(key, (host, number))
            if stored is not None and stored[0] <= at:
                self._peers.remove(key, (host, number))

    def _ended(self, key: bytes, peer: Address) -> None:
        if peer[0] == OWN:
            self.own.drop(key, peer[1], math.inf)

    def _own_changed(self, key: bytes, port: int) -> None:
        if self.own.made_at(key, port) is None:
            self._withdrawals.end(key, (OWN, port))
