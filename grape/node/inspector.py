"""Tells what a node is, does and holds, and whether it should be given work; watches whether it is cut off."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from grape.config import Config
from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.dht.responder import Responder
from grape.metrics import Counters, Stats
from grape.node.isolation import IsolationCheck
from grape.node.rates import Rates
from grape.node.readiness import Readiness, assess
from grape.node.reporter import Reporter
from grape.protocol import DHTProtocol
from grape.reactor import Clock
from grape.state.recorded import Recorded
from grape.state.recorder import StateRecorder

if TYPE_CHECKING:
    # Imported where they are needed: to make these classes takes 2 ms of a start.
    from grape.node.status import Connections, NodeEntry, Page, ServiceEntry, StateFile, Status

# Of each service in a list; of one alone.
LISTED_PEERS = 100
SHOWN_PEERS = 1_000
# A page ends early when its text would be longer than about this: names may be long, and peers many.
PAGE_BYTES = 256 * 1024
SERVICE_BYTES = 60
PEER_BYTES = 60


class Inspected(Protocol):
    """A node, as far as it is not made of the parts that an inspector knows."""

    config: Config
    node_id: bytes
    is_stopping: bool
    counters: Counters

    @property
    def running(self) -> object: ...

    @property
    def dht_address(self) -> Address | None: ...

    @property
    def dht_port(self) -> int: ...


class Inspector:
    """Tells of ``node``; the others are its parts."""

    def __init__(
        self,
        node: Inspected,
        clock: Clock,
        recorded: Recorded,
        recorder: StateRecorder | None,
        reporter: Reporter,
        responder: Responder,
    ) -> None:
        self._node = node
        self._clock = clock
        self._table = table = recorded.table
        self._peers = recorded.peers
        self._items = recorded.items
        self._withdrawals = recorded.withdrawals
        self._recorder = recorder
        self._reporter = reporter
        self._responder = responder
        self._protocol: DHTProtocol | None = None
        self._own_entries: Callable[[], frozenset[Address]] = frozenset
        self._isolation = IsolationCheck(clock, lambda: table, self._ping)
        counters = node.counters
        self._rates = Rates(
            clock,
            {
                "calls": lambda: 0,
                "queries_in": lambda: counters.queries_in,
                "queries_out": lambda: counters.queries_out,
            },
        )
        self._started_at = 0.0
        self._api_address: Callable[[], Address | None] = lambda: None
        self._connections: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def start(self, protocol: DHTProtocol, own_entries: Callable[[], frozenset[Address]]) -> None:
        """Begins to watch a node that joins.

        ``own_entries()`` returns the bootstrap entries that have turned out to be the node itself.
        """
        self._protocol, self._own_entries = protocol, own_entries
        self._started_at = self._clock.seconds()
        self._rates.start()
        self.reconfigured()

    def stop(self) -> None:
        """Watches no more."""
        self._protocol = None
        self._rates.stop()
        self._isolation.stop()

    def reconfigured(self) -> None:
        """Watches whether the node is isolated if it is given nodes to join: without these alone is well."""
        if self._node.config.dht_bootstrap and self._protocol is not None:
            self._isolation.start()
        else:
            self._isolation.stop()

    def contact_listed(self) -> None:
        """Notes that a node answered for the first time."""
        if self._isolation.is_isolated:
            self._isolation.look()

    def serves_http(
        self,
        address: Callable[[], Address | None],
        calls: Callable[[], int],
        connections: Callable[[], tuple[int, int]],
    ) -> None:
        """Takes what tells the address of the HTTP API, counts its calls, and tells its connections and their limit."""
        self._api_address = address
        self._connections = connections
        self._rates.add("calls", calls)

    # What it tells

    @property
    def is_isolated(self) -> bool:
        """True if nodes to join are configured and no other node answers."""
        return self._bootstrap_nodes() > 0 and self._isolation.is_isolated

    def readiness(self) -> Readiness:
        """Returns whether the node should be given work, and what is missing; takes some microseconds."""
        node, recorder = self._node, self._recorder
        return assess(
            is_running=bool(node.running),
            is_stopping=node.is_stopping,
            is_joining=not self._reporter.is_ready,
            is_isolated=self.is_isolated,
            may_be_isolated=node.config.ready_isolated,
            contacts=len(self._table),
            bootstrap_nodes=self._bootstrap_nodes(),
            has_state_file=recorder is not None,
            degraded=recorder.problem if recorder is not None else None,
        )

    def stats(self) -> Stats:
        """Returns the figures of this moment."""
        node = self._node
        return Stats(
            node_id=node.node_id.hex(),
            dht_port=node.dht_port,
            ready=self._reporter.is_ready,
            contacts=len(self._table),
            buckets=self._table.bucket_sizes(),
            services=len(self._peers),
            items=len(self._items),
            queries_in_flight=self._queries_in_flight,
            counters=self._counts(),
            degraded=self._recorder.problem if self._recorder is not None else None,
        )

    def status(self) -> Status:
        """Returns what the node is and does at this moment."""
        from grape import __version__
        from grape.node.status import LIMIT_COUNTERS, Contacts, PerSecond, Status, own_descriptors

        node, now = self._node, self._clock.seconds()
        counts = self._counts()
        good = sum(contact.is_good(now) for contact in self._table)
        return Status(
            version=__version__,
            node_id=node.node_id.hex(),
            readiness=self.readiness(),
            uptime=now - self._started_at if self._protocol is not None else 0.0,
            dht_address=_text(node.dht_address),
            api_address=_text(self._api_address()),
            advertised=self._advertised(),
            contacts=Contacts(good, len(self._table) - good),
            services=len(self._peers),
            items=len(self._items),
            queries_in_flight=self._queries_in_flight,
            per_second=PerSecond(**self._rates.per_second()),
            state=self._state(now),
            bootstrap=[f"{host}:{port}" for host, port in node.config.dht_bootstrap],
            peer_max_age=node.config.dht_peer_max_age,
            read_only=node.config.read_only,
            time=time.time_ns() / 1e9,
            descriptors=own_descriptors(),
            connections=self._http_connections(),
            limits_hit={name: counts[name] for name in LIMIT_COUNTERS if counts[name]},
        )

    def nodes(self, after: bytes, limit: int) -> Page[NodeEntry]:
        """Returns at most ``limit`` contacts, ordered by id, from the first after the id ``after`` on."""
        from grape.node.status import Page, node_entry

        now = self._clock.seconds()
        some = nsmallest(limit + 1, (contact for contact in self._table if contact.id > after), key=_id)
        more = some[limit - 1].id.hex() if len(some) > limit else None
        return Page([node_entry(contact, now) for contact in some[:limit]], more, len(self._table))

    def services(self, after: bytes, limit: int) -> Page[ServiceEntry]:
        """Returns at most ``limit`` services, ordered by the bytes of their names, from the first after ``after`` on.

        Fewer if they have very many peers or long names. Each has its LISTED_PEERS newest peers.
        """
        from grape.node.status import Page

        now = self._clock.seconds()
        keys = nsmallest(limit + 1, (key for key in self._peers if key > after))
        entries: list[ServiceEntry] = []
        size = 0
        for index, key in enumerate(keys):
            if index == limit or size >= PAGE_BYTES:
                return Page(entries, keys[index - 1].hex(), len(self._peers))
            entry = self._service(key, now, LISTED_PEERS)
            if entry is not None:
                entries.append(entry)
                size += SERVICE_BYTES + 3 * len(key) + PEER_BYTES * len(entry.peers)
        return Page(entries, None, len(self._peers))

    def service(self, key: bytes) -> Page[ServiceEntry]:
        """Returns one service with its SHOWN_PEERS newest peers, or no entry if it is not stored here."""
        from grape.node.status import Page

        entry = self._service(key, self._clock.seconds(), SHOWN_PEERS)
        return Page([entry] if entry is not None else [], None, len(self._peers))

    def _counts(self) -> dict[str, int]:
        counters = self._node.counters
        # Counted in grape.dht, which imports nothing of ours.
        counters.unverified_puts = self._responder.signature_budget.refused
        counters.withdrawals, counters.evicted_withdrawals = self._withdrawals.taken, self._withdrawals.evicted
        return counters.as_dict()

    def _http_connections(self) -> Connections | None:
        from grape.node.status import Connections

        return Connections(*self._connections()) if self._api_address() is not None else None

    @property
    def _queries_in_flight(self) -> int:
        return self._protocol.pending if self._protocol is not None else 0

    def _ping(self, address: Address) -> Deferred[object]:
        assert self._protocol is not None
        return self._protocol.ping(address).addCallback(lambda _: None)

    def _service(self, key: bytes, now: float, most: int) -> ServiceEntry | None:
        from grape.node.status import PeerEntry, ServiceEntry

        peers = self._peers.peers(key, now)
        if not peers:
            return None
        shown = []
        for peer in peers[: -most - 1 : -1]:
            known = self._peers.known(key, peer)
            assert known is not None
            shown.append(PeerEntry(f"{peer[0]}:{peer[1]}", now - known[0]))
        return ServiceEntry(key.decode("utf-8", "backslashreplace"), key.hex(), len(peers), shown)

    def _state(self, now: float) -> StateFile | None:
        from grape.node.status import StateFile

        recorder, file = self._recorder, self._node.config.state_file
        if recorder is None or file is None:
            return None
        at = recorder.committed_at
        return StateFile(os.path.abspath(file), now - at if at is not None else None, recorder.problem)

    def _advertised(self) -> str | None:
        config, protocol = self._node.config, self._protocol
        host = config.announced_host or (protocol.own_host if protocol is not None else None)
        port = config.advertised[1] if config.advertised is not None else None
        return _text((host, port or self._node.dht_port)) if host is not None else None

    def _bootstrap_nodes(self) -> int:
        """Returns the number of configured bootstrap nodes that are not this node itself, as far as it knows."""
        own = self._own_entries()
        return sum(entry not in own for entry in self._node.config.dht_bootstrap)


def _id(contact: Contact) -> bytes:
    return contact.id


def _text(address: Address | None) -> str | None:
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
