"""What keeps a node in its network: joining it, staying in it, and forgetting what is too old.

Bootstrap entries are asked all at once, and again with back-off for ever while they are not among the contacts and
the table is small; ordinary lookups never ask them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from grape.dht.compact import Address, is_ipv4
from grape.dht.nodeid import RandomBytes, position, random_id_sharing
from grape.dht.routing import K
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 8.0
LIVENESS_CHECK_SECONDS = 5.0
PINGS_PER_CHECK = 16
REFRESH_SECONDS = 900.0
EXPIRY_SECONDS = 60.0

log = Logger(namespace="grape")

Resolve = Callable[[str], Deferred[str]]


class Perishable(Protocol):
    def expire(self, now: float) -> None: ...


class Maintenance:
    """The recurring work of one node. ``jitter()`` gives a random number from 0 to 1."""

    def __init__(
        self,
        reactor: Clock,
        protocol: DHTProtocol,
        bootstrap: Sequence[Address],
        liveness_seconds: float,
        stores: Sequence[Perishable],
        resolve: Resolve,
        random_bytes: RandomBytes,
        jitter: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._bootstrap = bootstrap
        self._liveness_seconds = liveness_seconds
        self._stores = stores
        self._resolve = resolve
        self._random_bytes = random_bytes
        self._jitter = jitter
        self._loops: list[LoopingCall] = []
        self._retry: Timer | None = None
        self._delay = FIRST_RETRY_SECONDS
        self._stopped = False
        self._own_entries: set[Address] = set()
        self._unresolved: set[str] = set()
        self._resolving: set[Deferred[str]] = set()

    def start(self) -> Deferred[None]:
        """Join the network. Fires once that has been tried: at the first answer, or when none came."""
        for interval, work in (
            (min(LIVENESS_CHECK_SECONDS, self._liveness_seconds), self._check_liveness),
            (REFRESH_SECONDS, self._refresh),
            (EXPIRY_SECONDS, self._expire),
        ):
            loop = LoopingCall(self._safely, work)
            loop.clock = cast("IReactorTime", self._reactor)
            self._loops.append(loop)
            loop.start(interval, now=False)
        if not self._bootstrap:
            return succeed(None)
        return self._join()

    def stop(self) -> None:
        """End all recurring work."""
        self._stopped = True
        for loop in self._loops:
            if loop.running:
                loop.stop()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        for resolving in list(self._resolving):
            resolving.cancel()

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            log.failure("recurring work failed")

    # Joining

    def _join(self) -> Deferred[None]:
        joined: Deferred[None] = Deferred()

        def answered(ok: bool) -> bool:
            if ok and not started:
                started.append(True)
                self._protocol.find_node(self._protocol.table.own_id).addBoth(lambda _: joined.callback(None))
            return ok

        def all_over(_: object) -> None:
            self._schedule_retry()
            if not started:
                joined.callback(None)

        started: list[bool] = []
        asked = [self._ask_entry(entry).addCallback(answered) for entry in self._bootstrap if self._is_wanted(entry)]
        DeferredList(asked).addCallback(all_over)
        return joined

    def _is_wanted(self, entry: Address) -> bool:
        return entry not in self._own_entries and self._protocol.table.at(entry) is None

    def _ask_entry(self, entry: Address) -> Deferred[bool]:
        """Ask one entry for the nodes around us. Whether it answered."""
        host, port = entry
        own_id = self._protocol.table.own_id

        def ask(address: str) -> Deferred[bool]:
            self._unresolved.discard(host)
            asked = self._protocol.query((address, port), b"find_node", {b"target": own_id})
            return asked.addCallbacks(lambda _: True, lambda failure: self._not_joined(entry, failure))

        def unresolvable(_: object) -> bool:
            if host not in self._unresolved and not self._stopped:
                self._unresolved.add(host)
                log.warn("bootstrap node {host} cannot be resolved; trying again for ever", host=host)
            return False

        if is_ipv4(host):
            return ask(host)
        resolving = maybeDeferred(self._resolve, host)
        self._resolving.add(resolving)

        def resolved(result: object) -> object:
            self._resolving.discard(resolving)
            return result

        resolving.addBoth(resolved)
        answer: Deferred[bool] = Deferred()
        resolving.addCallbacks(ask, unresolvable)
        resolving.addBoth(lambda ok: answer.callback(ok is True))
        return answer

    def _not_joined(self, entry: Address, failure: object) -> bool:
        if "no usable node id" in str(failure):
            # It answered with our own id: the entry is this grape itself.
            self._own_entries.add(entry)
        return False

    def _schedule_retry(self) -> None:
        if self._stopped:
            return
        delay = self._delay * (0.8 + 0.4 * self._jitter())
        self._delay = min(self._delay * 2, MAX_RETRY_SECONDS)
        self._retry = self._reactor.callLater(delay, self._safely, self._retry_now)

    def _retry_now(self) -> None:
        if len(self._protocol.table) >= K or not any(map(self._is_wanted, self._bootstrap)):
            # Nothing to do now; contacts may go again.
            self._delay = MAX_RETRY_SECONDS
            self._schedule_retry()
        else:
            self._join().addErrback(lambda failure: log.failure("joining failed", failure))

    # Staying

    def _check_liveness(self) -> None:
        """Ping who failed lately, and who has been silent for too long."""
        now = self._reactor.seconds()
        table = self._protocol.table
        doubtful = [contact for contact in table if contact.failures]
        silent = table.silent_since(now - self._liveness_seconds)
        for contact in dict.fromkeys([*doubtful, *silent[:PINGS_PER_CHECK]]):
            self._protocol.ping(contact.address).addErrback(lambda _: None)

    def _refresh(self) -> None:
        """Look up our own id and a random one in each bucket, so that every bucket knows who lives there."""
        table = self._protocol.table
        if not len(table):
            return
        own = position(table.own_id)
        targets = [table.own_id] + [
            random_id_sharing(own, bits, self._random_bytes) for bits in range(len(table.bucket_sizes()))
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
