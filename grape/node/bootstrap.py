"""Queries bootstrap nodes: all in parallel, again with back-off and indefinitely, while more contacts are needed.

An entry is an IPv4 address or a host name with a port. A name stands for all its addresses: it is resolved again in
each round, and at most ADDRESSES_PER_ROUND of its addresses are queried at once, the next ones in the next round. An
address that turns out to be this node itself is left out alone, for some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import AnsweredByOurselves
from grape.krpc.udp import is_localhost
from grape.protocol import DHTProtocol
from grape.reactor import Clock, OnlyIPv6, Resolve, Timer

FIRST_RETRY_SECONDS = 0.3
MAX_RETRY_SECONDS = 5.0
ADDRESSES_PER_ROUND = 8
# A name server's answer over TCP could have thousands.
MAX_ADDRESSES = 256
# How long an address that turned out to be this node itself is left out: another node may come to it.
OWN_ADDRESS_SECONDS = 5.0

log = Logger(namespace="grape.node")


class Bootstrap:
    """The bootstrap nodes of one node.

    ``entries`` are addresses, with IPv4 addresses or host names that ``resolve(host)`` resolves; ``remembered`` are
    the contacts of an earlier run, used as bootstrap nodes until one node has answered. ``is_needed()`` is True while
    the routing table should have more contacts. ``jitter()`` returns a random number from 0 to 1.

    ``protocol.queries.never_marked`` holds the addresses of the entries: they are queried though others name them.
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
        # The addresses that each entry stands for; of a name those of the last time that it was resolved.
        self._addresses: dict[Address, list[Address]] = {
            entry: [entry] if is_ipv4(entry[0]) else [] for entry in self._entries
        }
        # Of each entry the addresses that were queried since it was begun anew with the first.
        self._queried: dict[Address, set[Address]] = {entry: set() for entry in self._entries}
        # Addresses that turned out to be this node itself, and until when they are left out.
        self._own: dict[Address, float] = {}
        # Those that were logged as such.
        self._logged: set[Address] = set()
        self._resolving: dict[Address, Deferred[list[str]]] = {}
        self._unresolved: set[str] = set()
        self._never_mark()

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

    def set_entries(self, entries: Sequence[Address]) -> None:
        """Takes other bootstrap nodes: those that are no contacts are queried at once. Contacts stay."""
        left = [entry for entry in self._entries if entry in self._remembered and entry not in entries]
        self._remembered = frozenset(left)
        self._entries = [*entries, *left]
        self._addresses = {
            entry: [entry] if is_ipv4(entry[0]) else self._addresses.get(entry, []) for entry in self._entries
        }
        self._queried = {entry: set() for entry in self._entries}
        self._never_mark()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._delay = FIRST_RETRY_SECONDS
        self._query_entries()

    def stop(self) -> None:
        """Queries no more."""
        self._stopped = True
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        for resolving in list(self._resolving.values()):
            resolving.cancel()

    def resume(self) -> None:
        """Queries the nodes again, and sets the timer for more, unless it is set: contacts have gone."""
        if self._retry is None and self._entries:
            self._retry_now()

    def own_entries(self) -> frozenset[Address]:
        """Returns the entries all of whose addresses turned out to be this node itself."""
        return frozenset(
            entry for entry, addresses in self._addresses.items() if addresses and self._own.keys() >= set(addresses)
        )

    def configured(self) -> frozenset[Address]:
        """Returns the addresses of the configured entries; a name that is not resolved yet stands for itself."""
        addresses = (self._addresses[entry] or [entry] for entry in self._entries if entry not in self._remembered)
        return frozenset(chain.from_iterable(addresses))

    def join_again(self) -> None:
        """Queries all entries anew: this node has another id now."""
        self._own.clear()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._delay = FIRST_RETRY_SECONDS
        self._query_entries()

    def _query_entries(self) -> Deferred[bool]:
        """Queries the entries that are due, and sets the timer to do so again.

        Fires with True if a node answered. The timer does not wait for that: one lost datagram must not cost two
        seconds.
        """
        found: list[Deferred[object]] = []

        def answered() -> None:
            if not found:
                found.append(self._protocol.find_node(self._protocol.table.own_id).addBoth(self._on_answer))

        queries = [self._query_entry(entry, answered) for entry in self._entries if self._is_due(entry)]
        self._schedule_retry()
        return DeferredList(queries).addCallback(lambda results: any(ok is True for _, ok in results))

    def _is_due(self, entry: Address) -> bool:
        """Returns True if an entry has an address to query now, or is a name to be resolved."""
        table = self._protocol.table
        if entry in self._resolving or (entry in self._remembered and len(table)):
            return False
        addresses = self._addresses[entry]
        missing = self._missing(addresses)
        if any(table.at(address) for address in addresses):
            # A name for a ring, this node among them: its own address is no reason to resolve the name for ever.
            return any(address not in self._own for address in missing)
        # A name that stood for nothing but this node may stand for others by now.
        return bool(missing) or not is_ipv4(entry[0])

    def _missing(self, addresses: Sequence[Address]) -> list[Address]:
        """Returns the addresses that are neither those of contacts nor this node's own."""
        table, now = self._protocol.table, self._reactor.seconds()
        return [address for address in addresses if table.at(address) is None and self._own.get(address, 0.0) <= now]

    def _query_entry(self, entry: Address, answered: Callable[[], object]) -> Deferred[bool]:
        """Asks an entry's nodes for the nodes around our id. Fires with True if one answered; ``answered()`` for each.

        The Deferred does not fail.
        """
        host, port = entry

        def resolved(hosts: list[str]) -> Deferred[bool]:
            self._unresolved.discard(host)
            if entry not in self._addresses:
                # It has left the list meanwhile.
                return succeed(False)
            self._addresses[entry] = [(address, port) for address in dict.fromkeys(hosts)][:MAX_ADDRESSES]
            self._never_mark()
            return self._query_addresses(entry, answered)

        def unresolvable(failure: Failure) -> bool:
            if host not in self._unresolved and not self._stopped:
                self._unresolved.add(host)
                if failure.check(OnlyIPv6):
                    log.warn("bootstrap node {host} has only IPv6 addresses; the DHT speaks IPv4; retrying", host=host)
                else:
                    log.warn("bootstrap node {host} cannot be resolved; retrying", host=host)
            return False

        if is_ipv4(host):
            return self._query_addresses(entry, answered)
        resolving = self._resolving[entry] = maybeDeferred(self._resolve, host)

        def ended(result: list[str] | Failure) -> list[str] | Failure:
            self._resolving.pop(entry, None)
            return result

        resolving.addBoth(ended)
        any_answered: Deferred[bool] = Deferred()
        resolving.addCallbacks(resolved, unresolvable)
        resolving.addBoth(lambda ok: any_answered.callback(ok is True))
        return any_answered

    def _query_addresses(self, entry: Address, answered: Callable[[], object]) -> Deferred[bool]:
        """Queries the next addresses of an entry. Fires with True if one answered."""
        queried = self._queried[entry]
        missing = self._missing(self._addresses[entry])
        fresh = [address for address in missing if address not in queried]
        if not fresh:
            queried.clear()
            fresh = missing
        chosen = fresh[:ADDRESSES_PER_ROUND]
        queried.update(chosen)
        queries = [self._query(address, entry, answered) for address in chosen]
        return DeferredList(queries).addCallback(lambda results: any(ok is True for _, ok in results))

    def _query(self, address: Address, entry: Address, answered: Callable[[], object]) -> Deferred[bool]:
        def joined(_: object) -> bool:
            self._own.pop(address, None)
            answered()
            return True

        answer = self._protocol.query(address, b"find_node", {b"target": self._protocol.table.own_id})
        return answer.addCallbacks(joined, lambda failure: self._not_joined(address, entry, failure))

    def _not_joined(self, address: Address, entry: Address, failure: Failure) -> bool:
        if failure.check(AnsweredByOurselves):
            # The first answer does not tell whether it is another node, of which ``node.own_id`` warns.
            is_named = not is_localhost(address[0]) or address[1] != self._protocol.port
            if is_named and address not in self._logged and self._protocol.clones.is_ours(address):
                self._logged.add(address)
                name = f"{entry[0]} ({address[0]})" if address != entry else entry[0]
                log.info("bootstrap node {name}:{port} answers with this grape's own node id: it is this grape itself",
                         name=name, port=address[1])  # fmt: skip
            self._own[address] = self._reactor.seconds() + OWN_ADDRESS_SECONDS
        return False

    def _never_mark(self) -> None:
        never_marked = self._protocol.queries.never_marked
        never_marked.clear()
        for addresses in self._addresses.values():
            never_marked.update(addresses)

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
            log.failure("bootstrap nodes could not be queried; retrying")
            self._schedule_retry()

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
