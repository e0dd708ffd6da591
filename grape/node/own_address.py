"""Finds out under which IPv4 address other nodes know this one: from their answers, else from the interface.

An answer carries the address that its node sees us at (BEP 42's ``ip``). Only a majority counts: a single node could
lie, and a node on another of our networks sees another address. Each host has one vote, however many nodes run on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from twisted.logger import Logger

from grape.dht.addresses import scope
from grape.dht.bounded import BoundedDict
from grape.dht.compact import PEER_BYTES, Address, decode_peer, is_ipv4
from grape.dht.messages import Response, querier_of
from grape.dht.transactions import Pending
from grape.krpc.interfaces import local_addresses, primary_address
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Reactor, Timer

# A majority counts if at least so many contacts voted.
MIN_VOTES = 3
MAX_VOTES = 64
# Longer than the pause between two refreshes of the routing table, in which all contacts nearby are asked.
VOTE_SECONDS = 1_200.0

LOOK_SECONDS = 5.0
# So many answers are read for ``ip`` after each look; to read it in all would be felt in each lookup.
READ_AT_ONCE = 8

OnChange = Callable[[str | None], object]

log = Logger(namespace="grape.node")


class OwnAddress:
    """The address under which other hosts reach this node; None while it is not known, or only loopback is.

    ``interface()`` returns the IPv4 address of the interface that the node uses, None if there is none at this time.
    Times are seconds on any steady clock.
    """

    def __init__(self, interface: Callable[[], str | None]) -> None:
        self._interface = interface
        self._at_interface: str | None = None
        # For each contact the address that it saw us at last, and when.
        self._votes: BoundedDict[Address, tuple[str, float]] = BoundedDict(MAX_VOTES)
        self._host: str | None = None
        self._callbacks: list[OnChange] = []

    @property
    def host(self) -> str | None:
        """The IPv4 address, dotted, at the time of the last ``look``."""
        return self._host

    def on_change(self, callback: OnChange) -> None:
        """Calls ``callback(host)`` at each change from now on, the first time that the address is known included."""
        self._callbacks.append(callback)

    def told(self, told_by: Address, ip: str, now: float) -> None:
        """Counts the vote of the contact at ``told_by``, which sees us at ``ip``; its earlier one counts no more."""
        if _is_reachable(ip):
            self._votes.put(told_by, (ip, now))

    def forget(self, contact: Address) -> None:
        """Drops the vote of a contact that was dropped."""
        self._votes.pop(contact, None)

    def look(self, now: float) -> None:
        """Decides on the address anew, and calls back if it has changed; to be called every few seconds."""
        found = self._interface()
        # While the network is down the address from before is kept: most often it is the next one, too.
        if found is not None and found != self._at_interface and _is_reachable(found):
            if self._at_interface is not None:
                # The votes are about the address from before.
                self._votes.clear()
            self._at_interface = found
        host = self._majority(now) or self._at_interface
        if host == self._host:
            return
        self._host = host
        for callback in self._callbacks:
            try:
                callback(host)
            except Exception:
                log.failure("callback {callback} at a change of the own address raised", callback=callback)

    def _majority(self, now: float) -> str | None:
        """Returns the address for which more than half of the hosts vote, each with its contact's newest vote."""
        for contact in [contact for contact, (_, at) in self._votes.items() if now - at >= VOTE_SECONDS]:
            del self._votes[contact]
        if len(self._votes) < MIN_VOTES:
            return None
        # The oldest vote comes first: that of each host's newest stays.
        by_host = {contact[0]: ip for contact, (ip, _) in self._votes.items()}
        ip, votes = Counter(by_host.values()).most_common(1)[0]
        return ip if 2 * votes > len(by_host) else None


class AddressWatch:
    """Looks at a node's own address every LOOK_SECONDS, and reads what some answers to its queries say about it."""

    def __init__(self, clock: Clock, own_address: OwnAddress) -> None:
        self._clock = clock
        self._own_address = own_address
        self._protocol: DHTProtocol | None = None
        self._timer: Timer | None = None
        self._left = 0

    def start(self, protocol: DHTProtocol) -> None:
        """Begins to watch, with a look at once."""
        self._protocol = protocol
        self._look()

    def stop(self) -> None:
        """Watches no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._protocol = None

    def _look(self) -> None:
        protocol = self._protocol
        if protocol is None:
            return
        self._timer = self._clock.callLater(LOOK_SECONDS, self._look)
        self._own_address.look(self._clock.seconds())
        protocol.own_host = self._own_address.host
        self._left = READ_AT_ONCE
        # Until then the first responses of a start may be kept back.
        if protocol.intercept is None:
            protocol.intercept = self._read

    def _read(self, datagram: bytes, response: Response, pending: Pending, now: float) -> bool:
        """Reads an answer for our own address; returns False, so that it is handled as usual."""
        protocol = self._protocol
        self._left -= 1
        if protocol is not None and self._left <= 0:
            protocol.intercept = None
        if protocol is not None and protocol.table.at(pending.address) is not None:
            querier = querier_of(datagram)
            if querier is not None and len(querier) == PEER_BYTES:
                self._own_address.told(pending.address, decode_peer(querier)[0], now)
        return False


def interface_of(reactor: Reactor, bound: str) -> Callable[[], str | None]:
    """Returns the function that tells the address of the interface of a node that is bound to the host ``bound``.

    A reactor that is a simulated host tells its own ``primary_address``, if it has one.
    """
    if is_ipv4(bound) and bound != "0.0.0.0":
        return lambda: bound
    return primary_address if _is_real(reactor) else _simulated_address(reactor)


def hosts_of(reactor: Clock) -> Callable[[], Iterable[str]]:
    """Returns the function that tells the IPv4 addresses of this host, or of one that the reactor simulates."""
    if _is_real(reactor):
        return local_addresses
    simulated = _simulated_address(reactor)
    return lambda: [host for host in [simulated()] if host is not None]


def _is_real(reactor: Clock) -> bool:
    return hasattr(reactor, "callFromThread")


def _simulated_address(reactor: Clock) -> Callable[[], str | None]:
    address: Callable[[], str | None] = getattr(reactor, "primary_address", lambda: None)
    return address


def _is_reachable(host: str) -> bool:
    try:
        return scope(host) in ("private", "global")
    except ValueError:
        return False
