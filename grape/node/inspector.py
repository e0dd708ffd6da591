"""Tells what a node is, does and holds, and whether it should be given work; watches whether it is cut off."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from grape.config import Config
from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.dht.counts import Kind
from grape.dht.responder import Responder
from grape.errors import not_running
from grape.metrics import Counters, Histogram, Stats
from grape.node.isolation import IsolationCheck
from grape.node.loop_lag import LoopLag
from grape.node.rates import Rates
from grape.node.readiness import Readiness, assess
from grape.node.reporter import Reporter
from grape.protocol import DHTProtocol
from grape.reactor import Clock
from grape.state.recorded import Recorded
from grape.state.recorder import StateRecorder

if TYPE_CHECKING:
    # Imported where they are needed: to make these classes takes 2 ms of a start.
    from grape.node.figures import Figures
    from grape.node.status import NodeEntry, Page, ServiceEntry, StateFile, Status
    from grape.node.watch import Watch

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

    @property
    def dropped_datagrams(self) -> int | None: ...


class Serving(Protocol):
    """The HTTP API of a node: its address while it listens, and counts of this moment."""

    @property
    def address(self) -> Address | None: ...

    @property
    def calls_begun(self) -> int: ...

    @property
    def calls_under_way(self) -> int: ...

    @property
    def connections(self) -> int: ...

    @property
    def max_connections(self) -> int: ...


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
        self._recorded = recorded
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
                "calls": lambda: self._http.calls_begun if self._http is not None else 0,
                "queries_in": lambda: counters.queries_in,
                "queries_out": lambda: counters.queries_out,
            },
        )
        self._loop_lag = LoopLag(clock, counters.loop_lag, counters.sort_times)
        self._started_at = 0.0
        self._http: Serving | None = None
        # What is called at a stop, by the watch that it belongs to.
        self._watches: dict[Watch, Callable[[], object]] = {}

    def start(self, protocol: DHTProtocol, own_entries: Callable[[], frozenset[Address]]) -> None:
        """Begins to watch a node that joins.

        ``own_entries()`` returns the bootstrap entries that have turned out to be the node itself.
        """
        self._protocol, self._own_entries = protocol, own_entries
        self._started_at = self._clock.seconds()
        self._rates.start()
        self._loop_lag.start()
        self.reconfigured()

    def stop(self) -> None:
        """Watches no more."""
        self._protocol = None
        self._rates.stop()
        self._loop_lag.stop()
        self._isolation.stop()
        watches, self._watches = self._watches, {}
        for stopped in watches.values():
            stopped()

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

    def serves_http(self, http: Serving) -> None:
        """Takes the HTTP API."""
        self._http = http

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
            counters=self._counters().as_dict(),
            degraded=self._recorder.problem if self._recorder is not None else None,
        )

    def status(self) -> Status:
        """Returns what the node is and does at this moment."""
        from grape import __version__
        from grape.node.status import (
            LIMIT_COUNTERS,
            Connections,
            Contacts,
            PerSecond,
            Status,
            own_build,
            own_descriptors,
        )

        node, now, http = self._node, self._clock.seconds(), self._http
        counts = self._counters().as_dict()
        api_address = http.address if http is not None else None
        good = sum(contact.is_good(now) for contact in self._table)
        return Status(
            version=__version__,
            build=own_build(),
            node_id=node.node_id.hex(),
            readiness=self.readiness(),
            uptime=now - self._started_at if self._protocol is not None else 0.0,
            dht_address=_text(node.dht_address),
            api_address=_text(api_address),
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
            connections=Connections(http.connections, http.max_connections) if http and api_address else None,
            limits_hit={name: counts[name] for name in LIMIT_COUNTERS if counts[name]},
        )

    def lookup_times(self) -> Mapping[Kind, Histogram]:
        """Returns how long lookups over the network took since the node was made, by what they looked for."""
        return {kind: times.histogram() for kind, times in self._node.counters.lookup_times.items()}

    def figures(self) -> Figures:
        """Returns what the metrics are made of; takes 0.1 us for each contact and each service."""
        from grape import __version__
        from grape.node.figures import Figures

        node, now, recorder, http = self._node, self._clock.seconds(), self._recorder, self._http
        committed_at = recorder.committed_at if recorder is not None else None
        readiness = self.readiness()
        good = sum(contact.is_good(now) for contact in self._table)
        return Figures(
            version=__version__,
            counters=self._counters(),
            lookup_times=self.lookup_times(),
            config=node.config,
            is_ready=readiness.is_ready,
            is_isolated=self.is_isolated,
            is_degraded=recorder is not None and recorder.problem is not None,
            contacts={"good": good, "questionable": len(self._table) - good},
            buckets=sum(size > 0 for size in self._table.bucket_sizes()),
            services=len(self._peers),
            peers=self._peers.peer_count,
            items=len(self._items),
            peer_store_bytes=self._peers.used_bytes,
            item_store_bytes=self._items.used_bytes,
            own_announces=len(self._recorded.own_announces),
            own_items=len(self._recorded.own_items),
            queries_in_flight=self._queries_in_flight,
            dropped_datagrams=node.dropped_datagrams,
            state_commit_age=now - committed_at if committed_at is not None else None,
            http_connections=http.connections if http is not None else 0,
            http_connections_limit=http.max_connections if http is not None else 0,
            http_calls=http.calls_under_way if http is not None else 0,
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

    def watch(self, stopped: Callable[[], object]) -> Watch:
        """Returns what follows the contacts and services until ``unwatch``; ``stopped`` is called if the node stops.

        Raises GrapeError ERR_GRAPE_NOT_RUNNING.
        """
        from grape.node.watch import Watch

        if self._protocol is None:
            raise not_running()
        watch = Watch(self._clock, self._started_at, self._table, self._peers)
        self._watches[watch] = stopped
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch, which may have ended."""
        self._watches.pop(watch, None)

    @property
    def _queries_in_flight(self) -> int:
        return self._protocol.pending if self._protocol is not None else 0

    def _counters(self) -> Counters:
        """Returns the counters, with those brought up to date that are counted elsewhere."""
        counters = self._node.counters
        # Counted in grape.dht, which imports nothing of ours.
        counters.unverified_puts = self._responder.signature_budget.refused
        counters.withdrawals, counters.evicted_withdrawals = self._withdrawals.taken, self._withdrawals.evicted
        return counters

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
