"""Services: which peers run them. Lookups and announces by name, over one DHT socket."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from twisted.internet.defer import CancelledError, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, Coalescer, deferred
from grape.config import MAX_PORT, Config
from grape.dht.compact import Address
from grape.dht.errors import Overloaded
from grape.dht.lookup import Found
from grape.encoding import text_to_bytes
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome
from grape.node.errors import accepted, overload
from grape.node.reannounce import Reannouncer
from grape.protocol import DHTProtocol
from grape.reactor import Clock
from grape.store import MemoryPeers

MAX_PEERS = 100

log = Logger(namespace="grape")


T = TypeVar("T")

# Peers, each with how many nodes told of it.
Peers = dict[Address, int]


class Observer(Protocol):
    """Who hears of services; ``is_watching`` says whether anybody wants to know the peers that lookups see."""

    @property
    def is_watching(self) -> bool: ...

    def peer_stored(self, key: bytes, peer: Address) -> None: ...

    def peers_seen(self, peers: list[Address], name: str, through: Address | None) -> None: ...

    def looked_up(self, name: str, answered: int) -> None: ...


class Services:
    """The service calls of a node. ``socket()`` gives its protocol, or raises GrapeError while it does not run."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        socket: Callable[[], DHTProtocol],
        peers: MemoryPeers,
        dice: random.Random,
        observer: Observer,
        announce_changed: Callable[[bytes, int], object] = lambda key, port: None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._socket = socket
        self._peers = peers
        self._dice = dice
        self._observer = observer
        self._lookups: Coalescer[bytes, Peers, list[str]] = Coalescer(self._pick)
        # Those of a time slot, of which a lookup puts two together.
        self._slots: Coalescer[bytes, Peers, Peers] = Coalescer(lambda peers: peers)
        # What lookups found and when, for the time when no other node can be reached.
        self._found: OrderedDict[bytes, tuple[tuple[Address, ...], float]] = OrderedDict()
        self.reannouncer = Reannouncer(clock, config.dht_peer_max_age, socket, config.max_announces, announce_changed)

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """See Node.begin_lookup. Raises GrapeError."""
        if not isinstance(name, str) or not name:
            raise GrapeError("ERR_GRAPE_LOOKUP")
        if self._config.timeslot is None:
            return self._look_up(name, self._lookups, done)
        names = [self._in_slot(name, ago) for ago in (0, 1)]
        return self._in_both(names, done)

    def begin_announce(self, name: str | bytes, port: int, done: Callable[[int | Failure], object]) -> Cancellable:
        """See Node.begin_announce. Raises GrapeError."""
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
            raise GrapeError("ERR_GRAPE_SERVICE_PORT")
        if not isinstance(name, (str, bytes)) or not name:
            raise GrapeError("ERR_GRAPE_ANNOUNCE")
        key = name if isinstance(name, bytes) else text_to_bytes(name)
        if self._config.timeslot is not None:
            key = text_to_bytes(self._in_slot(key.decode("utf-8", "replace"), 0))
        protocol = self._socket()
        own_port = port or protocol.port
        # Port 0 is the configured UDP port, or, if that was for the system to choose, what the nodes see (as in Node).
        port = port or self._config.dht_port
        is_kept = self._config.announced_host is not None
        if is_kept:
            self._keep(key, own_port)

        def outcome(written: WriteOutcome) -> int:
            if written.asked == 0 and not self._config.dht_bootstrap:
                # Alone: kept here, and announced to whomever is met while it lives.
                if not is_kept:
                    self._keep(key, own_port)
                self.reannouncer.announced(key, port)
                return 1
            taken = accepted(written)
            self.reannouncer.announced(key, port, written.holders)
            return taken

        def ended(written: WriteOutcome) -> None:
            try:
                taken: int | Failure = outcome(written)
            except Exception:
                taken = Failure()
            done(taken)

        try:
            return protocol.announce(key, port, ended)
        except Overloaded as error:
            raise overload() from error

    def _in_both(self, names: Sequence[str], done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """Look up two names, those of a service in two time slots, as one."""
        first = deferred(partial(self._look_up, names[0], self._slots))
        try:
            second = deferred(partial(self._look_up, names[1], self._slots))
        except Exception:
            first.addErrback(lambda _: None).cancel()
            raise

        def failed(failure: Failure) -> None:
            # Of two that were cancelled nobody wants to hear.
            if failure.check(CancelledError) is None:
                done(failure)

        both = gatherResults([first, second], consumeErrors=True)
        both.addCallbacks(lambda found: self._pick(_sum(found[0], found[1])), _first_error)
        return both.addCallbacks(done, failed)

    def _look_up(
        self, name: str, lookups: Coalescer[bytes, Peers, T], done: Callable[[T | Failure], object]
    ) -> Cancellable:
        key = text_to_bytes(name)
        joined = lookups.join(key, done)
        if joined is not None:
            return joined
        protocol = self._socket()

        def start(ended: Callable[[Peers], None]) -> Cancellable:
            observer, seen = self._observer, None
            if observer.is_watching:
                observer.peers_seen(self._own(key, self._clock.seconds()), name, None)
                seen = partial(self._seen, name)
            return protocol.find_peers(key, seen, lambda peers, lookup: ended(self._merged(key, name, peers, lookup)))

        try:
            return lookups.start(key, start, done)
        except Overloaded as error:
            raise overload() from error

    def _seen(self, name: str, peers: list[Address], through: Address) -> None:
        self._observer.peers_seen(peers, name, through)

    def _merged(self, key: bytes, name: str, found: Peers, lookup: Found) -> Peers:
        try:
            return self._merge(key, name, found, lookup)
        except Exception:
            log.failure("what a lookup found could not be put together")
            return found

    def _merge(self, key: bytes, name: str, found: Peers, lookup: Found) -> Peers:
        self._observer.looked_up(name, lookup.answered)
        now = self._clock.seconds()
        if lookup.answered:
            self._remember(key, found, now)
        elif key in self._found:
            # Nobody can be reached: what was found not long ago is the best that can be said.
            remembered, at = self._found[key]
            if now - at < self._config.cache_age:
                found = dict.fromkeys(remembered, 1)
        for peer in self._own(key, now):
            found[peer] = found.get(peer, 0) + 1
        return found

    def _remember(self, key: bytes, found: Peers, now: float) -> None:
        self._found.pop(key, None)
        if found:
            best = found
            if len(found) > MAX_PEERS:
                best = dict(Counter(found).most_common(MAX_PEERS))
            self._found[key] = (tuple(best), now)
            if len(self._found) > self._config.dht_max_tables:
                self._found.popitem(last=False)

    def _own(self, key: bytes, now: float) -> list[Address]:
        return self._peers.sample(key, MAX_PEERS, now, self._dice.sample)

    def _pick(self, found: Peers) -> list[str]:
        """At most MAX_PEERS in random order; of more, those that most nodes know: each drew its own sample."""
        if len(found) < 2:
            return [f"{host}:{port}" for host, port in found]
        # Sorted first: equal dice give equal answers, whatever order they came in.
        peers = self._dice.sample(sorted(found), len(found))
        if len(peers) > MAX_PEERS:
            peers.sort(key=lambda peer: -found[peer])
            peers = self._dice.sample(peers[:MAX_PEERS], MAX_PEERS)
        return [f"{host}:{port}" for host, port in peers]

    def _in_slot(self, name: str, ago: int) -> str:
        """The name of a service in the current time slot of a 0.x network, or ``ago`` slots before."""
        length = round((self._config.timeslot or 0) * 1000)
        now = int(datetime.now(UTC).timestamp() * 1000) - ago * length
        return f"{name}-{now - now % length}"

    def _keep(self, key: bytes, port: int) -> None:
        peer = (self._config.announced_host or "127.0.0.1", port)
        self._peers.announce(key, peer, self._clock.seconds())
        self._observer.peer_stored(key, peer)


def _sum(first: Peers, second: Peers) -> Peers:
    peers = dict(first)
    for peer, count in second.items():
        peers[peer] = peers.get(peer, 0) + count
    return peers


def _first_error(failure: Failure) -> Failure:
    """The failure inside the one that gatherResults gives."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
