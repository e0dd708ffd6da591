"""Composes a node of a Grenache network from its parts, as a Twisted service: services by name, items by hash."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from socket import socket
from typing import TYPE_CHECKING, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.config import Config
from grape.dht.addresses import PrivateRules, PublicRules
from grape.dht.compact import Address
from grape.dht.nodeid import RandomBytes
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.dht.withdrawals import Withdrawals
from grape.errors import not_running
from grape.events import Callback, Events
from grape.fairshare import EvictionOrder
from grape.krpc.udp import bind_address, listen
from grape.metrics import Counters, Stats
from grape.node.bootstrap import warn_if_unreachable
from grape.node.calls import NodeCalls
from grape.node.first_join import FirstJoin
from grape.node.identity import fits, new_id
from grape.node.inspector import Inspector
from grape.node.items import Items
from grape.node.join_log import JoinLog
from grape.node.kept import KeptAnnounces
from grape.node.maintenance import Maintenance
from grape.node.own_address import AddressWatch, OwnAddress, interface_of
from grape.node.own_id import OwnId
from grape.node.reporter import Reporter, Trace, watch_announces
from grape.node.republish import OwnItems
from grape.node.services import Services
from grape.node.withdrawal import MEMORY_SHARE
from grape.protocol import DHTProtocol
from grape.reactor import Reactor, resolver
from grape.state.journal import Journal, NullJournal
from grape.state.recorded import Recorded
from grape.state.recorder import recorder_of
from grape.store import MemoryItems, MemoryPeers

if TYPE_CHECKING:
    from grape.node.tracing import LookupTracer

log = Logger(namespace="grape.node")


class Node(NodeCalls, Service):
    """A DHT node as a Twisted service; ``grape.Grape`` is a Node with the HTTP API.

    ``trace(line)`` is called with the Node grape's debug lines. ``dice`` replaces the system's randomness in tests.
    With ``is_state_optional`` a state file that the process may not write is a warning, no error. ``adopted`` is a
    bound UDP socket that is used instead of one of its own. Calls return Deferreds that can be cancelled; they fail
    with GrapeError. Events are those of ``grape.Grape.on``.
    """

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        *,
        trace: Trace | None = None,
        dice: random.Random | None = None,
        is_state_optional: bool = False,
        adopted: socket | None = None,
    ) -> None:
        random_bytes: RandomBytes = os.urandom if dice is None else dice.randbytes
        self.config = config
        self.counters = Counters()
        #: True once the grape was told to stop: it may go on for a while, but should be given no more work.
        self.is_stopping = False
        self._adopted = adopted
        self.node_id = new_id(config, random_bytes)
        self._reactor = reactor
        self._random_bytes = random_bytes
        self._dice = dice if dice is not None else random.Random()
        self._events = Events()
        self._reporter = Reporter(self._events, trace, lambda: self.dht_port)
        self._table = RoutingTable(self.node_id, rules=PublicRules() if config.profile == "public" else PrivateRules())
        self._recorder = recorder_of(
            config.state_file, config.durability, reactor, self.counters, is_optional=is_state_optional
        )
        journal: Journal = self._recorder if self._recorder is not None else NullJournal()
        self.journal = journal
        self._peer_store = MemoryPeers(
            config.dht_peer_max_age,
            config.max_keys,
            config.max_peers_per_key,
            config.max_peers_per_announcer,
            config.max_store_bytes,
            self.journal.peer_changed,
            self.counters,
        )
        self._item_store = MemoryItems(
            config.dht_max_values, config.max_item_bytes, self.journal.item_changed, self.counters
        )
        self._withdrawals = Withdrawals(
            config.dht_peer_max_age,
            self._peer_store,
            EvictionOrder(),
            config.max_keys,
            round(config.max_store_bytes * MEMORY_SHARE),
            self.journal.peer_changed,
        )
        tokens = Tokens(random_bytes, reactor.seconds())
        self._own_items = OwnItems(
            reactor, self._socket, self._dice.random, self.journal.own_item_changed, self.counters
        )
        self._first_join = FirstJoin(reactor)
        self._join_log = JoinLog(reactor, lambda: len(self._table))
        self._services = Services(
            config,
            reactor,
            self._socket,
            self._peer_store,
            self._withdrawals,
            self._dice,
            self._reporter,
            self._first_join,
            self.journal.own_announce_changed,
            self.counters,
        )
        self._own_address = OwnAddress(interface_of(reactor, config.dht_host))
        self._own_address.on_change(self._services.own_host_changed)
        self._address_watch = AddressWatch(reactor, self._own_address)
        self._own_id = OwnId(reactor, self._replace_id)
        self._recorded = Recorded(
            self._table,
            tokens,
            self._item_store,
            self._own_items,
            self._peer_store,
            self._services.reannouncer,
            self._withdrawals,
        )
        self._items = Items(
            config, lambda: self.node_id, self._socket, self._item_store, self._own_items, journal, self._first_join
        )
        self._responder = Responder(
            self._table,
            tokens,
            self._peer_store,
            self._item_store,
            self._dice.sample,
            self._reporter.peer_stored,
            lambda: journal.refusal,
            self._services.listing.host_for_strangers,
            self._withdrawals,
        )
        self._kept = KeptAnnounces(self, reactor, self._dice, config.dht_peer_max_age)
        self.inspector = Inspector(self, reactor, self._recorded, self._recorder, self._reporter, self._responder)
        self._protocol: DHTProtocol | None = None
        self._port: IListeningPort | None = None
        self._maintenance: Maintenance | None = None
        self._is_id_from_file = False

    # The service

    @property
    def dht_port(self) -> int:
        """The UDP port: the real one while the node runs, else the configured one."""
        return self._protocol.port if self._protocol is not None else self.config.dht_port

    @property
    def dht_address(self) -> Address | None:
        """The (host, port) that the UDP socket is bound to; None while it is closed."""
        if self._port is None:
            return None
        bound = cast("IPv4Address", self._port.getHost())
        return bound.host, bound.port

    @property
    def dropped_datagrams(self) -> int | None:
        """The datagrams that the kernel dropped unread at the UDP socket; None while it is closed, or if unknown."""
        dropped: int | None = getattr(self._port, "dropped", None)
        return dropped

    def privilegedStartService(self) -> None:
        """Opens the UDP socket. Raises Twisted's CannotListenError."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Opens the UDP socket and the state file, unless they are open, and begins to join the network.

        Raises Twisted's CannotListenError, and StateError.
        """
        if self.running:
            self._reporter.say("skipping start, since Grape is already active")
            return
        self._reporter.say("starting")
        self.is_stopping = False
        protocol = self._bind()
        watch_announces(self._peer_store, self._withdrawals, False)
        contacts = self._restore(protocol)
        watch_announces(self._peer_store, self._withdrawals, self.config.log_announces)
        super().startService()
        self._services.start(resolver(self._reactor), protocol.port)
        self._own_items.start()
        config = self.config
        self._maintenance = Maintenance(
            self._reactor,
            protocol,
            config,
            [self._peer_store, self._withdrawals, self._services.reannouncer],
            resolver(self._reactor),
            self._random_bytes,
            self._dice.random,
            contacts,
        )
        self._own_id.start(protocol, self._maintenance.bootstrap_addresses, is_from_file=self._is_id_from_file)
        self._address_watch.start(protocol)
        warn_if_unreachable(config.dht_host, config.dht_bootstrap)
        self._reporter.listening()
        self._join_log.start(config.dht_bootstrap, contacts, self._maintenance.own_entries)
        self.inspector.start(protocol, self._maintenance.own_entries)
        if (config.dht_bootstrap or contacts) and not len(self._table):
            self._first_join.start()
        self._maintenance.start().addCallback(self._joined)
        self._kept.start()

    def stopService(self) -> Deferred[None]:
        """Fails the calls under way with ERR_GRAPE_NOT_RUNNING, and closes socket and state file. Fires when done.

        What is kept announced is withdrawn before.
        """
        self.is_stopping = True
        return self.withdraw_kept().addCallback(self._stop)

    def withdraw_kept(self) -> Deferred[None]:
        """Withdraws what is kept announced, until the next start, as the node is about to stop. Fires within 0.5 s."""
        return self._kept.stop()

    def _stop(self, _: None) -> Deferred[None]:
        if self.running:
            super().stopService()
        self._services.stop()
        self._own_items.stop()
        self._first_join.stop()
        self._join_log.stop()
        self._address_watch.stop()
        self._own_id.stop()
        self.inspector.stop()
        if self._maintenance is not None:
            self._maintenance.stop()
            self._maintenance = None
        port, self._port = self._port, None
        self._protocol = None
        self._reporter.stopped()
        closed = succeed(None) if port is None else maybeDeferred(port.stopListening)
        return closed.addBoth(self._close_state)

    def reconfigure(self, config: Config) -> None:
        """Takes a config that differs in settings that can change while the node runs."""
        old, self.config = self.config, config
        self._peer_store.set_limits(config)
        self._item_store.set_limits(config)
        if self._protocol is not None:
            self._protocol.set_limits(config)
        self._services.reconfigure(config)
        self._items.reconfigure(config)
        watch_announces(self._peer_store, self._withdrawals, config.log_announces)
        if self._maintenance is not None and config.dht_bootstrap != old.dht_bootstrap:
            self._maintenance.set_bootstrap(config.dht_bootstrap)
            self._join_log.stop()
            self._join_log.start(config.dht_bootstrap, (), self._maintenance.own_entries)
            self.inspector.reconfigured()

    def when_ready(self) -> Deferred[None]:
        """Fires when joining the network was tried. Fails with GrapeError if the node is stopped before."""
        return self._reporter.when_ready()

    def on(self, event: str, callback: Callback) -> None:
        """Calls ``callback`` at each ``event``. Raises ValueError for an unknown event."""
        self._events.on(event, callback)

    def off(self, event: str, callback: Callback) -> None:
        """Stops calling ``callback`` at ``event``."""
        self._events.off(event, callback)

    def stats(self) -> Stats:
        """Returns a snapshot of the node's figures, in some microseconds."""
        return self.inspector.stats()

    @property
    def tracer(self) -> LookupTracer:
        """Runs lookups of this node that tell how they went."""
        from grape.node.tracing import LookupTracer

        return LookupTracer(self._socket, self._services, self._items)

    # Inside

    def _bind(self) -> DHTProtocol:
        if self._protocol is None:
            config, reactor = self.config, self._reactor
            protocol = DHTProtocol.of_config(
                config, reactor, self._table, self._responder, self._random_bytes, self, self.journal, self.counters
            )
            host = bind_address(config.dht_host, config.dht_port)
            self._port = listen(reactor, config.dht_port, protocol, host, self._adopted)
            self._protocol = protocol
        return self._protocol

    def _restore(self, protocol: DHTProtocol) -> Sequence[Address]:
        """Restores what the state file holds. Returns the contacts of the earlier run."""
        if self._recorder is None:
            return ()
        restored = self._recorder.open(self._recorded)
        node_id = restored.node_id
        self._is_id_from_file = node_id is not None
        if node_id is None or (node_id != self.node_id and not fits(self.config, node_id)):
            self._recorder.keep_id(self.node_id)
        elif node_id != self.node_id:
            # At a second start of the same node the id is known already.
            self._adopt(node_id, protocol)
        return restored.contacts

    def _adopt(self, node_id: bytes, protocol: DHTProtocol) -> None:
        self._table.adopt(node_id)
        self.node_id = node_id
        protocol.node_id_changed()

    def _replace_id(self, address: Address) -> None:
        """Takes another id: the bootstrap node at ``address`` has this one, from a copy of the state file."""
        self._adopt(new_id(self.config, self._random_bytes), self._socket())
        # They are those of the node that the file was copied from.
        self._services.forget_announces()
        if self._maintenance is not None:
            self._maintenance.join_again()

    def _close_state(self, result: object) -> Deferred[None]:
        if isinstance(result, Failure):
            log.failure("the UDP socket could not be closed", result)
        return self._recorder.close() if self._recorder is not None else succeed(None)

    def _socket(self) -> DHTProtocol:
        if self._protocol is None:
            raise not_running()
        return self._protocol

    def _joined(self, _: None) -> None:
        if self.running:
            self._first_join.over()
            self._reporter.ready()

    # Implements endpoint.Listener.

    def contact_listed(self, address: Address) -> None:
        """Reports a node that answered for the first time, and repeats what it should hold."""
        if not self.running:
            return
        self._own_id.contact_listed()
        self._first_join.over()
        self.inspector.contact_listed()
        self._join_log.contact_listed(address)
        self._reporter.contact_listed(address)
        self._services.contact_listed(address)
        self._own_items.contact_listed()

    def contact_dropped(self, address: Address) -> None:
        """Repeats the announces that a contact held which no longer answers."""
        self._own_address.forget(address)
        if self.running:
            self._join_log.contact_dropped()
            self._services.reannouncer.contacts_changed()

    def clone_found(self, address: Address) -> None:
        """Takes another id, or logs a warning: another node has this one's."""
        self._own_id.clone_found(address)

    def warned(self, reason: str, address: Address) -> None:
        """Reports a datagram that was malformed or that matches no query."""
        self._reporter.warned(reason, address)
