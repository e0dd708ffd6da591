"""A node of a Grenache network: services by name, items by hash. The words of Grenache, without HTTP."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, deferred
from grape.config import Config
from grape.dht.addresses import PrivateRules, PublicRules
from grape.dht.compact import Address
from grape.dht.nodeid import RandomBytes
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.encoding import Value
from grape.errors import not_running
from grape.events import Callback, Events
from grape.krpc.udp import bind_address, is_loopback, listen
from grape.metrics import Stats
from grape.node.identity import fits, new_id
from grape.node.items import Got, Items
from grape.node.maintenance import Maintenance
from grape.node.republish import OwnItems
from grape.node.services import Services
from grape.protocol import DHTProtocol
from grape.reactor import Reactor, resolver
from grape.state.journal import Journal, NullJournal
from grape.state.recorded import Recorded
from grape.state.recorder import recorder_of
from grape.store import MemoryItems, MemoryPeers

Trace = Callable[[str], object]

log = Logger(namespace="grape")


class Node(Service):
    """A DHT node as a Twisted service; ``grape.Grape`` is this with the HTTP API.

    ``trace`` is told the Node grape's debug lines. ``dice`` is for tests: all that is random is then drawn from it.

    Calls return Deferreds that can be cancelled; they fail with GrapeError. Events (``on``, ``off``):

    - ``listening()``: the UDP socket is open;
    - ``ready()``: joining was tried; once for each start;
    - ``node(address)``: "ip:port" of a contact newly listed;
    - ``peer(peer, name, through)``: "ip:port" of a service's peer seen in a lookup, once for each node that tells
      of it, which is ``through`` ("ip:port", None: this grape itself);
    - ``announce(name)``: a peer was stored here, each time;
    - ``warning(reason, address)``: a datagram that made no sense, and the "ip:port" that it came from.
    """

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        *,
        trace: Trace | None = None,
        dice: random.Random | None = None,
    ) -> None:
        random_bytes: RandomBytes = os.urandom if dice is None else dice.randbytes
        self.config = config
        self.node_id = new_id(config, random_bytes)
        self._reactor = reactor
        self._trace = trace
        self._random_bytes = random_bytes
        self._dice = dice if dice is not None else random.Random()
        self._events = Events()
        self._table = RoutingTable(self.node_id, rules=PublicRules() if config.profile == "public" else PrivateRules())
        self._recorder = recorder_of(config.state_file, config.durability, reactor)
        self._journal: Journal = self._recorder if self._recorder is not None else NullJournal()
        self._peers = MemoryPeers(
            config.dht_peer_max_age,
            config.max_keys,
            config.max_peers_per_key,
            config.max_peers_per_announcer,
            config.max_store_bytes,
            self._journal.peer_changed,
        )
        self._items = MemoryItems(config.dht_max_values, config.max_item_bytes, self._journal.item_changed)
        tokens = Tokens(random_bytes, reactor.seconds())
        self._own_items = OwnItems(reactor, self._socket, self._dice.random, self._journal.own_item_changed)
        self._services = Services(
            config, reactor, self._socket, self._peers, self._dice, self, self._journal.own_announce_changed
        )
        self._recorded = Recorded(
            self._table, tokens, self._items, self._own_items, self._peers, self._services.reannouncer
        )
        self._item_calls = Items(
            config, lambda: self.node_id, self._socket, self._items, self._own_items, self._journal
        )
        self._responder = Responder(
            self._table,
            tokens,
            self._peers,
            self._items,
            self._dice.sample,
            self.peer_stored,
            lambda: self._journal.refusal,
        )
        self._protocol: DHTProtocol | None = None
        self._port: IListeningPort | None = None
        self._maintenance: Maintenance | None = None
        self._ready = False
        self._awaiting_ready: list[Deferred[None]] = []

    # The service

    @property
    def dht_port(self) -> int:
        """The UDP port: the real one while running."""
        return self._protocol.port if self._protocol is not None else self.config.dht_port

    @property
    def is_listening(self) -> bool:
        """Whether the UDP socket is open."""
        return self._protocol is not None

    def privilegedStartService(self) -> None:
        """Open the UDP socket. Raises twisted's CannotListenError."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Open the UDP socket and the state file, if they are not yet, and join the network.

        Raises twisted's CannotListenError, and StateError.
        """
        if self.running:
            self._say("skipping start, since Grape is already active")
            return
        self._say("starting")
        protocol = self._bind()
        contacts = self._restore(protocol)
        super().startService()
        config = self.config
        self._services.reannouncer.start()
        self._own_items.start()
        self._maintenance = Maintenance(
            self._reactor,
            protocol,
            config.dht_bootstrap,
            config.dht_node_liveness,
            [self._peers],
            resolver(self._reactor),
            self._random_bytes,
            self._dice.random,
            contacts,
        )
        if config.dht_host.startswith("127.") and any(not is_loopback(host) for host, _ in config.dht_bootstrap):
            log.warn("the DHT listens on {host} only: bootstrap nodes on other machines cannot answer it "
                     "(--dht-bind names another address)", host=config.dht_host)  # fmt: skip
        self._say(f"{self.dht_port} listening")
        self._events.emit("listening")
        self._maintenance.start().addCallback(self._joined)

    def stopService(self) -> Deferred[None]:
        """End what is under way with what it has, and close the socket. Fires when all is done."""
        if self.running:
            super().stopService()
        self._services.reannouncer.stop()
        self._own_items.stop()
        if self._maintenance is not None:
            self._maintenance.stop()
            self._maintenance = None
        port, self._port = self._port, None
        self._protocol = None
        self._ready = False
        awaiting, self._awaiting_ready = self._awaiting_ready, []
        for waiting in awaiting:
            waiting.errback(not_running())
        closed = succeed(None) if port is None else maybeDeferred(port.stopListening)
        return closed.addBoth(self._close_state)

    def when_ready(self) -> Deferred[None]:
        """Fires when joining the network has been tried. Fails with GrapeError if the node is stopped before."""
        if self._ready:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._awaiting_ready.remove)
        self._awaiting_ready.append(waiting)
        return waiting

    def on(self, event: str, callback: Callback) -> None:
        """Call ``callback`` at each ``event``. Raises ValueError for an event that does not exist."""
        self._events.on(event, callback)

    def off(self, event: str, callback: Callback) -> None:
        """No longer call ``callback`` at ``event``."""
        self._events.off(event, callback)

    def stats(self) -> Stats:
        """Figures of this moment."""
        protocol = self._protocol
        return Stats(
            node_id=self.node_id.hex(),
            dht_port=self.dht_port,
            ready=self._ready,
            contacts=len(self._table),
            buckets=self._table.bucket_sizes(),
            services=len(self._peers),
            items=len(self._items),
            queries_in_flight=protocol.pending if protocol is not None else 0,
            counters={
                **(attrs.asdict(protocol.counters) if protocol is not None else {}),
                "evicted_keys": self._peers.evictions.keys,
                "evicted_peers": self._peers.evictions.peers,
                "evicted_items": self._items.evictions.items,
                "unverified_puts": self._responder.signature_budget.refused,
                "renewed": self._services.reannouncer.renewed,
                "republished": self._own_items.republished,
                **(attrs.asdict(self._recorder.counters) if self._recorder is not None else {}),
            },
            degraded=self._recorder.problem if self._recorder is not None else None,
        )

    # Services

    def lookup(self, name: str) -> Deferred[list[str]]:
        """The peers of a service: at most 100 "ip:port", in random order; that there is none is no error.

        Fails with GrapeError ERR_GRAPE_LOOKUP for what is no name.
        """
        return maybeDeferred(deferred, partial(self.begin_lookup, name))

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """The same for a callback. ``done`` is told the peers, or a Failure; never, if it is cancelled.

        Raises GrapeError.
        """
        return self._services.begin_lookup(name, done)

    def announce(self, name: str | bytes, port: int) -> Deferred[int]:
        """Announce that a service runs at ``port`` of this host; port 0 is the grape's own UDP port.

        Gives how many other nodes took it (alone: 1, this one). Fails with GrapeError: ERR_GRAPE_SERVICE_PORT,
        ERR_GRAPE_ANNOUNCE, "No nodes to query", "All queries failed".
        """
        return maybeDeferred(deferred, partial(self.begin_announce, name, port))

    def begin_announce(self, name: str | bytes, port: int, done: Callable[[int | Failure], object]) -> Cancellable:
        """The same for a callback, as in ``begin_lookup``. Raises GrapeError."""
        return self._services.begin_announce(name, port, done)

    # Items

    def put(
        self,
        value: Value,
        *,
        key: bytes | None = None,
        signature: bytes | None = None,
        seq: int | None = None,
        salt: bytes = b"",
        cas: int | None = None,
    ) -> Deferred[str]:
        """Store a value: an immutable item, or with ``key`` (ed25519, 32 bytes) a mutable one (BEP 44).

        Gives its hash, 40 hex digits. Fails with GrapeError: the texts of the Node grape for what is missing or too
        big, status 301 and 302 when nodes hold another item, "No nodes to query", "All queries failed".
        """
        return maybeDeferred(self._item_calls.put, value, key, signature, seq, salt, cas)

    def get(self, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Deferred[Got | None]:
        """The item with this hash (40 hex digits), None if nobody has it; a salted one needs its salt.

        An item that this grape holds comes at once, unless it is mutable and others hold a newer one. ``cache``:
        True, never ask others; False, always do. Fails with GrapeError ERR_GRAPE_HASH_FORMAT.
        """
        return maybeDeferred(self._item_calls.get, hash, salt, cache)

    # Inside

    def _bind(self) -> DHTProtocol:
        if self._protocol is None:
            config = self.config
            protocol = DHTProtocol(
                self._reactor,
                self._table,
                self._responder,
                self._random_bytes,
                self,
                self._journal,
                alpha=config.dht_concurrency,
                read_only=config.read_only,
                max_tables=config.dht_max_tables,
                max_pending=config.max_pending,
                max_queries=config.max_queries_per_lookup,
                max_verifying=config.max_verifying,
                max_strangers=config.max_strangers,
            )
            host = bind_address(config.dht_host, config.dht_port)
            self._port = listen(self._reactor, config.dht_port, protocol, host)
            self._protocol = protocol
        return self._protocol

    def _restore(self, protocol: DHTProtocol) -> Sequence[Address]:
        """Go on from what the state file holds. The contacts from before."""
        if self._recorder is None:
            return ()
        restored = self._recorder.open(self._recorded)
        node_id = restored.node_id
        if node_id is None or (node_id != self.node_id and not fits(self.config, node_id)):
            self._recorder.keep_id(self.node_id)
        elif node_id != self.node_id:
            # Of this process's second start the id is known already.
            self._table.adopt(node_id)
            self.node_id = node_id
            protocol.node_id_changed()
        return restored.contacts

    def _close_state(self, result: object) -> Deferred[None]:
        if isinstance(result, Failure):
            log.failure("the UDP socket could not be closed", result)
        return self._recorder.close() if self._recorder is not None else succeed(None)

    def _socket(self) -> DHTProtocol:
        if self._protocol is None:
            raise not_running()
        return self._protocol

    def _joined(self, _: None) -> None:
        if not self.running:
            return
        self._ready = True
        self._say(f"{self.dht_port} ready")
        self._events.emit("ready")
        awaiting, self._awaiting_ready = self._awaiting_ready, []
        for waiting in awaiting:
            waiting.callback(None)

    def _say(self, text: str) -> None:
        try:
            if self._trace is not None:
                self._trace(text)
        except Exception:
            log.failure("the trace raised")

    # What is heard from below: counters.Listener, services.Observer

    def contact_listed(self, address: Address) -> None:
        """A node answered us for the first time."""
        if not self.running:
            return
        self._say(f"{self.dht_port} node")
        self._events.emit("node", _text(address))
        self._services.reannouncer.contacts_changed()
        self._own_items.contact_listed()

    def contact_dropped(self, address: Address) -> None:
        """A node is dead for us."""
        if self.running:
            self._services.reannouncer.contacts_changed()

    def warned(self, reason: str, address: Address) -> None:
        """A datagram made no sense."""
        self._say(f"{self.dht_port} warning")
        if self._events.wanted("warning"):
            self._events.emit("warning", reason, _text(address))

    def peer_stored(self, key: bytes, peer: Address) -> None:
        """A peer was announced here, by another node or by this one."""
        if self._trace is None and not self._events.wanted("announce"):
            return
        name = key.decode("utf-8", "replace")
        self._say(f"{self.dht_port} announce {name}")
        self._events.emit("announce", name)

    @property
    def is_watching(self) -> bool:
        """Whether anybody wants to know the peers that lookups see."""
        return self._trace is not None or self._events.wanted("peer")

    def peers_seen(self, peers: list[Address], name: str, through: Address | None) -> None:
        """A lookup heard of peers."""
        by = _text(through) if through is not None else None
        for peer in map(_text, peers):
            said = f"{self.dht_port} found potential peer {peer}"
            self._say(f"{said}{f' through {by}' if by else ''} for hash: {name}")
            self._events.emit("peer", peer, name, by)

    def looked_up(self, name: str, answered: int) -> None:
        """A lookup is over."""
        if self._trace is not None:
            self._say(f"lookup {name} found {answered} nodes")


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
