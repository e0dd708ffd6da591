"""Joins a network, keeps the routing table alive, and expires old peers.

Bootstrap nodes (``grape.node.bootstrap``) are queried while the routing table is small. Lookups never query them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.config import Config
from grape.dht.compact import Address
from grape.dht.nodeid import RandomBytes, position, random_id_sharing
from grape.dht.routing import K
from grape.krpc.udp import is_localhost
from grape.node.bootstrap import Bootstrap
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Resolve, Timer

# The table counts as shrunken below this share of the most contacts that it had; that peak decays at each check.
SHRUNKEN_SHARE = 0.75
PEAK_DECAY = 0.9995
LIVENESS_CHECK_SECONDS = 5.0
PINGS_PER_CHECK = 16
LOST_PINGS_PER_CHECK = 4
MAX_EXPLORE_PAUSE_CHECKS = 12
REFRESH_SECONDS = 900.0
EXPIRY_SECONDS = 60.0

log = Logger(namespace="grape.node")


class ExpiringStore(Protocol):
    """A store whose entries have an age."""

    def expire(self, now: float) -> None:
        """Drops the entries that are too old at ``now``."""


class Maintenance:
    """The recurring work of one node: joining, liveness pings, bucket refresh, expiry.

    ``resolve(host)`` resolves the names of bootstrap nodes; ``remembered`` are the contacts of an earlier run, used as
    bootstrap nodes until one node has answered. ``jitter()`` returns a random number from 0 to 1.
    """

    def __init__(
        self,
        reactor: Clock,
        protocol: DHTProtocol,
        config: Config,
        stores: Sequence[ExpiringStore],
        resolve: Resolve,
        random_bytes: RandomBytes,
        jitter: Callable[[], float],
        remembered: Sequence[Address] = (),
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        nodes = config.dht_bootstrap
        self._bootstrap = Bootstrap(reactor, protocol, nodes, resolve, self._is_shrunken, jitter, remembered)
        self._liveness_seconds = config.dht_node_liveness
        self._stores = stores
        self._random_bytes = random_bytes
        # Whether the socket can be reached from other hosts.
        self._is_open = not is_localhost(config.dht_host)
        self._recurring: dict[Callable[[], object], Timer] = {}
        self._stopped = False
        self._peak = 0.0
        self._explored_version = -1
        self._explore_pause = self._explore_after = 1

    def start(self) -> Deferred[None]:
        """Joins the network. Fires once that was tried: after the first answer, or when no bootstrap node answered."""
        for interval, work in (
            (min(LIVENESS_CHECK_SECONDS, self._liveness_seconds), self._check_liveness),
            (REFRESH_SECONDS, self._refresh),
            (EXPIRY_SECONDS, self._expire),
        ):
            self._repeat(interval, work)
        return self._bootstrap.start()

    def set_bootstrap(self, bootstrap: Sequence[Address]) -> None:
        """Takes other bootstrap nodes: those that are no contacts are queried at once. Contacts stay."""
        self._bootstrap.set_entries(bootstrap)

    def own_entries(self) -> frozenset[Address]:
        """Returns the bootstrap entries that turned out to be this node itself."""
        return self._bootstrap.own_entries()

    def bootstrap_addresses(self) -> frozenset[Address]:
        """Returns the addresses of the configured bootstrap nodes; a name not resolved yet stands for itself."""
        return self._bootstrap.configured()

    def join_again(self) -> None:
        """Queries all bootstrap nodes anew: this node has another id now."""
        self._safely(self._bootstrap.join_again)

    def stop(self) -> None:
        """Ends all recurring work."""
        self._stopped = True
        for timer in self._recurring.values():
            if timer.active():
                timer.cancel()
        self._bootstrap.stop()

    def _repeat(self, interval: float, work: Callable[[], object]) -> None:
        """Does some work at each interval.

        Not by LoopingCall: its Deferreds are felt where a thousand nodes share a process.
        """

        def turn() -> None:
            self._recurring[work] = self._reactor.callLater(interval, turn)
            self._safely(work)

        self._recurring[work] = self._reactor.callLater(interval, turn)

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            log.failure("recurring work {work} failed", work=work.__name__)

    def _is_shrunken(self) -> bool:
        """Returns True if the table holds fewer than K contacts, or many fewer than lately."""
        contacts = len(self._protocol.table)
        self._peak = max(float(contacts), self._peak * PEAK_DECAY)
        return contacts < K or contacts < self._peak * SHRUNKEN_SHARE

    # Keeping the routing table alive

    def _check_liveness(self) -> None:
        """Pings the contacts that failed last or were silent for too long; if many are gone, some of those, too."""
        now = self._reactor.seconds()
        table = self._protocol.table
        doubtful, silent = table.unwell(now - self._liveness_seconds)
        is_shrunken = self._is_shrunken()
        if doubtful or silent or is_shrunken:
            addresses = [contact.address for contact in [*doubtful, *silent[:PINGS_PER_CHECK]]]
            if is_shrunken:
                # The network may have been cut and be whole again.
                addresses += table.lost(LOST_PINGS_PER_CHECK, now)
            for address in dict.fromkeys(addresses):
                self._protocol.check_liveness(address)
            if is_shrunken:
                self._bootstrap.resume()
        self._explore()

    def _explore(self) -> None:
        """Looks for more contacts while there are few: soon after one came or went, then less and less often.

        A contact at a loopback address tells nobody elsewhere of this node: newcomers that it has met are only found by
        asking it, so that is done at each check.
        """
        table = self._protocol.table
        if table.version != self._explored_version:
            self._explored_version = table.version
            self._explore_pause = self._explore_after = 1
        self._explore_after -= 1
        if self._explore_after <= 0 and 0 < len(table) < K:
            longest = 1 if table.loopback_contacts and self._is_open else MAX_EXPLORE_PAUSE_CHECKS
            self._explore_pause = self._explore_after = min(self._explore_pause * 2, longest)
            self._protocol.find_node(table.own_id)

    def _refresh(self) -> None:
        """Looks up our own id, and a random id in each bucket in which nothing answered lately (BEP 5)."""
        table = self._protocol.table
        if not len(table):
            return
        own = position(table.own_id)
        targets = [table.own_id] + [
            random_id_sharing(own, bits, self._random_bytes)
            for bits in table.idle_buckets(self._reactor.seconds() - REFRESH_SECONDS)
        ]

        def next_one(_: object) -> Deferred[object] | None:
            if self._stopped or not targets:
                return None
            return self._protocol.find_node(targets.pop(0)).addBoth(next_one)

        next_one(None)

    def _expire(self) -> None:
        now = self._reactor.seconds()
        for store in self._stores:
            store.expire(now)
