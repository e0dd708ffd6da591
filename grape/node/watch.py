"""Follows the contacts and services of a node: all of them at first, then those that have changed.

Times are seconds since the node was started, and so negative for what a state file restored. What somebody looks at is
compared once a second; of 1,000 services and 500 contacts that takes about 2 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import NamedTuple, TypeAlias

import attrs

from grape.dht.buckets import UNMEASURED_SECONDS, Contact
from grape.dht.compact import Address
from grape.reactor import Clock
from grape.store import MemoryPeers

#: Services that are followed, the first ones in the order of their keys.
MAX_SERVICES = 1_000
#: Of each service.
MAX_PEERS = 3
# Looks between two choices of the services to follow, where there are more: to sort 10,000 takes 3 ms.
LOOKS_PER_CHOICE = 5
# A contact that is heard each second has changed once in so long.
HEARD_SECONDS = 5.0
# Less is no change of a round trip.
ROUND_TRIP_SHARE = 0.05


class NodeRow(NamedTuple):
    """A contact."""

    #: 40 hex digits.
    id: str
    #: "host:port".
    address: str
    #: In seconds, the least of the last eight; None before one was measured.
    round_trip: float | None
    #: When it last answered.
    heard_at: float
    #: True if it answered within 15 minutes and has not failed since.
    is_good: bool


class PeerRow(NamedTuple):
    """A peer of a service."""

    #: "host:port".
    address: str
    announced_at: float


class ServiceRow(NamedTuple):
    """A service."""

    #: Its bytes in hex.
    key: str
    #: The same bytes as text; one that is not UTF-8 is shown as ``\\xff``.
    name: str
    peer_count: int
    #: The MAX_PEERS that were announced last, newest first.
    peers: list[PeerRow]


@attrs.frozen
class Changes:
    """The rows that are new or differ, the ids and keys of those that are gone, and the number of all services."""

    nodes: list[NodeRow]
    gone_nodes: list[str]
    services: list[ServiceRow]
    gone_services: list[str]
    all_services: int


_Node: TypeAlias = "tuple[Address, float, float, bool]"
_Service: TypeAlias = "tuple[int, list[tuple[Address, float]]]"


class Watch:
    """Follows ``table`` and ``peers`` from the first ``look`` on; ``started_at`` is when the node was started."""

    def __init__(self, clock: Clock, started_at: float, table: Iterable[Contact], peers: MemoryPeers) -> None:
        self.clock = clock
        self.started_at = started_at
        self._table = table
        self._peers = peers
        self._nodes: dict[bytes, _Node] = {}
        self._services: dict[bytes, _Service] = {}
        self._looks = 0
        self._chosen: list[bytes] = []

    def look(self) -> Changes:
        """Returns what has changed since the look before."""
        now = self.clock.seconds()
        nodes = {
            contact.id: (contact.address, contact.round_trip, contact.heard_at, contact.is_good(now))
            for contact in self._table
        }
        changed_nodes = []
        for node_id, node in nodes.items():
            before = self._nodes.get(node_id)
            if before is not None and not _differs(before, node):
                # A slow drift must add up to a change.
                nodes[node_id] = before
            else:
                changed_nodes.append(self._node_row(node_id, node))
        gone_nodes = [node_id.hex() for node_id in self._nodes.keys() - nodes.keys()]
        services = self._read_services(now)
        changed = [self._service_row(key, row) for key, row in services.items() if self._services.get(key) != row]
        gone = [key.hex() for key in self._services.keys() - services.keys()]
        self._nodes, self._services = nodes, services
        return Changes(changed_nodes, gone_nodes, changed, gone, len(self._peers))

    def everything(self) -> Changes:
        """Returns all that the last look saw: what changes later is a change of this."""
        nodes = [self._node_row(node_id, node) for node_id, node in self._nodes.items()]
        services = [self._service_row(key, row) for key, row in self._services.items()]
        return Changes(nodes, [], services, [], len(self._peers))

    def _read_services(self, now: float) -> dict[bytes, _Service]:
        found: dict[bytes, _Service] = {}
        for key in self._choose():
            peers = self._peers.peers(key, now)
            if peers:
                newest = [(peer, self._announced_at(key, peer)) for peer in peers[: -MAX_PEERS - 1 : -1]]
                found[key] = len(peers), newest
        return found

    def _choose(self) -> list[bytes]:
        if len(self._peers) <= MAX_SERVICES:
            self._looks = 0
            return list(self._peers)
        if self._looks % LOOKS_PER_CHOICE == 0:
            self._chosen = nsmallest(MAX_SERVICES, self._peers)
        self._looks += 1
        return self._chosen

    def _announced_at(self, key: bytes, peer: Address) -> float:
        known = self._peers.known(key, peer)
        assert known is not None
        return known[0]

    def _node_row(self, node_id: bytes, node: _Node) -> NodeRow:
        (host, port), round_trip, heard_at, is_good = node
        measured = round(round_trip, 6) if round_trip > UNMEASURED_SECONDS else None
        return NodeRow(node_id.hex(), f"{host}:{port}", measured, self._at(heard_at), is_good)

    def _service_row(self, key: bytes, service: _Service) -> ServiceRow:
        count, newest = service
        peers = [PeerRow(f"{host}:{port}", self._at(at)) for (host, port), at in newest]
        return ServiceRow(key.hex(), key.decode("utf-8", "backslashreplace"), count, peers)

    def _at(self, time: float) -> float:
        return round(time - self.started_at, 1)


def _differs(before: _Node, now: _Node) -> bool:
    """Returns True if somebody who looks at a contact should be told of it again."""
    return (
        now[0] != before[0]
        or now[3] != before[3]
        or now[2] - before[2] >= HEARD_SECONDS
        or abs(now[1] - before[1]) > ROUND_TRIP_SHARE * before[1]
    )
