"""Queries bootstrap nodes: all in parallel, again with back-off and indefinitely, while more contacts are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import AnsweredByOurselves
from grape.krpc.udp import is_localhost
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

FIRST_RETRY_SECONDS = 0.3
MAX_RETRY_SECONDS = 5.0
# How long an entry that turned out to be this node itself is left out: another node may come to that address.
OWN_ENTRY_SECONDS = 5.0

log = Logger(namespace="grape")

Resolve = Callable[[str], Deferred[str]]


class Bootstrap:
    """The bootstrap nodes of one node.

    ``entries`` are addresses, with IPv4 addresses or host names that ``resolve(host)`` resolves; ``remembered`` are
    the contacts of an earlier run, used as bootstrap nodes until one node has answered. ``is_needed()`` is True while
    the routing table should have more contacts. ``jitter()`` returns a random number from 0 to 1.
    """

    def __init__(
        self,
        reactor: Clock,
        protocol: DHTProtocol,
        entries: Sequence[Address],
        resolve: Resolve,
        is_needed: Callable[[], bool],
        jitter: Callable[[], float],
        remembered: Sequence[Address] = (),
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._entries = [*entries, *(address for address in remembered if address not in entries)]
        self._remembered = frozenset(remembered) - frozenset(entries)
        self._resolve = resolve
        self._is_needed = is_needed
        self._jitter = jitter
        self._retry: Timer | None = None
        self._delay = FIRST_RETRY_SECONDS
        self._stopped = False
        self._on_answer: Callable[[object], None] = lambda _: None
        # Entries that turned out to be this node itself, and until when they are left out.
        self._own_entries: dict[Address, float] = {}
        # Each entry's address when it was queried last; host names being resolved; those that could not be resolved.
        self._resolved: dict[Address, Address] = {}
        self._names_under_way: set[str] = set()
        self._unresolved: set[str] = set()
        self._resolving: set[Deferred[str]] = set()

    def start(self) -> Deferred[None]:
        """Queries the nodes. Fires once that was tried: after the first answer, or when none of them answered."""
        if not self._entries:
            return succeed(None)
        joined: Deferred[None] = Deferred()

        def tried(_: object) -> None:
            if not joined.called:
                joined.callback(None)

        self._on_answer = tried
        self._query_entries().addCallback(lambda answered: None if answered else tried(None))
        return joined

    def stop(self) -> None:
        """Queries no more."""
        self._stopped = True
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        for resolving in list(self._resolving):
            resolving.cancel()

    def resume(self) -> None:
        """Queries the nodes again, and sets the timer for more, unless it is set: contacts have gone."""
        if self._retry is None and self._entries:
            self._retry_now()

    def own_entries(self) -> frozenset[Address]:
        """Returns the entries that turned out to be this node itself."""
        return frozenset(self._own_entries)

    def _query_entries(self) -> Deferred[bool]:
        """Queries all bootstrap entries that are no contacts, and sets the timer to do so again.

        Fires with True if one answered. The timer does not wait for that: one lost datagram must not cost two seconds.
        """
        found: list[Deferred[object]] = []

        def answered(ok: bool) -> bool:
            if ok and not found:
                found.append(self._protocol.find_node(self._protocol.table.own_id).addBoth(self._on_answer))
            return ok

        queries = [self._query_entry(entry).addCallback(answered) for entry in self._entries if self._is_due(entry)]
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
        self._retry = self._reactor.callLater(delay, self._retry_safely)

    def _retry_safely(self) -> None:
        try:
            self._retry_now()
        except Exception:
            log.failure("bootstrap nodes could not be queried")

    def _retry_now(self) -> None:
        if self._is_needed() and any(map(self._is_due, self._entries)):
            self._query_entries()
        else:
            # ``resume`` starts it again when contacts have gone.
            self._delay = MAX_RETRY_SECONDS
            self._retry = None


def warn_if_unreachable(dht_host: str, bootstrap: Sequence[Address]) -> None:
    """Logs a warning if the UDP socket is bound to loopback and a bootstrap node is on another machine."""
    if dht_host.startswith("127.") and not all(is_localhost(host) for host, _ in bootstrap):
        log.warn("DHT listens on {host} only: bootstrap nodes on other machines cannot answer it "
                 "(--dht-bind names another address)", host=dht_host)  # fmt: skip
