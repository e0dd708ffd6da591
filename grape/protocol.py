"""Runs iterative lookups, announces and puts over one UDP socket, as Deferreds (BEP 5, BEP 44).

Its words are the BEPs': keys, targets, contacts. Services are a matter of ``grape.node``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred, fail, maybeDeferred

from grape.coalesce import Cancellable, deferred
from grape.config import DEFAULTS, MAX_TABLES, Config
from grape.dht import messages as krpc
from grape.dht.candidates import HEARD, TARDY, Candidate, Found
from grape.dht.closest import ClosestSets
from grape.dht.compact import Address
from grape.dht.errors import Overloaded
from grape.dht.items import Item, put_arguments
from grape.dht.lookup import ALPHA, MAX_QUERIES, Lookup
from grape.dht.nodeid import RandomBytes
from grape.dht.responder import Responder
from grape.dht.routing import K, RoutingTable
from grape.dht.transactions import MAX_PENDING
from grape.krpc.endpoint import KRPCProtocol, Listener
from grape.krpc.searches import ItemFound as ItemFound
from grape.krpc.searches import ItemSearch, Known, OnPeers, OwnIdSearch, PeerSearch, TokenSearch
from grape.krpc.searches import PeersFound as PeersFound
from grape.krpc.traversal import Arguments, Network, Traversal, Write, WriteOutcome
from grape.metrics import Counters
from grape.reactor import Clock
from grape.state.journal import Journal

LOOKUP_SECONDS = 2.0
# The lookup before a write and the write together take at most 2.2 s; so do a write whose tokens are refused and the
# lookup and write that follow it. The Node link gives up after 2.5 s.
LOOKUP_BEFORE_WRITE_SECONDS = 1.4
SECOND_LOOKUP_SECONDS = 0.6
WRITE_SECONDS = 0.8
LOOKUP_AND_WRITE_SECONDS = LOOKUP_BEFORE_WRITE_SECONDS + WRITE_SECONDS


class DHTProtocol(KRPCProtocol):
    """A DHT node's UDP socket with its lookups and writes.

    Public calls return a Deferred that can be cancelled; ``find_peers`` and ``announce``, the two most frequent calls,
    have a form that calls ``done`` instead and returns a Cancellable (a Deferred takes 0.9 us of their 70).
    Lookups end within ``LOOKUP_SECONDS`` with what they have found, writes within ``LOOKUP_AND_WRITE_SECONDS``, or
    within the ``seconds`` that a call is given. Both fail with Overloaded when too many queries are in flight, and with
    nothing else.

    ``alpha`` is the number of queries that a lookup has in flight, ``max_queries`` the number that it sends;
    ``max_tables`` is the number of keys whose closest nodes are cached. All else is as in KRPCProtocol.
    """

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
        alpha: int = ALPHA,
        read_only: bool = False,
        max_tables: int = MAX_TABLES,
        max_pending: int = MAX_PENDING,
        max_queries: int = MAX_QUERIES,
        max_liveness_checks: int = DEFAULTS.max_liveness_checks,
        max_strangers: int = DEFAULTS.max_strangers,
    ) -> None:
        super().__init__(
            reactor,
            table,
            responder,
            random_bytes,
            listener,
            journal,
            counters=counters,
            read_only=read_only,
            max_pending=max_pending,
            max_liveness_checks=max_liveness_checks,
            max_strangers=max_strangers,
        )
        self._alpha = alpha
        self._max_queries = max_queries
        self._closest = ClosestSets(table, max_tables)

    @classmethod
    def of_config(
        cls,
        config: Config,
        reactor: Clock,
        table: RoutingTable,
        responder: Responder,
        random_bytes: RandomBytes,
        listener: Listener,
        journal: Journal,
        counters: Counters,
    ) -> DHTProtocol:
        """Makes a protocol with the limits of a config."""
        return cls(
            reactor,
            table,
            responder,
            random_bytes,
            listener,
            journal,
            counters=counters,
            alpha=config.dht_concurrency,
            read_only=config.read_only,
            max_tables=config.dht_max_tables,
            max_pending=config.max_pending,
            max_queries=config.max_queries_per_lookup,
            max_liveness_checks=config.max_liveness_checks,
            max_strangers=config.max_strangers,
        )

    def logPrefix(self) -> str:
        """Returns the name that Twisted's own log lines give the port."""
        return "DHT"

    def set_limits(self, config: Config) -> None:
        """Takes the limits of a config: new lookups have the new ones."""
        super().set_limits(config)
        self._max_queries = config.max_queries_per_lookup
        self._closest.resize(config.dht_max_tables)

    def find_node(self, target: bytes) -> Deferred[Found]:
        """Finds the nodes closest to a 20-byte ``target`` (BEP 5)."""
        return deferred(partial(self._start_find_node, target))

    def _start_find_node(self, target: bytes, done: Callable[[Found], object]) -> Cancellable:
        lookup, known = self.begin_lookup(target)
        traversal: Traversal
        if target == self.table.own_id:
            traversal = OwnIdSearch(lookup, self.queries, LOOKUP_SECONDS, done, known, self._own_id_listed)
        else:
            traversal = Traversal(lookup, self.queries, b"find_node", b"target", LOOKUP_SECONDS, done, known)
        traversal.start()
        return traversal

    def _own_id_listed(self, address: Address, told_by: Address) -> None:
        if address != (self.own_host, self.port) and self.table.rules.is_usable(address[0], told_by[0]):
            self.clones.suspect(address, self.queries.seconds())

    def forget_tokens(self) -> None:
        """Forgets the tokens that nodes gave to this one: they are bound to the address that it had."""
        self._closest.clear()

    def get_peers(self, key: bytes, network: Network | None = None) -> Deferred[PeersFound]:
        """Finds the peers announced under ``key``, of any length (BEP 5); ``network`` is that of ``find_peers``."""
        return maybeDeferred(deferred, partial(self._start_get_peers, key, network))

    def _start_get_peers(
        self, key: bytes, network: Network | None, done: Callable[[PeersFound], object]
    ) -> Cancellable:
        return self.find_peers(key, None, lambda peers, lookup: done(PeersFound(peers, lookup)), network=network)

    def find_peers(
        self,
        key: bytes,
        on_peers: OnPeers | None,
        done: Callable[[dict[Address, int], Found], object],
        seconds: float = LOOKUP_SECONDS,
        network: Network | None = None,
    ) -> Cancellable:
        """Finds the peers announced under ``key``: calls ``done(peers, lookup)`` with the fields of PeersFound.

        ``on_peers(peers, through)`` is called for each answer with peers, from the node at ``through``. ``network``
        sends the queries instead of this node itself, so that it may record them. Raises Overloaded.
        """
        if self.is_busy:
            raise Overloaded
        lookup, known = self.begin_lookup(key)
        queries = network or self.queries
        search = PeerSearch(lookup, queries, seconds, done, known, on_peers, self._responder, self._closest)
        search.start()
        return search

    def get(
        self,
        target: bytes,
        salt: bytes = b"",
        own: Item | None = None,
        seconds: float = LOOKUP_SECONDS,
        network: Network | None = None,
    ) -> Deferred[ItemFound]:
        """Finds the item of a 20-byte ``target`` (BEP 44): an immutable one, or the mutable one of highest seq.

        Items are verified; a mutable one needs its ``salt``. Nodes that answered with an older seq are sent the newest
        item known, which may be ``own``, the copy that the caller holds. ``network`` is that of ``find_peers``.
        """
        if self.is_busy:
            return fail(Overloaded())
        return deferred(partial(self._start_get, target, salt, own, seconds, network or self.queries))

    def _start_get(
        self,
        target: bytes,
        salt: bytes,
        own: Item | None,
        seconds: float,
        network: Network,
        done: Callable[[ItemFound], object],
    ) -> Cancellable:
        lookup, known = self.begin_lookup(target)
        search = ItemSearch(lookup, network, seconds, partial(self._got, own, done), known, salt, own)
        search.start()
        return search

    def _got(
        self,
        own: Item | None,
        done: Callable[[ItemFound], object],
        answers: list[tuple[Item, Candidate]],
        found: Found,
    ) -> None:
        done(self._newest(answers, own, found))

    def _newest(self, answers: list[tuple[Item, Candidate]], own: Item | None, found: Found) -> ItemFound:
        """Returns the item of highest seq that nodes gave, and sends the newest to those that gave an older one."""
        if not answers:
            return ItemFound(None, b"", None, found)
        item, source = max(answers, key=lambda answer: answer[0].seq)
        newest = own if own is not None and own.key is not None and own.seq > item.seq else item
        stale = [candidate for old, candidate in answers if old.seq < newest.seq and candidate.token is not None]
        if stale:
            self.counters.repaired += len(stale)
            Write(stale, self.queries, b"put", put_arguments(newest), WRITE_SECONDS, lambda _: None).start()
        return ItemFound(item, source.node_id, source.token, found)

    def announce_peer(self, key: bytes, port: int, age: int = 0, made_ago: int | None = None) -> Deferred[WriteOutcome]:
        """Announces ``port`` of this host under ``key`` to the closest nodes; port 0: this socket's, as they see it.

        ``age`` is sent with an announce that is repeated for nodes that have come closer, or asks for a short life: the
        milliseconds of the peer's life that are gone. ``made_ago`` is sent if less time has passed since the service
        announced itself. Other implementations ignore both.
        """
        return maybeDeferred(deferred, lambda done: self.announce(key, port, done, age, made_ago))

    def announce(
        self,
        key: bytes,
        port: int,
        done: Callable[[WriteOutcome], object],
        age: int = 0,
        made_ago: int | None = None,
        seconds: float = LOOKUP_AND_WRITE_SECONDS,
    ) -> Cancellable:
        """Announces as ``announce_peer`` does, and calls ``done(outcome)``. Raises Overloaded."""
        arguments: Arguments = {b"implied_port": int(port == 0), b"info_hash": key, b"port": port}
        if age:
            arguments[b"age"] = age
        if made_ago is not None:
            arguments[b"made_ago"] = made_ago
        return self._begin_write(key, b"get_peers", b"info_hash", b"announce_peer", arguments, done, seconds)

    def put(
        self, item: Item, cas: int | None = None, seconds: float = LOOKUP_AND_WRITE_SECONDS
    ) -> Deferred[WriteOutcome]:
        """Puts an item on the nodes closest to its target; ``cas`` is the seq of the one that it may replace."""
        arguments = put_arguments(item)
        if item.key is not None and cas is not None:
            arguments[b"cas"] = cas
        names = b"get", b"target", b"put"
        return maybeDeferred(deferred, lambda done: self._begin_write(item.target, *names, arguments, done, seconds))

    def _begin_write(
        self,
        key: bytes,
        find: bytes,
        field: bytes,
        write: bytes,
        arguments: Arguments,
        done: Callable[[WriteOutcome], object],
        seconds: float,
    ) -> Cancellable:
        """Writes to the closest nodes: those of a new lookup, or cached ones whose tokens are still valid."""
        if self.is_busy:
            raise Overloaded
        return _WriteOperation(self, key, find, field, write, arguments, done, seconds).start()

    def begin_lookup(self, key: bytes, k: int = K) -> tuple[Lookup, Known]:
        """Begins a lookup with the closest contacts. Returns it with their ids and addresses."""
        self.counters.lookups += 1
        lookup = Lookup(
            key,
            self.table.own_id,
            k,
            self._alpha,
            one_per_network=self.table.rules.is_public,
            max_queries=self._max_queries,
            usual_seconds=self._round_trips.usual_seconds,
        )
        contacts, known = self.table.nearest(lookup.position)
        lookup.begin(contacts)
        return lookup, known


class _WriteOperation:
    """Writes to the closest nodes of a key; looks them up first if they are not cached, or if all tokens are refused.

    Calls ``done(outcome)`` once; never after ``cancel()``. Nodes that are late with their tokens are written to when
    these come, at most K nodes in all; ``done`` does not wait for that.
    """

    def __init__(
        self,
        protocol: DHTProtocol,
        key: bytes,
        find: bytes,
        field: bytes,
        write: bytes,
        arguments: Arguments,
        done: Callable[[WriteOutcome], object],
        seconds: float,
    ) -> None:
        self._protocol = protocol
        self._key = key
        self._find = find
        self._field = field
        self._write = write
        self._arguments = arguments
        self._done: Callable[[WriteOutcome], object] | None = done
        # Less than usual for a call that has waited: the lookup and the write get less in proportion.
        self._share = seconds / LOOKUP_AND_WRITE_SECONDS
        # The lookup, then the write; and the lookup's result with the number of nodes that were written to.
        self._under_way: Cancellable | None = None
        self._search: Traversal | None = None
        self._found: Found | None = None
        self._written_to = 0

    def start(self) -> _WriteOperation:
        """Begins with the lookup, or with the write if the closest nodes are cached."""
        cached = self._protocol._closest.get(self._key, self._protocol.queries.seconds())
        if cached is None:
            self._look_up(LOOKUP_BEFORE_WRITE_SECONDS)
        else:
            self._send(cached, self._sent_to_cached)
        return self

    def cancel(self) -> None:
        """Ends without calling ``done``, and writes to no more nodes. Does nothing once ``done`` was called."""
        if self._done is not None:
            self._done = None
            for part in (self._search, self._under_way):
                if part is not None:
                    part.cancel()

    def _look_up(self, seconds: float) -> None:
        queries, share = self._protocol.queries, self._share
        lookup, known = self._protocol.begin_lookup(self._key)
        self._search = search = TokenSearch(
            lookup, queries, self._find, self._field, seconds * share, self._looked_up, known, self._came_late
        )
        search.start()

    def _looked_up(self, found: Found) -> None:
        self._protocol._closest.put(self._key, found, self._protocol.queries.seconds())
        self._send(found, self._end)

    def _send(self, found: Found, done: Callable[[WriteOutcome], object]) -> None:
        holders = [candidate for candidate in found.closest if candidate.token is not None]
        self._found, self._written_to = found, len(holders)
        self._under_way = self._new_write(holders, done)
        self._under_way.start()

    def _new_write(self, holders: list[Candidate], done: Callable[[WriteOutcome], object]) -> Write:
        return Write(holders, self._protocol.queries, self._write, self._arguments, WRITE_SECONDS * self._share, done)

    def _came_late(self, candidate: Candidate) -> None:
        if candidate.token is not None and self._written_to < K and not self._protocol.is_busy:
            self._written_to += 1
            self._new_write([candidate], lambda _: None).start()

    def _sent_to_cached(self, outcome: WriteOutcome) -> None:
        # A node that restarted refuses the token that it gave before: the next write looks the nodes up again, and so
        # does this one if none of them accepted.
        if outcome.refusals and any(refusal.code == krpc.PROTOCOL_ERROR for refusal in outcome.refusals):
            self._protocol._closest.forget(self._key)
            if not outcome.accepted:
                self._look_up(SECOND_LOOKUP_SECONDS)
                return
        self._end(outcome)

    def _end(self, outcome: WriteOutcome) -> None:
        if outcome.accepted and self._found is not None and self._found.expected:
            # Those that are still late are expected to take it.
            outcome.holders |= {c.node_id for c in self._found.expected if c.state in (TARDY, HEARD)}
        done, self._done = self._done, None
        if done is not None:
            done(outcome)
