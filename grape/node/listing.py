"""Decides under which addresses the services of this host are listed: in this node's store, and to each asker.

A loopback address means another host to everybody but this one. Services announced through this node are stored here
under 127.0.0.1 until the node has an address that others know, then under that one. An asker at another host is never
listed a loopback address; an asker on this host is listed each service once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.config import Config
from grape.dht.addresses import is_loopback
from grape.dht.compact import Address, is_ipv4
from grape.reactor import Clock, Resolve, Timer
from grape.settings.texts import ipv4_of
from grape.store import MemoryPeers

LOOPBACK = "127.0.0.1"
RESOLVE_AGAIN_SECONDS = 5.0
LOCAL_HOSTS_SECONDS = 5.0

log = Logger(namespace="grape.node")


class Listing:
    """The addresses that one node lists for services of its host.

    ``announces()`` returns key and port of each announce made through the node, port 0 for its UDP port; those that
    ``peers`` holds follow the node's address. That is the advertised one; else the one that the socket is bound to;
    else the one that ``own_host_changed`` tells, once the node has met another host; else 127.0.0.1.
    ``local_hosts()`` returns the IPv4 addresses of this host.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        peers: MemoryPeers,
        announces: Callable[[], Sequence[tuple[bytes, int]]],
        local_hosts: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._clock = clock
        self._local_hosts = local_hosts
        # The addresses of this host when they were read last, and until when that will do.
        self._local: frozenset[str] = frozenset()
        self._local_until = -math.inf
        self._peers = peers
        self._announces = announces
        self._advertised = config.advertised[0] if config.advertised is not None else None
        self._advertised_port = config.advertised[1] if config.advertised is not None else None
        # The address that the configuration gives; of an advertised name once it is resolved.
        self._configured = config.announced_host
        self._own: str | None = None
        self._has_met_others = False
        self._udp_port = config.dht_port
        self._listed = self._host()
        self._resolving: Deferred[list[str]] | None = None
        self._timer: Timer | None = None
        self._is_unresolved = False

    @property
    def is_configured(self) -> bool:
        """True if other hosts know the node by a configured address, whether or not an advertised name is resolved."""
        return self._configured is not None or self._advertised is not None

    def start(self, resolve: Resolve, udp_port: int) -> None:
        """Begins: the UDP socket is open at ``udp_port``. Resolves an advertised name, again until that succeeds.

        Announces of an earlier run are listed under the address of this one.
        """
        self._udp_port = udp_port
        self._take_over()
        if self._advertised is not None and self._configured is None:
            self._resolve_name(resolve, self._advertised)

    def stop(self) -> None:
        """Ends the resolution of a name."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._resolving is not None:
            self._resolving.cancel()

    def port_of(self, port: int) -> int:
        """Returns the port to list for an announced one; of 0 the UDP port, as advertised or as it is."""
        return port or self._advertised_port or self._udp_port

    def peer(self, port: int) -> Address:
        """Returns the (host, port) under which this node stores an announce of ``port`` made through it."""
        return self._listed, self.port_of(port)

    def is_own(self, host: str) -> bool:
        """Returns True if ``host`` is an address of this host, as far as these are known, or a loopback address."""
        return is_loopback(host) or host in self.own_hosts()

    def host_for_strangers(self) -> str | None:
        """Returns the address at which another host reaches the services that are stored under 127.0.0.1.

        For nodes that are never listed, such as read-only ones: None once a contact at another host is, as the node's
        own services are stored under the real address then, and other nodes of this host announce theirs themselves.
        """
        if self._has_met_others:
            return None
        return self._configured if self.is_configured else self._own

    # The node's address

    def contact_listed(self, address: Address) -> bool:
        """Notes that a contact was listed. Returns True if it is the first one at another host."""
        if self._has_met_others or is_loopback(address[0]):
            return False
        self._has_met_others = True
        self._follow()
        return True

    def own_host_changed(self, host: str | None) -> None:
        """Notes under which IPv4 address other hosts reach the node; None if that is not known any more."""
        if host is not None:
            self._own = host
            self._follow()

    def _host(self) -> str:
        if self.is_configured:
            # An advertised name that is not resolved yet: no other address is one that others reach.
            return self._configured or LOOPBACK
        return self._own if self._own is not None and self._has_met_others else LOOPBACK

    def _follow(self) -> None:
        """Moves the stored announces of this node to its present address; they keep their age."""
        old, self._listed = self._listed, self._host()
        if old == self._listed:
            return
        now = self._clock.seconds()
        for key, port in self._announces():
            former = old, self.port_of(port)
            known = self._peers.known(key, former)
            if known is not None:
                self._peers.remove(key, former)
                self._peers.announce(key, self.peer(port), now, age=max(now - known[0], 0.0))

    def _take_over(self) -> None:
        """Moves announces of this node that a state file brought back under the address of an earlier run."""
        now = self._clock.seconds()
        for key, port in self._announces():
            if self.port_of(port) == self._udp_port:
                # Other nodes may have announced their own UDP ports, which look the same.
                continue
            for former in self._peers.peers(key, now):
                known = self._peers.known(key, former)
                # This node's own announces count for the peer itself, those of others for their UDP addresses.
                if former[1] == port and former[0] != self._listed and known is not None and known[1] == former:
                    self._peers.remove(key, former)
                    self._peers.announce(key, self.peer(port), now, age=max(now - known[0], 0.0))

    def _resolve_name(self, resolve: Resolve, name: str) -> None:
        def resolved(hosts: list[str]) -> None:
            self._configured = hosts[0]
            log.info("{name}, which --advertise names, is {host}", name=name, host=hosts[0])
            self._follow()

        def failed(failure: Failure) -> None:
            if not self._is_unresolved:
                self._is_unresolved = True
                log.warn("{name}, which --advertise names, cannot be resolved; retrying: {error}",
                         name=name, error=failure.getErrorMessage())  # fmt: skip
            self._timer = self._clock.callLater(RESOLVE_AGAIN_SECONDS, self._resolve_name, resolve, name)

        def ended(result: list[str] | Failure) -> list[str] | Failure:
            self._resolving = None
            return result

        resolving = self._resolving = maybeDeferred(resolve, name)
        resolving.addBoth(ended)
        resolving.addCallbacks(resolved, failed)

    # Results of lookups

    def for_asker(self, peers: list[str], asker: str | None, came_to: str | None) -> list[str]:
        """Returns the peers, each "ip:port", that an asker can reach, in the same order and each once.

        ``asker`` and ``came_to`` are the two ends of its connection, IPv4 or IPv6 addresses; without them (None) it is
        on this host, in this process or at a unix socket. For an asker on this host loopback addresses stay, but for
        those of services that are listed under another address of this host, too. For others this host's address takes
        their place: the advertised one, else the one that the connection came to, else this node's own.
        """
        if asker is None or _is_on_this_host(asker):
            others = [peer for peer in peers if not is_loopback(peer)]
            if not others or len(others) == len(peers):
                return peers
            own = self.own_hosts()
            listed = {port for host, _, port in (peer.rpartition(":") for peer in others) if host in own}
            return [peer for peer in peers if not is_loopback(peer) or _port(peer) not in listed]
        host = self._reachable(came_to)
        if host is None:
            return [peer for peer in peers if not is_loopback(peer)]
        return list(dict.fromkeys(f"{host}:{_port(peer)}" if is_loopback(peer) else peer for peer in peers))

    def own_hosts(self) -> frozenset[str]:
        """Returns the addresses of this host: those of its interfaces, and the ones that others know it by."""
        now = self._clock.seconds()
        if now >= self._local_until:
            # To read them takes some microseconds.
            self._local, self._local_until = frozenset(self._local_hosts()), now + LOCAL_HOSTS_SECONDS
        return self._local.union(host for host in (self._configured, self._own) if host is not None)

    def _reachable(self, came_to: str | None) -> str | None:
        """Returns the IPv4 address at which another host reaches this one; None if it is not known."""
        came_to = ipv4_of(came_to) if came_to is not None else None
        candidates = (self._configured if self._advertised is not None else None, came_to, self._configured, self._own)
        return next((host for host in candidates if host and is_ipv4(host) and not is_loopback(host)), None)


def _is_on_this_host(asker: str) -> bool:
    host = ipv4_of(asker)
    return host is not None and is_loopback(host)


def _port(peer: str) -> str:
    return peer.rpartition(":")[2]
