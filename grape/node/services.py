"""Announces services and looks up their peers by name, over one DHT socket."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from twisted.internet.defer import CancelledError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, Coalescer, Ended, deferred
from grape.config import MAX_PORT, Config
from grape.dht.bounded import BoundedDict
from grape.dht.candidates import Found
from grape.dht.compact import Address
from grape.dht.errors import Overloaded
from grape.dht.withdrawals import Withdrawals
from grape.encoding import text_to_bytes
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome
from grape.metrics import Counters
from grape.node.arguments import age_of, check_service, checked_name, key_of, name_in_slot
from grape.node.errors import accepted_by, first_error, may_keep_alone, overloaded
from grape.node.first_join import FirstJoin
from grape.node.listing import Listing
from grape.node.own_address import hosts_of
from grape.node.reannounce import Reannouncer
from grape.node.withdrawal import Withdrawer
from grape.protocol import LOOKUP_AND_WRITE_SECONDS, LOOKUP_SECONDS, DHTProtocol
from grape.reactor import Clock, Resolve
from grape.store import MemoryPeers

MAX_PEERS = 100

log = Logger(namespace="grape.node")

T = TypeVar("T")

# Peers, each with how many nodes gave it.
Peers = dict[Address, int]


class Observer(Protocol):
    """Receives what happens to services."""

    @property
    def is_watching(self) -> bool:
        """True while ``peers_seen`` is to be called."""

    def peer_stored(self, key: bytes, peer: Address) -> None:
        """Called when a peer was stored in this node's own store."""

    def peers_seen(self, peers: list[Address], name: str, through: Address | None) -> None:
        """Called with the peers in one answer to a lookup; ``through`` is the node, None for this one's own store."""

    def looked_up(self, name: str, answered: int) -> None:
        """Called at the end of a lookup, in which ``answered`` nodes answered."""


class Services:
    """The service calls of a node: lookup and announce, with the node's own store as one more source of peers.

    ``socket()`` returns the node's protocol, or raises GrapeError while the node does not run. ``dice`` draws the
    peers of an answer. ``announce_changed(key, port)`` is called when an announce of this node was made or has ended.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        socket: Callable[[], DHTProtocol],
        peers: MemoryPeers,
        withdrawals: Withdrawals,
        dice: random.Random,
        observer: Observer,
        first_join: FirstJoin,
        announce_changed: Callable[[bytes, int], object] = lambda key, port: None,
        counters: Counters | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._socket = socket
        self._peers = peers
        self._dice = dice
        self._observer = observer
        self._first_join = first_join
        self._lookups: Coalescer[bytes, Peers, list[str]] = Coalescer(self._pick)
        # Lookups in one time slot; a caller gets the sum of two.
        self._slots: Coalescer[bytes, Peers, Peers] = Coalescer(lambda peers: peers)
        # The peers that lookups found, and when: answers while no other node can be reached.
        self._found: BoundedDict[bytes, tuple[tuple[Address, ...], float]] = BoundedDict(config.dht_max_tables)
        self.reannouncer = Reannouncer(
            clock, config.dht_peer_max_age, socket, config.max_announces, announce_changed, counters
        )
        self.listing = Listing(config, clock, peers, self.reannouncer.announces, hosts_of(clock))
        self.withdrawer = Withdrawer(
            config, clock, socket, first_join, withdrawals, peers, self.listing, self.reannouncer
        )
        self._withdrawn = withdrawals.entries  # Empty most of the time.
        # The address that other hosts saw this node at last.
        self._own_host: str | None = None

    def start(self, resolve: Resolve, udp_port: int) -> None:
        """Begins: the UDP socket is open at ``udp_port``."""
        self.listing.start(resolve, udp_port)
        self.reannouncer.start()
        self.withdrawer.own.start()

    def stop(self) -> None:
        """Repeats no more announces and withdrawals; they are kept."""
        self.listing.stop()
        self.reannouncer.stop()
        self.withdrawer.own.stop()

    def contact_listed(self, address: Address) -> None:
        """Notes that a contact was listed: announces may belong on it."""
        if self.listing.contact_listed(address):
            # Until now they were at nodes of this host, for which they are at a loopback address.
            self.reannouncer.make_again()
        else:
            self.reannouncer.contacts_changed()
        self.withdrawer.own.contact_listed()

    def own_host_changed(self, host: str | None) -> None:
        """Notes at which IPv4 address other hosts see this node.

        At a new one all announces are made again, and the nodes around our id are asked, so that they list us there.
        """
        is_new = self._own_host is not None and host not in (None, self._own_host)
        self._own_host = host or self._own_host
        self.listing.own_host_changed(host)
        if is_new:
            protocol = self._socket()
            protocol.forget_tokens()
            self.reannouncer.address_changed()
            protocol.find_node(protocol.table.own_id)

    def forget_announces(self) -> None:
        """Drops all announces and withdrawals of this node, and the peers that it stored for them."""
        self.withdrawer.own.drop_all()
        for key, port in self.reannouncer.drop_all():
            self._peers.remove(key, self.listing.peer(port))

    def reconfigure(self, config: Config) -> None:
        """Takes the settings of a config that can change while the node runs."""
        self._config = config
        self._found.resize(config.dht_max_tables)
        self.reannouncer.set_limit(config.max_announces)
        self.withdrawer.reconfigure(config)

    def begin_lookup(self, name: object, done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """Looks up the peers of a service: calls ``done`` with at most MAX_PEERS "ip:port", or with a Failure.

        Equal lookups under way share one search. Raises GrapeError ERR_GRAPE_LOOKUP for an invalid name,
        ERR_GRAPE_OVERLOADED when too many queries are in flight, ERR_GRAPE_NOT_RUNNING.
        """
        service = checked_name(name)
        if self._config.timeslot is None:
            return self._look_up(service, self._lookups, done)
        names = [name_in_slot(service, self._config.timeslot, ago) for ago in (0, 1)]
        return self._in_both(names, done)

    def begin_announce(
        self, name: object, port: object, done: Callable[[int | Failure], object], ttl: object = None
    ) -> Cancellable:
        """Announces a service at ``port`` of this host: calls ``done`` with how many nodes accepted, or a Failure.

        Port 0 is the grape's own UDP port, or the advertised one. The peer lives ``ttl`` seconds, at least 1, and by
        default for the network's age, which is the most. A node that stores the announce itself makes it again when it
        meets another node, if none has accepted it: one with a ``host`` or ``advertise``, one without contacts and
        without bootstrap nodes, and an isolated one with ``ready_isolated``. Raises GrapeError ERR_GRAPE_SERVICE_PORT,
        ERR_GRAPE_ANNOUNCE, ERR_GRAPE_SERVICE_TTL, ERR_GRAPE_OVERLOADED, ERR_GRAPE_NOT_RUNNING.
        """
        config = self._config
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
            raise GrapeError("ERR_GRAPE_SERVICE_PORT")
        if not isinstance(name, (str, bytes)) or not name:
            raise GrapeError("ERR_GRAPE_ANNOUNCE")
        age = 0.0 if ttl is None else age_of(ttl, config.dht_peer_max_age)
        key = name if isinstance(name, bytes) else text_to_bytes(name)
        if config.timeslot is not None:
            key = key_of(name, config.timeslot)
        protocol = self._socket()
        # Port 0 is the advertised or the configured UDP port; if the system was to choose that, other nodes use the
        # port that they see, as with the Node grape.
        port = port or (config.advertised and config.advertised[1]) or config.dht_port
        if self._withdrawn:
            self.withdrawer.announced(key, port)
        is_stored = self.listing.is_configured
        if is_stored:
            self._store(key, port, age)
        ended = partial(self._announce_ended, key, port, age, is_stored, done)
        if self._first_join.is_under_way:
            begin = partial(_announce, protocol, key, port, ended, age)
            return self._first_join.run(begin, done, LOOKUP_AND_WRITE_SECONDS)
        return _announce(protocol, key, port, ended, age, LOOKUP_AND_WRITE_SECONDS)

    def _announce_ended(
        self,
        key: bytes,
        port: int,
        age: float,
        is_stored: bool,
        done: Callable[[int | Failure], object],
        written: WriteOutcome,
    ) -> None:
        try:
            result: int | Failure = self._announced(key, port, age, is_stored, written)
        except Exception:
            result = Failure()
        done(result)

    def _announced(self, key: bytes, port: int, age: float, is_stored: bool, written: WriteOutcome) -> int:
        if self._withdrawn and self.withdrawer.overtook(key, port):
            return accepted_by(written)
        if not written.accepted:
            # A node that stops ends its queries: their failures are no answer of the network.
            self._socket()
            is_alone = may_keep_alone(written, self._config)
            if is_alone and not is_stored:
                self._store(key, port, age)
            if is_alone or is_stored:
                # Lookups here list it: it is announced to the nodes that are met while it lives.
                self.reannouncer.announced(key, port, age=age)
            if is_alone:
                return 1
        accepted = accepted_by(written)
        self.reannouncer.announced(key, port, written.holders, age)
        return accepted

    def begin_unannounce(self, name: object, port: object, done: Callable[[int | Failure], object]) -> Cancellable:
        """Withdraws a service at ``port`` of this host: calls ``done`` with how many nodes confirmed, or a Failure.

        Of a 0.x network the service of the present time slot is withdrawn. Raises GrapeError ERR_GRAPE_SERVICE_PORT,
        ERR_GRAPE_UNANNOUNCE, ERR_GRAPE_OVERLOADED, ERR_GRAPE_NOT_RUNNING.
        """
        check_service(name, port, "ERR_GRAPE_UNANNOUNCE")
        assert isinstance(name, (str, bytes))
        assert isinstance(port, int)
        return self.withdrawer.begin(key_of(name, self._config.timeslot), port, done)

    def _in_both(self, names: Sequence[str], done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """Looks up two names, those of a service in two time slots, and sums what is found."""
        first = deferred(partial(self._look_up, names[0], self._slots))
        try:
            second = deferred(partial(self._look_up, names[1], self._slots))
        except Exception:
            first.addErrback(lambda _: None).cancel()
            raise

        def failed(failure: Failure) -> None:
            # ``done`` is never called after ``cancel()``.
            if failure.check(CancelledError) is None:
                done(failure)

        both = gatherResults([first, second], consumeErrors=True)
        both.addCallbacks(lambda found: self._pick(Counter(found[0]) + Counter(found[1])), first_error)
        return both.addCallbacks(done, failed)

    def _look_up(
        self, name: str, lookups: Coalescer[bytes, Peers, T], done: Callable[[T | Failure], object]
    ) -> Cancellable:
        key = text_to_bytes(name)
        joined = lookups.join(key, done)
        if joined is not None:
            return joined
        protocol = self._socket()
        begin = self._begin_after_first_join if self._first_join.is_under_way else self._begin
        return lookups.start(key, partial(begin, protocol, key, name), done)

    def _begin_after_first_join(
        self, protocol: DHTProtocol, key: bytes, name: str, ended: Callable[[Peers | Failure], None]
    ) -> Cancellable:
        now = self._clock.seconds()
        cached = self._cached(key, now)
        if cached:
            ended(self._with_own(key, dict.fromkeys(cached, 1), now))
            return Ended()
        return self._first_join.run(partial(self._begin, protocol, key, name, ended), ended, LOOKUP_SECONDS)

    def _begin(
        self,
        protocol: DHTProtocol,
        key: bytes,
        name: str,
        ended: Callable[[Peers | Failure], None],
        seconds: float = LOOKUP_SECONDS,
    ) -> Cancellable:
        observer, seen = self._observer, None
        if observer.is_watching:
            observer.peers_seen(self._own(key, self._clock.seconds()), name, None)
            seen = partial(self._seen, name)
        try:
            return protocol.find_peers(
                key, seen, lambda peers, lookup: ended(self._merged(key, name, peers, lookup)), seconds
            )
        except Overloaded as error:
            raise overloaded() from error

    def found(self, name: str, peers: Peers, lookup: Found) -> list[str]:
        """Returns what ``begin_lookup`` answers when it has found these peers. Raises GrapeError."""
        merged = self._merged(self.key(name), name, peers, lookup)
        if isinstance(merged, Failure):
            merged.raiseException()
        return self._pick(merged)

    def own_peers(self, key: bytes) -> list[str]:
        """Returns peers of a key that this node stores."""
        return self._pick(dict.fromkeys(self._own(key, self._clock.seconds()), 1))

    def key(self, name: object) -> bytes:
        """Returns the key of a service, that of this time slot where there are some. Raises as ``begin_lookup``."""
        return key_of(checked_name(name), self._config.timeslot)

    def _seen(self, name: str, peers: list[Address], through: Address) -> None:
        self._observer.peers_seen(peers, name, through)

    def _merged(self, key: bytes, name: str, found: Peers, lookup: Found) -> Peers | Failure:
        try:
            if lookup.failed:
                # A node that stops fails its queries: what its lookups have found so far is no answer.
                self._socket()
            return self._merge(key, name, found, lookup)
        except GrapeError:
            return Failure()
        except Exception:
            log.failure("lookup of {name} could not be merged with stored peers", name=name)
            return found

    def _merge(self, key: bytes, name: str, found: Peers, lookup: Found) -> Peers:
        self._observer.looked_up(name, lookup.answered)
        now = self._clock.seconds()
        if lookup.answered:
            self._remember(key, found, now)
        else:
            # No node can be reached: what an earlier lookup found is the best answer (docs/decisions/0003).
            found = dict.fromkeys(self._cached(key, now), 1) or found
        return self._with_own(key, found, now)

    def _cached(self, key: bytes, now: float) -> Sequence[Address]:
        """Returns the peers that an earlier lookup found, unless that is too long ago."""
        if key not in self._found:
            return ()
        cached, at = self._found[key]
        return cached if now - at < self._config.cache_age else ()

    def _with_own(self, key: bytes, found: Peers, now: float) -> Peers:
        """Adds the peers in this node's own store."""
        for peer in self._own(key, now):
            found[peer] = found.get(peer, 0) + 1
        if self._withdrawn:
            for peer in self.withdrawer.hidden(key, found):
                del found[peer]
        return found

    def _remember(self, key: bytes, found: Peers, now: float) -> None:
        if not found:
            self._found.pop(key, None)
            return
        best = found if len(found) <= MAX_PEERS else dict(Counter(found).most_common(MAX_PEERS))
        self._found.put(key, (tuple(best), now))

    def _own(self, key: bytes, now: float) -> list[Address]:
        return self._peers.sample(key, MAX_PEERS, now, self._dice.sample)

    def _pick(self, found: Peers) -> list[str]:
        """Returns at most MAX_PEERS in random order; of more, those that most nodes gave: each drew its own sample."""
        if len(found) < 2:
            return [f"{host}:{port}" for host, port in found]
        # Sorted first: the same seed gives the same result, whatever order the answers came in.
        peers = self._dice.sample(sorted(found), len(found))
        if len(peers) > MAX_PEERS:
            peers.sort(key=lambda peer: -found[peer])
            peers = self._dice.sample(peers[:MAX_PEERS], MAX_PEERS)
        return [f"{host}:{port}" for host, port in peers]

    def _store(self, key: bytes, port: int, age: float) -> None:
        peer = self.listing.peer(port)
        self._peers.announce(key, peer, self._clock.seconds(), age=age)
        self._observer.peer_stored(key, peer)


def _announce(
    protocol: DHTProtocol, key: bytes, port: int, ended: Callable[[WriteOutcome], object], age: float, seconds: float
) -> Cancellable:
    try:
        if age:
            return protocol.announce(key, port, ended, math.ceil(age * 1000), 0, seconds)
        return protocol.announce(key, port, ended, 0, None, seconds)
    except Overloaded as error:
        raise overloaded() from error
