"""``Grape``: a DHT node and its HTTP API as one Twisted service with two children."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from socket import socket
from typing import TYPE_CHECKING, Unpack, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from grape.config import DHT_PORT, Config, Keywords
from grape.dht.compact import Address
from grape.encoding import Value
from grape.events import Callback
from grape.logs import tracer
from grape.metrics import Stats
from grape.node.items import Got
from grape.node.kept import KeptAnnounce
from grape.node.node import Node
from grape.reactor import Reactor, Timer
from grape.settings.declaration import differences, evolved, from_keywords
from grape.web.access import CONFIGURED_ACCESS, Access
from grape.web.api import Api
from grape.web.service import HTTPService

if TYPE_CHECKING:
    from twisted.web.resource import IResource

    from grape.node.status import Status
    from grape.node.tracing import LookupTrace

# How long the node goes on at a stop for the HTTP calls under way; the HTTP service cuts them off after 1.5 s.
ANSWER_SECONDS = 1.0


class Grape(MultiService):
    """A node of a Grenache network as a Twisted service: announces and finds services, stores values.

    The keywords are Grenache's own, with times in milliseconds, and one for each further setting, listed in
    docs/configuration.md. ``dht_bootstrap`` names the nodes to join through, as "host:port", (host, port) or one text
    with commas; without it the grape is the first of its network. Without ``api_port`` there is no HTTP API. Port 0
    lets the system choose. ``state`` names a file from which the grape continues; without one nothing survives the
    service::

        grape = Grape(dht_bootstrap=["127.0.0.1:20002"], api_port=30001, host="127.0.0.1")
        grape.startService()
        await grape.when_ready()
        await grape.announce("rest:util:net", 1337)
        assert "127.0.0.1:1337" in await grape.lookup("rest:util:net")
        await grape.stopService()

    ``reactor`` is Twisted's global one by default. ``dice`` is for tests: everything random is drawn from it.

    Raises ConfigError for a wrong value, which names the keyword, and TypeError for an unknown keyword. Calls return
    Deferreds, which can be cancelled; one that fails has a GrapeError, whose ``code`` the methods name.
    """

    def __init__(
        self,
        dht_port: int = DHT_PORT,
        dht_bootstrap: Iterable[str | Address] | bool | None = None,
        api_port: int | None = None,
        *,
        reactor: Reactor | None = None,
        dice: random.Random | None = None,
        **settings: Unpack[Keywords],
    ) -> None:
        given: dict[str, object] = {"dht_port": dht_port, "dht_bootstrap": dht_bootstrap, **settings}
        # Grenache has two names for the port. This one counts if both are given; without either there is no HTTP.
        if api_port is not None or "api_port_http" not in settings:
            given["api_port"] = api_port
        self._compose(from_keywords(Config, given), reactor, dice)

    @classmethod
    def from_config(
        cls,
        config: Config,
        reactor: Reactor | None = None,
        *,
        is_state_optional: bool = False,
        dht_socket: socket | None = None,
        api_socket: socket | None = None,
    ) -> Grape:
        """Makes a grape of a ``Config``, whose times are in seconds.

        With ``is_state_optional`` a state file that the process may not write is a warning and ``stats().degraded``
        says so; otherwise ``startService`` raises StateError. ``dht_socket``, bound, UDP and IPv4, and ``api_socket``,
        TCP and listening, are used instead of sockets of its own and stay open at a stop; neither may block.
        """
        grape = cls.__new__(cls)
        grape._compose(
            config, reactor, is_state_optional=is_state_optional, dht_socket=dht_socket, api_socket=api_socket
        )
        return grape

    def _compose(
        self,
        config: Config,
        reactor: Reactor | None,
        dice: random.Random | None = None,
        *,
        is_state_optional: bool = False,
        dht_socket: socket | None = None,
        api_socket: socket | None = None,
    ) -> None:
        super().__init__()
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = cast("Reactor", installed)
        self.config = config
        self._reactor = reactor
        self._stops: list[Deferred[None]] = []
        self._drain: Timer | None = None
        self.node = Node(
            config,
            reactor,
            trace=tracer(os.environ),
            dice=dice,
            is_state_optional=is_state_optional,
            adopted=dht_socket,
        )
        self.node.setServiceParent(self)
        self.http = HTTPService(self.node, reactor, _make_resource, api_socket)
        if config.api_port is not None:
            self.http.setServiceParent(self)

    # The service

    @property
    def dht_port(self) -> int:
        """The UDP port: the real one while running, the configured one otherwise."""
        return self.node.dht_port

    @property
    def api_port(self) -> int | None:
        """The TCP port of the HTTP API: the real one while running; None without HTTP."""
        return self.http.port

    @property
    def dht_address(self) -> tuple[str, int] | None:
        """The (host, port) that the UDP socket is bound to; "0.0.0.0" is all addresses. None while it is closed."""
        return self.node.dht_address

    @property
    def api_address(self) -> tuple[str, int] | None:
        """The (host, port) that the HTTP API listens on; "::" is all addresses of both families. None while closed."""
        return self.http.address

    @property
    def is_stopping(self) -> bool:
        """True once the grape was told to stop: it should be given no more work. It may go on for ``drain`` seconds."""
        return self.node.is_stopping

    def startService(self) -> None:
        """Opens the sockets and the state file, and joins the network; ``when_ready`` says when that was tried.

        Raises twisted.internet.error.CannotListenError for a port that is taken or a host that is not this machine's,
        and grape.state.lock.StateError for a state file that cannot be used; nothing is left open then. A grape that
        is running goes on. A stopped one can be started again.
        """
        try:
            for service in self:
                service.privilegedStartService()
            super().startService()
        except BaseException:
            self.running = False
            for service in self:
                maybeDeferred(service.stopService).addErrback(lambda _: None)
            raise

    def stopService(self) -> Deferred[None]:
        """Closes the listening ports, finishes the calls under way, and writes the state file.

        With ``drain`` the grape first goes on for that time, and ``is_stopping`` says that it is about to stop; a
        second call ends that time. HTTP calls under way then have a second; those that take longer, and calls of this
        object, fail with ERR_GRAPE_NOT_RUNNING. Returns a Deferred that fires when all is closed, within 2 s after the
        drain. A grape that is not running is left as it is.
        """
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if len(self._stops) > 1:
            self.end_drain()
        elif self.running and self.config.drain:
            self.node.is_stopping = True
            self._drain = self._reactor.callLater(self.config.drain, self._stop)
        else:
            self._stop()
        return stopped

    def end_drain(self) -> None:
        """Stops now, if the grape is about to stop and goes on for the time of ``drain``."""
        if self._drain is not None and self._drain.active():
            self._drain.cancel()
            self._stop()

    def _stop(self) -> None:
        self._drain = None
        self.node.is_stopping = True
        self._close().addBoth(self._closed)

    def _close(self) -> Deferred[None]:
        # Before HTTP, which may take longer; the node waits for it.
        self.node.withdraw_kept()
        if self.http.parent is None:
            return maybeDeferred(super().stopService).addCallback(lambda _: None)
        # The node goes on while HTTP calls under way are answered. What is left then ends with ERR_GRAPE_NOT_RUNNING.
        Service.stopService(self)
        self.node.is_stopping = True
        answered = self.http.stopService()
        stopped: list[Deferred[None]] = []

        def stop_node(_: object = None) -> None:
            if patience.active():
                patience.cancel()
            if not stopped:
                stopped.append(self.node.stopService())

        patience = self._reactor.callLater(ANSWER_SECONDS, stop_node)
        return answered.addBoth(stop_node).addCallback(lambda _: stopped[0])

    def _closed(self, result: Failure | None) -> None:
        stops, self._stops = self._stops, []
        for stopped in stops:
            stopped.callback(cast("None", result))

    def reconfigure(self, config: Config) -> list[str]:
        """Takes the settings of ``config`` that can change while the grape runs, without an interruption.

        These are the limits, ``dht_bootstrap``, ``allow_origin``, ``allow_host``, ``ready_isolated`` and
        ``log_announces``. Where less is allowed than is there, entries are evicted and idle connections are closed.
        Returns the names of the settings that differ and need another grape, or a restart; they are left as they were::

            grape.reconfigure(attrs.evolve(grape.config, max_keys=20_000))
        """
        changed, fixed = differences(self.config, config)
        if changed:
            self.config = evolved(self.config, changed)
            self.node.reconfigure(self.config)
            self.http.reconfigure(self.config)
        return fixed

    def when_ready(self) -> Deferred[None]:
        """Returns a Deferred that fires once joining the network was tried, at most 2.5 s after the start.

        It fires also when no bootstrap node answered: they are tried again indefinitely. Fails with GrapeError
        ERR_GRAPE_NOT_RUNNING if the grape is stopped before.
        """
        return self.node.when_ready()

    def resource(self, access: Access | None = CONFIGURED_ACCESS) -> IResource:
        """Returns the HTTP API as a resource, to be mounted in another twisted.web site at any path.

        It refuses web pages as the own port does (``allow_origin``, ``allow_host``); ``access=None`` leaves these rules
        out, so that the site decides whom it serves::

            root.putChild(b"grape", grape.resource())
        """
        return self.http.resource(access)

    def stats(self) -> Stats:
        """Returns figures of this moment: contacts, services and items stored, queries in flight, counters by name."""
        return self.node.stats()

    def status(self) -> Status:
        """Returns what ``GET /status`` tells, typed; times are ages in seconds.

        ``readiness`` says whether the grape should be given work, and what is missing::

            if not grape.status().readiness.is_ready: ...
        """
        return self.node.inspector.status()

    def trace_lookup(self, name: str) -> Deferred[LookupTrace]:
        """Looks up a service and tells how that went, typed: the nodes asked, who named them, what each answered when.

        Fails as ``lookup`` does.
        """
        return self.node.tracer.lookup(name)

    def trace_get(self, hash: str, salt: bytes = b"") -> Deferred[LookupTrace]:
        """Looks up an item at other nodes and tells how that went. Fails as ``get`` does."""
        return self.node.tracer.get(hash, salt)

    def on(self, event: str, callback: Callback) -> None:
        """Has ``callback`` called at each ``event``, with its arguments; addresses are "ip:port".

        - ``listening()``: the UDP socket is open;
        - ``ready()``: joining the network was tried; once for each start;
        - ``node(address)``: a node was added to the routing table;
        - ``peer(peer, name, through)``: a lookup of ``name`` was given a peer by the node ``through``, or by this
          grape's own store (None);
        - ``announce(name)``: a peer was stored here, each time;
        - ``warning(reason, address)``: a datagram from ``address`` was malformed.

        A callback that raises is logged. Raises ValueError for an event that does not exist.
        """
        self.node.on(event, callback)

    def off(self, event: str, callback: Callback) -> None:
        """Has ``callback`` no longer called at ``event``; one that is not registered is ignored."""
        self.node.off(event, callback)

    # Grenache's calls

    def lookup(self, name: str) -> Deferred[list[str]]:
        """Finds the peers of a service by its name.

        Returns at most 100 of them as "ip:port", in random order, within 2.5 s; an empty list if there are none. Fails
        with GrapeError ERR_GRAPE_LOOKUP for an empty name.
        """
        return self.node.lookup(name)

    def announce(self, name: str | bytes, port: int, ttl: float | None = None) -> Deferred[int]:
        """Announces that a service runs at ``port`` of this machine; port 0 stands for the grape's own UDP port.

        The other nodes list it under the address that they see, for 240 s (``dht_peer_maxAge``): announce again before
        that. ``ttl`` asks for a shorter life, from 1 s on; a Node grape lists it for its age all the same, and no
        announce shortens an earlier one. Returns the number of other nodes that stored it; 1 if the grape is the first
        of its network. Fails with GrapeError: ERR_GRAPE_SERVICE_PORT (not a whole number from 0 to 65535),
        ERR_GRAPE_ANNOUNCE (an empty name), ERR_GRAPE_SERVICE_TTL, "No nodes to query" (bootstrap nodes are given, and
        no node answered), "All queries failed" (no node stored it).
        """
        return self.node.announce(name, port, ttl)

    def unannounce(self, name: str | bytes, port: int) -> Deferred[int]:
        """Withdraws a service at ``port`` of this machine: grapes of this kind list it no more, until it is announced.

        Returns the number of other nodes that confirmed it, which may be 0: Node grapes cannot. It holds in this grape
        in any case, and other nodes are told when they can be reached, for 240 s (``dht_peer_maxAge``). Fails with
        GrapeError ERR_GRAPE_SERVICE_PORT, ERR_GRAPE_UNANNOUNCE (an empty name).
        """
        return self.node.unannounce(name, port)

    def keep_announced(self, name: str | bytes, port: int) -> KeptAnnounce:
        """Keeps a service at ``port`` of this machine announced, until ``stopService()`` of what this returns.

        It is announced at once, or when the grape starts, then again well inside the peers' age, and sooner after an
        announce that failed. It is withdrawn at the end, and when the grape stops; if that starts again, so does it::

            kept = grape.keep_announced("rest:util:net", 1337)
            await kept.stopService()

        Raises GrapeError ERR_GRAPE_SERVICE_PORT, ERR_GRAPE_ANNOUNCE.
        """
        return self.node.keep_announced(name, port)

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
        """Stores a value at other nodes and here: an immutable item, or with ``key`` a mutable one (BEP 44).

        A text may have 999 bytes; other values (bytes, int, list, dict) may take 1,000 bytes as bencode. A mutable
        item needs ``key`` (ed25519, 32 bytes), ``signature`` (64 bytes) and ``seq``; ``salt`` has at most 64 bytes;
        with ``cas`` the item is stored only in the place of one with that seq.

        Returns its hash, 40 hex digits, once it is durable where a state file is configured. Fails with GrapeError: the
        Node grape's text for what is missing or too big, status 301 (``cas`` does not match) or 302 (``seq`` is not
        newer), "No nodes to query", "All queries failed" (or the signature is wrong), ERR_GRAPE_STATE (the state file
        cannot be written).
        """
        return self.node.put(value, key=key, signature=signature, seq=seq, salt=salt, cas=cas)

    def get(self, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Deferred[Got | None]:
        """Fetches the item with a hash of 40 hex digits; a mutable item that was put with a salt needs the salt.

        An immutable item that this grape holds comes at once; for a mutable one the other nodes are asked for a newer
        one. ``cache=True`` asks nobody if this grape holds the item, ``cache=False`` always asks. Returns None if no
        node has it. Fails with GrapeError ERR_GRAPE_HASH_FORMAT.
        """
        return self.node.get(hash, salt, cache=cache)


def _make_resource(
    node: Node, api: Api, max_payload_size: Callable[[], int], access: Access | None, has_log: bool
) -> IResource:
    # Imported here, because without twisted.web, Klein and werkzeug a grape starts 70 ms sooner.
    from grape.resource import GrapeResource

    return GrapeResource(node, api, max_payload_size, access, has_log=has_log).resource()
