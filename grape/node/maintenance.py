"""Joins a network, keeps the routing table alive, and expires old peers.

All bootstrap nodes are queried in parallel; those that are no contacts are queried again, with back-off and
indefinitely, while the routing table is small. Lookups never query them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import AnsweredByOurselves
from grape.dht.nodeid import RandomBytes, position, random_id_sharing
from grape.dht.routing import K
from grape.krpc.udp import is_localhost
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

FIRST_RETRY_SECONDS = 0.3
MAX_RETRY_SECONDS = 5.0
# The table counts as shrunken below this share of the most contacts that it had; that peak decays at each check.
SHRUNKEN_SHARE = 0.75
PEAK_DECAY = 0.9995
# How long an entry that turned out to be this node itself is left out: another node may come to that address.
OWN_ENTRY_SECONDS = 5.0
LIVENESS_CHECK_SECONDS = 5.0
PINGS_PER_CHECK = 16
LOST_PINGS_PER_CHECK = 4
MAX_EXPLORE_PAUSE_CHECKS = 12
REFRESH_SECONDS = 900.0
EXPIRY_SECONDS = 60.0

log = Logger(namespace="grape.node")

Resolve = Callable[[str], Deferred[str]]


class ExpiringStore(Protocol):
    """A store whose entries have an age."""

    def expire(self, now: float) -> None:
        """Drops the entries that are too old at ``now``."""


class Maintenance:
    """The recurring work of one node: joining, liveness pings, bucket refresh, expiry.

    ``bootstrap`` are addresses, with IPv4 addresses or host names that ``resolve(host)`` resolves; ``remembered`` are
    the contacts of an earlier run, used as bootstrap nodes until one node has answered. Contacts that were silent for
    ``liveness_seconds`` are pinged. ``jitter()`` returns a random number from 0 to 1.
    """

    def __init__(
        self,
        reactor: Clock,
        protocol: DHTProtocol,
        bootstrap: Sequence[Address],
        liveness_seconds: float,
        stores: Sequence[ExpiringStore],
        resolve: Resolve,
        random_bytes: RandomBytes,
        jitter: Callable[[], float],
        remembered: Sequence[Address] = (),
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._bootstrap = [*bootstrap, *(address for address in remembered if address not in bootstrap)]
        self._remembered = frozenset(remembered) - frozenset(bootstrap)
        self._liveness_seconds = liveness_seconds
        self._stores = stores
        self._resolve = resolve
        self._random_bytes = random_bytes
        self._jitter = jitter
        self._recurring: dict[Callable[[], object], Timer] = {}
        self._retry: Timer | None = None
        self._delay = FIRST_RETRY_SECONDS
        self._stopped = False
        self._peak = 0.0
        self._explored_version = -1
        self._explore_pause = self._explore_after = 1
        self._on_answer: Callable[[object], None] = lambda _: None
        # Entries that turned out to be this node itself, and until when they are left out.
        self._own_entries: dict[Address, float] = {}
        # Each entry's address when it was queried last; host names being resolved; those that could not be resolved.
        self._resolved: dict[Address, Address] = {}
        self._names_under_way: set[str] = set()
        self._unresolved: set[str] = set()
        self._resolving: set[Deferred[str]] = set()

    def start(self) -> Deferred[None]:
        """Joins the network. Fires once that was tried: after the first answer, or when no bootstrap node answered."""
        for interval, work in (
            (min(LIVENESS_CHECK_SECONDS, self._liveness_seconds), self._check_liveness),
            (REFRESH_SECONDS, self._refresh),
            (EXPIRY_SECONDS, self._expire),
        ):
            self._repeat(interval, work)
        if not self._bootstrap:
            return succeed(None)
        joined: Deferred[None] = Deferred()

        def tried(_: object) -> None:
            if not joined.called:
                joined.callback(None)

        self._on_answer = tried
        self._query_entries().addCallback(lambda answered: None if answered else tried(None))
        return joined

    def set_bootstrap(self, bootstrap: Sequence[Address]) -> None:
        """Takes other bootstrap nodes: those that are no contacts are queried at once. Contacts stay."""
        left = [entry for entry in self._bootstrap if entry in self._remembered and entry not in bootstrap]
        self._remembered = frozenset(left)
        self._bootstrap = [*bootstrap, *left]
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._delay = FIRST_RETRY_SECONDS
        self._safely(self._query_entries)

    def own_entries(self) -> frozenset[Address]:
        """Returns the bootstrap entries that turned out to be this node itself."""
        return frozenset(self._own_entries)

    def stop(self) -> None:
        """Ends all recurring work."""
        self._stopped = True
        for timer in self._recurring.values():
            if timer.active():
                timer.cancel()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        for resolving in list(self._resolving):
            resolving.cancel()

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

    # Joining

    def _query_entries(self) -> Deferred[bool]:
        """Queries all bootstrap entries that are no contacts, and sets the timer to do so again.

        Fires with True if one answered. The timer does not wait for that: one lost datagram must not cost two seconds.
        """
        found: list[Deferred[object]] = []

        def answered(ok: bool) -> bool:
            if ok and not found:
                found.append(self._protocol.find_node(self._protocol.table.own_id).addBoth(self._on_answer))
            return ok

        queries = [self._query_entry(entry).addCallback(answered) for entry in self._bootstrap if self._is_due(entry)]
        self._schedule_retry()
        return DeferredList(queries).addCallback(lambda results: any(ok for _, ok in results))

    def _is_due(self, entry: Address) -> bool:
        """Returns True if a bootstrap entry should be queried now."""
        if entry[0] in self._names_under_way or self._reactor.seconds() < self._own_entries.get(entry, 0.0):
            return False
        table = self._protocol.table
        if entry in self._remembered and len(table):
            return False
        return table.at(self._resolved.get(entry, entry)) is None

    def _query_entry(self, entry: Address) -> Deferred[bool]:
        """Asks a bootstrap entry for the nodes around our id. Fires with True if it answered."""
        host, port = entry
        own_id = self._protocol.table.own_id

        def query(address: str) -> Deferred[bool]:
            self._unresolved.discard(host)
            self._resolved[entry] = (address, port)
            answer = self._protocol.query((address, port), b"find_node", {b"target": own_id})
            return answer.addCallbacks(lambda _: True, lambda failure: self._not_joined(entry, failure))

        def unresolvable(_: object) -> bool:
            if host not in self._unresolved and not self._stopped:
                self._unresolved.add(host)
                log.warn("bootstrap node {host} cannot be resolved; retrying", host=host)
            return False

        if is_ipv4(host):
            return query(host)
        self._names_under_way.add(host)
        resolving = maybeDeferred(self._resolve, host)
        self._resolving.add(resolving)

        def resolved(result: object) -> object:
            self._names_under_way.discard(host)
            self._resolving.discard(resolving)
            return result

        resolving.addBoth(resolved)
        answer: Deferred[bool] = Deferred()
        resolving.addCallbacks(query, unresolvable)
        resolving.addBoth(lambda ok: answer.callback(ok is True))
        return answer

    def _not_joined(self, entry: Address, failure: Failure) -> bool:
        if failure.check(AnsweredByOurselves):
            if entry not in self._own_entries and (not is_localhost(entry[0]) or entry[1] != self._protocol.port):
                log.info("bootstrap node {host}:{port} answers with this grape's own node id: it is this grape itself, "
                         "or has a copy of its state file", host=entry[0], port=entry[1])  # fmt: skip
            self._own_entries[entry] = self._reactor.seconds() + OWN_ENTRY_SECONDS
        return False

    def _schedule_retry(self) -> None:
        if self._stopped:
            return
        delay = self._delay * (0.8 + 0.4 * self._jitter())
        self._delay = min(self._delay * 2, MAX_RETRY_SECONDS)
        self._retry = self._reactor.callLater(delay, self._safely, self._retry_now)

    def _retry_now(self) -> None:
        if self._is_shrunken() and any(map(self._is_due, self._bootstrap)):
            self._query_entries()
        else:
            # ``_check_liveness`` starts it again when contacts have gone.
            self._delay = MAX_RETRY_SECONDS
            self._retry = None

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
            if is_shrunken and self._retry is None and self._bootstrap:
                self._retry_now()
        self._explore()

    def _explore(self) -> None:
        """Looks for more contacts while there are few: soon after one came or went, then less and less often."""
        table = self._protocol.table
        if table.version != self._explored_version:
            self._explored_version = table.version
            self._explore_pause = self._explore_after = 1
        self._explore_after -= 1
        if self._explore_after <= 0 and 0 < len(table) < K:
            self._explore_pause = self._explore_after = min(self._explore_pause * 2, MAX_EXPLORE_PAUSE_CHECKS)
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


def warn_if_unreachable(dht_host: str, bootstrap: Sequence[Address]) -> None:
    """Logs a warning if the UDP socket is bound to loopback and a bootstrap node is on another machine."""
    if dht_host.startswith("127.") and not all(is_localhost(host) for host, _ in bootstrap):
        log.warn("DHT listens on {host} only: bootstrap nodes on other machines cannot answer it "
                 "(--dht-bind names another address)", host=dht_host)  # fmt: skip
