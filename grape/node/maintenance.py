"""What keeps a node in its network: joining it, staying in it, and forgetting what is too old.

Bootstrap entries are asked all at once, and again with back-off for ever while they are not among the contacts and
the table is small; ordinary lookups never ask them.
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
from grape.krpc.udp import is_loopback
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

FIRST_RETRY_SECONDS = 0.3
MAX_RETRY_SECONDS = 5.0
# The table counts as shrunken below this share of the most contacts that it had lately; "lately" fades at each check.
SHRUNKEN_SHARE = 0.75
PEAK_DECAY = 0.9995
OWN_ENTRY_SECONDS = 60.0
LIVENESS_CHECK_SECONDS = 5.0
PINGS_PER_CHECK = 16
PROBES_PER_CHECK = 4
MAX_EXPLORE_PAUSE_CHECKS = 12
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
        remembered: Sequence[Address] = (),
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        # Contacts from before a restart count as entries until somebody has answered.
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
        # Entries that turned out to be this grape itself, and until when they are left alone.
        self._own_entries: dict[Address, float] = {}
        # Names that are being resolved.
        self._asked_names: set[str] = set()
        # The address that an entry's name stood for when it was asked last.
        self._resolved: dict[Address, Address] = {}
        self._unresolved: set[str] = set()
        self._resolving: set[Deferred[str]] = set()

    def start(self) -> Deferred[None]:
        """Join the network. Fires once that has been tried: after the first answer, or when none came."""
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
        self._ask_entries().addCallback(lambda answered: None if answered else tried(None))
        return joined

    def stop(self) -> None:
        """End all recurring work."""
        self._stopped = True
        for timer in self._recurring.values():
            if timer.active():
                timer.cancel()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        for resolving in list(self._resolving):
            resolving.cancel()

    def _repeat(self, interval: float, work: Callable[[], object]) -> None:
        """Do some work again and again. A LoopingCall's Deferreds are felt where a thousand nodes share a process."""

        def turn() -> None:
            self._recurring[work] = self._reactor.callLater(interval, turn)
            self._safely(work)

        self._recurring[work] = self._reactor.callLater(interval, turn)

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            log.failure("recurring work failed")

    # Joining

    def _ask_entries(self) -> Deferred[bool]:
        """Ask all entries that are no contacts, at once, and again later. Whether one answered.

        The next time is not put off until these questions time out: one lost datagram must not cost two seconds.
        """
        found: list[Deferred[object]] = []

        def heard(ok: bool) -> bool:
            if ok and not found:
                found.append(self._protocol.find_node(self._protocol.table.own_id).addBoth(self._on_answer))
            return ok

        asked = [self._ask_entry(entry).addCallback(heard) for entry in self._bootstrap if self._is_wanted(entry)]
        self._schedule_retry()
        return DeferredList(asked).addCallback(lambda results: any(ok for _, ok in results))

    def _is_wanted(self, entry: Address) -> bool:
        if entry[0] in self._asked_names or self._reactor.seconds() < self._own_entries.get(entry, 0.0):
            return False
        table = self._protocol.table
        if entry in self._remembered and len(table):
            return False
        return table.at(self._resolved.get(entry, entry)) is None

    def _ask_entry(self, entry: Address) -> Deferred[bool]:
        """Ask one entry for the nodes around us. Whether it answered."""
        host, port = entry
        own_id = self._protocol.table.own_id

        def ask(address: str) -> Deferred[bool]:
            self._unresolved.discard(host)
            self._resolved[entry] = (address, port)
            asked = self._protocol.query((address, port), b"find_node", {b"target": own_id})
            return asked.addCallbacks(lambda _: True, lambda failure: self._not_joined(entry, failure))

        def unresolvable(_: object) -> bool:
            if host not in self._unresolved and not self._stopped:
                self._unresolved.add(host)
                log.warn("bootstrap node {host} cannot be resolved; trying again for ever", host=host)
            return False

        if is_ipv4(host):
            return ask(host)
        self._asked_names.add(host)
        resolving = maybeDeferred(self._resolve, host)
        self._resolving.add(resolving)

        def resolved(result: object) -> object:
            self._asked_names.discard(host)
            self._resolving.discard(resolving)
            return result

        resolving.addBoth(resolved)
        answer: Deferred[bool] = Deferred()
        resolving.addCallbacks(ask, unresolvable)
        resolving.addBoth(lambda ok: answer.callback(ok is True))
        return answer

    def _not_joined(self, entry: Address, failure: Failure) -> bool:
        if failure.check(AnsweredByOurselves):
            if entry not in self._own_entries and (not is_loopback(entry[0]) or entry[1] != self._protocol.port):
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
        if self._is_shrunken() and any(map(self._is_wanted, self._bootstrap)):
            self._ask_entries()
        else:
            # Nothing to do now; the check of liveness sees when contacts have gone.
            self._delay = MAX_RETRY_SECONDS
            self._retry = None

    def _is_shrunken(self) -> bool:
        """Whether the table holds few contacts, or many fewer than it did lately."""
        contacts = len(self._protocol.table)
        self._peak = max(float(contacts), self._peak * PEAK_DECAY)
        return contacts < K or contacts < self._peak * SHRUNKEN_SHARE

    # Staying

    def _check_liveness(self) -> None:
        """Ping who failed lately, and who has been silent for too long."""
        now = self._reactor.seconds()
        table = self._protocol.table
        doubtful, silent = table.unwell(now - self._liveness_seconds)
        is_shrunken = self._is_shrunken()
        if doubtful or silent or is_shrunken:
            addresses = [contact.address for contact in [*doubtful, *silent[:PINGS_PER_CHECK]]]
            if is_shrunken:
                # Perhaps the network was cut, and is whole again.
                addresses += table.lost(PROBES_PER_CHECK, now)
            for address in dict.fromkeys(addresses):
                self._protocol.check_liveness(address)
            if is_shrunken and self._retry is None and self._bootstrap:
                self._retry_now()
        self._explore()

    def _explore(self) -> None:
        """With few contacts, look for more: soon after one came or went, then less and less often."""
        table = self._protocol.table
        if table.version != self._explored_version:
            self._explored_version = table.version
            self._explore_pause = self._explore_after = 1
        self._explore_after -= 1
        if self._explore_after <= 0 and 0 < len(table) < K:
            self._explore_pause = self._explore_after = min(self._explore_pause * 2, MAX_EXPLORE_PAUSE_CHECKS)
            self._protocol.find_node(table.own_id)

    def _refresh(self) -> None:
        """Look up our own id, and a random one in each bucket that was silent (BEP 5), to know who lives there."""
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
